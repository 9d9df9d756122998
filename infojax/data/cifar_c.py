"""CIFAR-10-C and CIFAR-100-C from the files of their authors, with the clean images of CIFAR's binary version.

Hendrycks and Dietterich (2019), "Benchmarking neural network robustness to common corruptions and perturbations";
Krizhevsky (2009), "Learning multiple layers of features from tiny images".

| folder | files |
|---|---|
| `path` | NAME.npy, uint8 [5 n, 32, 32, 3] of five severities one after the other (n = 10,000), and labels.npy [5 n] |
| `clean`, 10 classes | data_batch_1.bin to data_batch_5.bin, test_batch.bin: a label, 3,072 bytes (C, H, W) |
| `clean`, 100 classes | train.bin and test.bin: a coarse label, a fine label, 3,072 bytes |
"""

import functools
from pathlib import Path
from typing import Literal

import numpy as np

from infojax.data import _images, corruptions
from infojax.types import Count, ImageData, ImageSet, UserError

SHAPE = (32, 32, 3)
MOMENTS = {
    10: ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    100: ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def _binary(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 32, 32, 3] and labels [n] of one file of the binary version."""
    labels, name = (1, "cifar-10-binary.tar.gz") if num_classes == 10 else (2, "cifar-100-binary.tar.gz")
    record = labels + 3072
    try:
        content = path.read_bytes()
    except OSError as error:
        pickled = path.with_suffix("").is_file()  # the Python version has the same names without .bin
        why = "only its pickled Python version is there, which is not loaded, for it can run code" if pickled else ""
        raise UserError(
            f"{path} cannot be read ({why or error.strerror}); data.clean is the folder of the binary version, "
            f"out of {name}"
        ) from error
    if not content or len(content) % record:
        what = (
            "is a pickle, not the binary version"
            if content[:1] == b"\x80" and content[-1:] == b"."
            else (f"has {len(content)} bytes, not a multiple of {record}: it is cut off or of another data set")
        )
        raise UserError(f"{path} {what}; unpack it again out of {name}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    _images.check_labels(rows[:, labels - 1], num_classes, str(path))
    return rows[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, labels - 1]


def _clean(folder: Path, names: list[str], num_classes: int) -> ImageSet:
    parts = [_binary(folder / name, num_classes) for name in names]
    sizes = {name: len(images) for name, (images, _) in zip(names, parts, strict=True)}
    if len(set(sizes.values())) > 1:
        raise UserError(f"the files of {folder} hold {sizes} images; they must hold equally many: unpack them again")
    return _images.image_set(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def make(
    *, path: str, num_classes: Literal[10, 100] = 10, clean: str | None = None, limit: Count | None = None
) -> ImageData:
    """CIFAR-10-C or CIFAR-100-C; files are read when they are asked for.

    Args:
        path: folder of NAME.npy and labels.npy; those corruptions that are there are the shifts.
        num_classes: 10 or 100.
        clean: folder of the binary version of CIFAR (cifar-10-batches-bin, cifar-100-binary), for training and clean
            test images; None where only shifted images are asked for.
        limit: the first so many test images alone, clean and shifted; None is all.

    Returns:
        uint8 [N, 32, 32, 3]; the seed of `shifted` changes nothing, for the images are published ones.

    Raises:
        UserError: a folder or file that is missing, cut off or changed, of another shape or dtype, or a pickle.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.path={path} is not a folder; give that of CIFAR-{num_classes}-C, with its NAME.npy")
    shifts = tuple(name for name in corruptions.available(3) if (folder / f"{name}.npy").is_file())
    if not shifts:
        raise UserError(f"data.path={path} has no file of a corruption, such as gaussian_noise.npy; unpack it there")

    def read_clean(part: Literal["train", "test"]) -> ImageSet:
        if clean is None:
            raise UserError(
                f"clean images of CIFAR-{num_classes} are not among those of CIFAR-{num_classes}-C; give the folder of "
                "CIFAR's binary version by data.clean"
            )
        if num_classes == 100:
            names = [f"{part}.bin"]
        else:
            names = [f"data_batch_{index}.bin" for index in range(1, 6)] if part == "train" else ["test_batch.bin"]
        return _clean(Path(clean).expanduser(), names, num_classes)

    def test() -> ImageSet:
        whole = read_clean("test")
        return _images.image_set(whole.images[:limit], whole.labels[:limit])

    def shifted(shift: str, severity: int, seed: int) -> ImageSet:
        corruptions.check(shift, severity, shifts)
        images, labels = (_images.read_npy(folder / f"{name}.npy") for name in (shift, "labels"))
        if images.dtype != np.uint8 or images.shape[1:] != SHAPE:
            raise UserError(
                f"{folder / shift}.npy holds {images.dtype} {list(images.shape)}; it must be uint8 [N, 32, 32, 3], "
                "with the channels last"
            )
        if labels.ndim != 1 or len(labels) != len(images) or len(images) % 5 or not len(images):
            raise UserError(
                f"{folder} has {len(images)} images of {shift} and labels {list(labels.shape)}; there must be five "
                "severities of equally many images, and a label for each"
            )
        _images.check_labels(labels, num_classes, str(folder / "labels.npy"))
        count = len(images) // 5
        rows = slice((severity - 1) * count, (severity - 1) * count + min(count, limit or count))
        return _images.image_set(np.array(images[rows]), np.array(labels[rows]))

    return ImageData(
        name=f"cifar{num_classes}_c",
        num_classes=num_classes,
        image_shape=SHAPE,
        mean=MOMENTS[num_classes][0],
        deviation=MOMENTS[num_classes][1],
        train=functools.cache(lambda: read_clean("train")),
        test=functools.cache(test),
        shifts=shifts,
        shifted=shifted,
    )
