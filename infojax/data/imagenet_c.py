"""ImageNet-C and ImageNet-R from the folders of their authors.

Hendrycks and Dietterich (2019), "Benchmarking neural network robustness to common corruptions and perturbations";
Hendrycks et al. (2021), "The many faces of robustness" (ImageNet-R). A wnid is the name of a class, such as n01440764.

| layout | folders of `path` | shifts |
|---|---|---|
| `corruptions` | CORRUPTION/SEVERITY/WNID/*.JPEG, or one level further down | the corruptions that are there |
| `renditions` | WNID/*.jpg | `renditions`, of no severity |

An image that is 224 x 224 is taken as it is, any other is brought to 256 pixels on its shorter side (bilinear) and cut
to the 224 x 224 in its middle.
"""

import functools
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from infojax.data import _images, corruptions
from infojax.types import Count, ImageData, ImageSet, UserError

SIZE, SHORTER = 224, 256
ENDINGS = {".jpeg", ".jpg", ".png"}


def read_image(path: Path) -> np.ndarray:
    """uint8 [224, 224, 3] of an image file.

    Raises:
        UserError: a file that is no image or is cut off.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not an image or is cut off ({error}); unpack it again, or take it away") from error
    if image.size != (SIZE, SIZE):
        shorter = min(image.size)
        width, height = (max(SIZE, SHORTER * side // shorter) for side in image.size)
        left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + SIZE, top + SIZE))
    return np.asarray(image)


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []


def _listed(path: str) -> tuple[str, ...]:
    """The wnids of a text file: the first word of every line."""
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"data.classes={path} cannot be read ({error}); give a text file with a wnid a line") from error
    classes = tuple(line.split()[0] for line in lines if line.strip())
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise UserError(
            f"data.classes={path} names {len(set(classes))} different classes in {len(classes)} lines; it must name "
            "each class once, in the order of the model's logits"
        )
    return classes


def read_folder(folder: Path, classes: tuple[str, ...], limit: int | None) -> ImageSet:
    """The images of WNID/*, labels by their place in `classes`; a fixed random choice of `limit` of them.

    Raises:
        UserError: no such folder, one without images, or of a class that is not in `classes`.
    """
    names = _folders(folder)
    strange = [name for name in names if name not in classes]
    if strange:
        raise UserError(
            f"{folder} has folders of {len(strange)} classes that are not known, the first of them {strange[0]}; name "
            "all classes of the model by data.classes"
        )
    number = {name: index for index, name in enumerate(classes)}
    files = [
        (path, number[name])
        for name in names
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in ENDINGS
    ]
    if not files:
        raise UserError(f"{folder} has no images; it must hold folders of classes with .JPEG, .jpg or .png files")
    # By the number of files alone, so that a corruption's images are those of every other.
    rows = np.random.RandomState(0).permutation(len(files))[:limit]
    chosen = [files[row] for row in np.sort(rows)]
    images = np.empty((len(chosen), SIZE, SIZE, 3), np.uint8)
    for index, (path, _) in enumerate(chosen):
        images[index] = read_image(path)
    return _images.image_set(images, np.array([label for _, label in chosen]))


def make(
    *,
    path: str,
    layout: Literal["corruptions", "renditions"] = "corruptions",
    classes: str | None = None,
    clean: str | None = None,
    train: str | None = None,
    limit: Count | None = 5000,
) -> ImageData:
    """ImageNet-C or ImageNet-R; images are read when they are asked for.

    Args:
        path: folder of the shifted images, as in the table above.
        layout: "corruptions" (ImageNet-C) or "renditions" (ImageNet-R).
        classes: text file with the wnid of every logit of the model, the first word of each line, such as
            LOC_synset_mapping.txt; None numbers the folders in alphabetical order, which is that of ImageNet's 1,000
            where all are there. For a model of 1,000 classes on the 200 of ImageNet-R it must be given.
        clean: folder WNID/* of validation images; None where no clean ones are asked for.
        train: folder WNID/* of training images; None where none are asked for.
        limit: a fixed random choice of so many images of each set (5,000 are 0.75 GB); None is all.

    Returns:
        uint8 [N, 224, 224, 3]; the seed of `shifted` changes nothing, for the images are published ones.

    Raises:
        UserError: a folder or file that is missing, no image, or of an unknown class.
    """
    root = Path(path).expanduser()
    if layout == "renditions":
        shifts = {"renditions": root}
        example = root
    else:
        nested = [root / name for name in _folders(root)]
        found = [place / name for name in corruptions.available(3) for place in (root, *nested)]
        shifts = {place.name: place for place in found if place.is_dir()}
        example = next((place / name for place in shifts.values() for name in _folders(place)), root)
    folders = _folders(example)
    if not shifts or not folders:
        wanted = "WNID/*.jpg" if layout == "renditions" else "CORRUPTION/SEVERITY/WNID/*.JPEG"
        raise UserError(f"data.path={path} has no {wanted}; give the folder into which the archives were unpacked")
    names = _listed(classes) if classes is not None else tuple(folders)
    if len(names) < 2:
        raise UserError(f"{example} has the folder of one class alone; at least 2 are needed")

    def read(folder: str | None, key: str) -> ImageSet:
        if folder is None:
            raise UserError(f"{key} images are not among those of {path}; give their folder of WNID/* by data.{key}")
        return read_folder(Path(folder).expanduser(), names, limit)

    def shifted(shift: str, severity: int, seed: int) -> ImageSet:
        corruptions.check(shift, severity, tuple(shifts))
        place = shifts[shift] if layout == "renditions" else shifts[shift] / str(severity)
        if not place.is_dir():
            raise UserError(f"{place} is not there; unpack severity {severity} of {shift}, or choose another")
        return read_folder(place, names, limit)

    return ImageData(
        name="imagenet_r" if layout == "renditions" else "imagenet_c",
        num_classes=len(names),
        image_shape=(SIZE, SIZE, 3),
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
        train=functools.cache(lambda: read(train, "train")),
        test=functools.cache(lambda: read(clean, "clean")),
        shifts=tuple(shifts),
        shifted=shifted,
    )
