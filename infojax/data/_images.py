"""What the image data sets have in common: shifts by corruption, held-out classes, reading of idx and .npy files."""

import functools
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from infojax.data import corruptions
from infojax.types import ImageData, ImageSet, UserError

Read = Callable[[], ImageSet]


def image_set(images: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> ImageSet:
    """An image set that nobody writes into, for it is read once and handed out again."""
    parts = (images, labels.astype(np.int32), None if groups is None else groups.astype(np.int32))
    for part in parts:
        if part is not None:
            part.setflags(write=False)
    return ImageSet(*parts)


def corrupted(
    name: str,
    train: Read,
    test: Read,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    constants: corruptions.Constants | None,
    held_out: int,
) -> ImageData:
    """Image data whose shifts are the corruptions of its test images; the last `held_out` classes are unknown.

    Raises:
        UserError: fewer than two classes would be left.
    """
    known = num_classes - held_out
    if known < 2:
        raise UserError(f"data.held_out={held_out} leaves {known} of {num_classes} classes; at least 2 must be known")
    train, test = functools.cache(train), functools.cache(test)
    shifts = corruptions.available(image_shape[-1])

    def part(read: Read, unknown: bool) -> ImageSet:
        whole = read()
        if not held_out:
            return whole
        rows = (whole.labels >= known) == unknown
        return image_set(whole.images[rows], whole.labels[rows])

    def shifted(shift: str, severity: int, seed: int) -> ImageSet:
        corruptions.check(shift, severity, shifts)
        clean = part(test, unknown=False)
        return image_set(corruptions.corrupt(clean.images, shift, severity, seed, constants), clean.labels)

    return ImageData(
        name=name,
        num_classes=known,
        image_shape=image_shape,
        mean=mean,
        deviation=deviation,
        train=lambda: part(train, unknown=False),
        test=lambda: part(test, unknown=False),
        shifts=shifts,
        shifted=shifted,
        unknown=(lambda: part(test, unknown=True)) if held_out else None,
    )


# --- files -------------------------------------------------------------------------------------------------------


def read_idx(path: Path, dimensions: int, remedy: str) -> np.ndarray:
    """The uint8 array of an idx file, packed by gzip or not.

    Raises:
        UserError: no such file, or one that is not as long as its head says; ends with `remedy`.
    """

    def bad(what: str) -> NoReturn:
        raise UserError(f"{path} {what}; {remedy}")

    try:
        content = path.read_bytes()
    except OSError as error:
        bad(f"cannot be read ({error.strerror})")
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            bad(f"is cut off or damaged ({error})")
    head = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)):
        bad(f"is not an idx file of bytes in {dimensions} dimensions: it begins with {content[:4].hex() or 'nothing'}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:head], ">u4")) if len(content) >= head else ()
    wanted = head + int(np.prod(shape, dtype=np.int64))
    if len(shape) != dimensions or len(content) != wanted:
        bad(f"is cut off or has been changed: its head says {wanted} bytes, it has {len(content)}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape).copy()


def read_idx_pair(folder: Path, part: str, num_classes: int, remedy: str) -> ImageSet:
    """Images [N, 28, 28, 1] and labels of `part` ("train" or "t10k") from a folder of MNIST's layout.

    Raises:
        UserError: a file that is missing, damaged, or not of as many labels as images.
    """
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    paths = [_present(folder, name, remedy) for name in names]
    images, labels = (read_idx(path, dimensions, remedy) for path, dimensions in zip(paths, (3, 1), strict=True))
    if images.shape[1:] != (28, 28) or not len(images):
        raise UserError(f"{paths[0]} holds images {list(images.shape)}; they must be [N, 28, 28]; {remedy}")
    if len(images) != len(labels):
        raise UserError(f"{paths[0]} holds {len(images)} images, {paths[1]} {len(labels)} labels; {remedy}")
    check_labels(labels, num_classes, str(paths[1]))
    return image_set(images[..., None], labels)


def _present(folder: Path, name: str, remedy: str) -> Path:
    spellings = [f"{spelling}{end}" for spelling in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    for spelling in spellings:
        if (folder / spelling).is_file():
            return folder / spelling
    raise UserError(f"{folder} has no file {name} or {name}.gz; {remedy}")


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"the labels of {where} are {labels.dtype}; they must be whole numbers")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise UserError(
            f"the labels of {where} go from {labels.min()} to {labels.max()}; {num_classes} classes have 0 to "
            f"{num_classes - 1}"
        )


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, left on disk where it can be; never a pickle.

    Raises:
        UserError: no such file, a damaged one, or Python objects in place of an array.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error}); is it the right folder, and was the copy complete?"
        ) from error
    except (ValueError, EOFError) as error:
        text = str(error)
        if "pickle" in text or "Python objects" in text:
            raise UserError(
                f"{path} holds pickled Python objects where an array is expected; they are not loaded, for "
                "they can run code. Save the numbers by np.save(path, array)"
            ) from error
        raise UserError(f"{path} is cut off or damaged ({text}); copy or download it again") from error
