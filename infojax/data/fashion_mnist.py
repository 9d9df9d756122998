"""Fashion-MNIST, and MNIST with it: images of 28 x 28 in idx files.

Xiao, Rasul and Vollgraf (2017), "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms";
LeCun, Cortes and Burges (1998) for MNIST and the idx format: two zero bytes, a type (8: bytes), the number of
dimensions, the size of each as four bytes, the greatest first, then the values.
"""

from pathlib import Path
from typing import Literal

from infojax.data import _images, corruptions
from infojax.types import Finite, ImageData, NonNegativeInt, Positive, UserError

DEBIAN = "/usr/share/datasets/fashion-mnist"
REMEDIES = {
    "fashion_mnist": "apt-get install dataset-fashion-mnist puts its files there; or give their folder by data.path",
    "mnist": "give the folder of MNIST's four idx files by data.path",
}


def make(
    *,
    path: str | None = None,
    name: Literal["fashion_mnist", "mnist"] = "fashion_mnist",
    mean: Finite = 0.2860,
    deviation: Positive = 0.3530,
    constants: corruptions.Constants | None = None,
    held_out: NonNegativeInt = 0,
) -> ImageData:
    """Images of 28 x 28 pixels in ten classes, their corruptions as shifts.

    Args:
        path: folder of train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each plain or as .gz; None is where Debian's package puts Fashion-MNIST.
        name: what the images are called.
        mean: of the pixels in [0, 1].
        deviation: of the pixels.
        constants: of the corruptions: "imagenet" (severe) or "cifar"; None is cifar's.
        held_out: so many of the last classes are kept from training and given as `unknown`.

    Returns:
        60,000 images to train on and 10,000 to test on, uint8 [N, 28, 28, 1]; files are read when they are asked for.

    Raises:
        UserError: a file that is missing, cut off or changed.
    """
    if path is None and name != "fashion_mnist":
        raise UserError(f"data.path=null has no {name}; {REMEDIES[name]}")
    folder, remedy = Path(path or DEBIAN).expanduser(), REMEDIES[name]
    return _images.corrupted(
        name,
        lambda: _images.read_idx_pair(folder, "train", 10, remedy),
        lambda: _images.read_idx_pair(folder, "t10k", 10, remedy),
        num_classes=10,
        image_shape=(28, 28, 1),
        mean=(mean,),
        deviation=(deviation,),
        constants=constants,
        held_out=held_out,
    )
