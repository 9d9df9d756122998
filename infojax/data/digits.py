"""Handwritten digits of 8 x 8 pixels out of scikit-learn: images that are there without any download.

The test set of Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits" (UCI), 1,797 images of ten
classes, with values 0 to 16. Here they are brought to 0 to 255 and parted into 1,197 and 600 by a fixed permutation.
"""

import functools

import numpy as np

from infojax.data import _images, corruptions
from infojax.types import ImageData, ImageSet, NonNegativeInt

TRAIN = 1197


@functools.cache
def _read() -> tuple[ImageSet, ImageSet]:
    from sklearn.datasets import load_digits

    pixels, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    order = np.random.RandomState(0).permutation(len(pixels))
    images = np.round(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels[order]
    return _images.image_set(images[:TRAIN], labels[:TRAIN]), _images.image_set(images[TRAIN:], labels[TRAIN:])


def make(*, constants: corruptions.Constants | None = "imagenet", held_out: NonNegativeInt = 0) -> ImageData:
    """Digits of 8 x 8 pixels, their corruptions as shifts.

    Args:
        constants: of the corruptions: "imagenet" (severe), "cifar" (mild, the default of small images elsewhere).
        held_out: so many of the last classes are kept from training and given as `unknown`.

    Returns:
        1,197 images to train on and 600 to test on, uint8 [N, 8, 8, 1].

    Raises:
        UserError: fewer than two classes are left.
    """
    return _images.corrupted(
        "digits",
        lambda: _read()[0],
        lambda: _read()[1],
        num_classes=10,
        image_shape=(8, 8, 1),
        mean=(0.3058,),
        deviation=(0.3755,),
        constants=constants,
        held_out=held_out,
    )
