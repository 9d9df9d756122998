"""Corruptions: determinism, severities, and each formula against plain numpy, scipy, Pillow or matplotlib."""

import io

import matplotlib.colors
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_image

from infojax.data import corruptions
from infojax.types import UserError

ALL = (*corruptions.CORRUPTIONS, *corruptions.EXTRA)
# With the published constants these do not rise from each severity to the next in squared difference.
UNEVEN = {"glass_blur", "motion_blur", "zoom_blur", "frost", "elastic_transform", "spatter", "saturate"}


def photographs(size, count=2):
    crops = [load_sample_image(name)[60:380, 100:420] for name in ("china.jpg", "flower.jpg")][:count]
    return np.stack([np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BOX)) for crop in crops])


@pytest.fixture(scope="module")
def small():
    return photographs(32)


def cut(values):
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def difference(a, b):
    return float(np.mean((a / 255.0 - b / 255.0) ** 2))


def test_there_are_the_fifteen_and_four_more():
    assert len(corruptions.CORRUPTIONS) == 15 and len(ALL) == 19
    for constants, table in corruptions.PARAMETERS.items():
        assert set(table) == set(ALL), constants
        for name, rows in table.items():
            assert len(rows) == 5 and len({len(row) for row in rows}) == 1, name
    assert corruptions.available(1) == tuple(name for name in ALL if name != "saturate")


@pytest.mark.parametrize("name", ALL)
def test_every_corruption_on_every_size(name, small):
    grey = small[:, :28, :30, :1]
    cases: list[tuple[np.ndarray, corruptions.Constants | None]] = [
        (small, None),
        (small, "imagenet"),
        (grey, None),
        (small[:, :8, :8, 1:2], "imagenet"),
    ]
    for images, constants in cases:
        if name == "saturate" and images.shape[-1] == 1:
            continue
        out = corruptions.corrupt(images, name, 5, seed=3, constants=constants)
        assert out.dtype == np.uint8 and out.shape == images.shape
        assert difference(out, images) > 1e-5
        assert np.array_equal(out, corruptions.corrupt(images, name, 5, seed=3, constants=constants))


@pytest.mark.parametrize("name", ALL)
def test_seeds_matter_where_something_is_random_and_nowhere_else(name, small):
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    first, second = (corruptions.corrupt(small, name, 5, seed) for seed in (0, 1))
    assert np.array_equal(first, second) == (name in fixed | {"gaussian_blur", "saturate"})


@pytest.mark.parametrize("constants", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", ALL)
def test_severity_rises(name, constants: corruptions.Constants, small):
    images = photographs(224 if name in ("glass_blur", "snow") else 112, 1) if constants == "imagenet" else small
    far = [difference(corruptions.corrupt(images, name, level, 0, constants), images) for level in range(1, 6)]
    if name not in UNEVEN and (name, constants) != ("pixelate", "cifar"):
        assert np.all(np.diff(far) > 0), far
    elif name != "elastic_transform":  # whose mild severities are large affine maps
        assert far[4] > far[0], far


def test_large_sets_are_done_in_parts_with_the_same_noise(small, monkeypatch):
    images = np.concatenate([small, small[::-1], small])
    noise = np.random.RandomState(5).normal(size=images.shape, scale=0.38)
    for values in (2**21, images[0].size * 2 + 1):
        monkeypatch.setattr(corruptions, "VALUES_AT_A_TIME", values)
        out = corruptions.corrupt(images, "gaussian_noise", 5, 5, "imagenet")
        assert np.array_equal(out, cut(images / 255.0 + noise))


def test_no_images_stay_none(small):
    assert corruptions.corrupt(small[:0], "fog", 1).shape == (0, 32, 32, 3)


# --- against other implementations -------------------------------------------------------------------------------


def test_noise_has_its_distribution():
    images = np.full((40, 32, 32, 3), 128, np.uint8)
    shot = corruptions.corrupt(images, "shot_noise", 5, 0, "imagenet") / 255
    assert np.all(np.isin(shot, np.array([0, 85, 170, 255]) / 255))  # whole photons of a third each
    # Poisson with mean 3 x: the share without a photon is exp(-3 x).
    assert abs(np.mean(shot == 0) - np.exp(-3 * 128 / 255)) < 5e-3
    impulse = corruptions.corrupt(images, "impulse_noise", 5, 0, "imagenet")
    for value in (0, 255):
        assert abs(np.mean(impulse == value) - 0.27 / 2) < 5e-3
    assert set(np.unique(impulse)) == {0, 128, 255}
    speckle = corruptions.corrupt(images, "speckle_noise", 1, 0, "imagenet") / 255
    assert abs(np.std(speckle) - 0.15 * 128 / 255) < 1e-3


def test_gaussian_blur_is_scipys_of_each_image(small):
    out = corruptions.corrupt(small, "gaussian_blur", 5, constants="cifar")
    for image, blurred in zip(small, out, strict=True):
        channels = [ndimage.gaussian_filter(image[..., c] / 255.0, 1.0, mode="nearest", truncate=4) for c in range(3)]
        assert np.array_equal(blurred, cut(np.stack(channels, axis=-1)))
    own = corruptions.apply(small[..., :1], "gaussian_blur", (1.5,))
    assert np.array_equal(own[0, ..., 0], cut(ndimage.gaussian_filter(small[0, ..., 0] / 255.0, 1.5, mode="nearest")))


def test_lengths_scale_with_the_size_down_to_32_pixels():
    images = photographs(64)
    out = corruptions.corrupt(images, "gaussian_blur", 5, constants="cifar")
    assert np.array_equal(out, corruptions.apply(images, "gaussian_blur", (2.0,)))
    little = images[:, :12, :9]
    out = corruptions.corrupt(little, "gaussian_blur", 5, constants="imagenet")
    assert np.array_equal(out, corruptions.apply(little, "gaussian_blur", (6 * 32 / 224,)))


def test_contrast_is_about_the_mean_of_each_image(small):
    out = corruptions.corrupt(small, "contrast", 5, constants="cifar")
    for image, faint in zip(small, out, strict=True):
        x = image / 255.0
        mean = x.mean(axis=(0, 1))
        assert np.array_equal(faint, cut(0.15 * (x - mean) + mean))


def test_brightness_and_saturation_are_those_of_hsv(small):
    hsv = matplotlib.colors.rgb_to_hsv(small / 255.0)
    brighter = np.stack([hsv[..., 0], hsv[..., 1], np.clip(hsv[..., 2] + 0.3, 0, 1)], axis=-1)
    out = corruptions.corrupt(small, "brightness", 5, constants="cifar").astype(int)
    assert np.max(np.abs(out - cut(matplotlib.colors.hsv_to_rgb(brighter)).astype(int))) <= 1
    richer = np.stack([hsv[..., 0], np.clip(hsv[..., 1] * 2 + 0.1, 0, 1), hsv[..., 2]], axis=-1)
    out = corruptions.corrupt(small, "saturate", 4, constants="cifar").astype(int)
    assert np.max(np.abs(out - cut(matplotlib.colors.hsv_to_rgb(richer)).astype(int))) <= 1
    grey = np.full((1, 8, 8, 3), 200, np.uint8)
    assert corruptions.corrupt(grey, "saturate", 5, constants="cifar")[0, 0, 0].tolist() == [200, 160, 160]


def test_pixelate_and_jpeg_are_pillows(small):
    out = corruptions.corrupt(small, "pixelate", 5, constants="imagenet")
    compressed = corruptions.corrupt(small, "jpeg_compression", 3, constants="imagenet")
    for index, image in enumerate(Image.fromarray(image) for image in small):
        coarse = image.resize((8, 8), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
        assert np.max(np.abs(out[index].astype(int) - np.asarray(coarse).astype(int))) <= 1
        file = io.BytesIO()
        image.save(file, "JPEG", quality=15)
        assert np.array_equal(compressed[index], np.asarray(Image.open(file)))


def test_defocus_is_a_disk():
    spot = np.zeros((1, 224, 224, 1), np.uint8)
    spot[0, 112, 112] = 255
    out = corruptions.apply(spot, "defocus_blur", (3, 0.1))[0, ..., 0]
    rows, columns = np.indices((224, 224)) - 112
    disk = rows**2 + columns**2 <= 9
    assert np.array_equal(out > 0, disk) and np.all(out[disk] == 255 // disk.sum())
    # Half as large, the disk has a quarter of the second moment (and keeps its weight of 1).
    moments = []
    for kernel in (corruptions._disk(6, 0.1, 1.0), corruptions._disk(6, 0.1, 0.5)):
        steps = np.arange(len(kernel)) - len(kernel) // 2
        np.testing.assert_allclose(kernel.sum(), 1)
        moments.append(np.sum(kernel * (steps[:, None] ** 2 + steps**2)))
    np.testing.assert_allclose(moments[1], moments[0] / 4, rtol=0.1)


def test_motion_blur_is_half_a_gaussian_on_a_ray():
    spot = np.zeros((1, 65, 65, 1), np.uint8)
    spot[0, 32, 32] = 255
    out = corruptions.apply(spot, "motion_blur", (6, 2.0), seed=1)[0, ..., 0].astype(float)
    angle = np.deg2rad(np.random.RandomState(1).uniform(-45, 45))
    weights = np.exp(-(np.arange(13) ** 2) / 8)
    expected = np.zeros((65, 65))
    for tap, weight in enumerate(weights / weights.sum()):
        down, right = (int(np.ceil(tap * part - 0.5)) for part in (np.sin(angle), np.cos(angle)))
        expected[32 - down, 32 - right] += 255 * weight
    assert np.max(np.abs(out - np.floor(expected))) <= 1
    assert out.sum() > 240 and (out > 0).sum() >= 5


def test_zoom_keeps_the_centre_and_magnifies():
    x = np.linspace(0, 1, 33)[None, :, None, None] * np.ones((1, 33, 33, 1))
    out = corruptions._zoomed(x, 2.0)
    expected = 0.5 + (np.arange(33) - 16) / 2 / 32
    np.testing.assert_allclose(out[0, :, 7, 0], expected, atol=1e-12)
    matrix = ndimage.map_coordinates(x[0, ..., 0], np.indices((33, 33)) / 2 + 8, order=1)
    np.testing.assert_allclose(out[0, ..., 0], matrix, atol=1e-12)


def test_glass_moves_pixels_one_after_the_other():
    image = np.arange(144, dtype=np.uint8).reshape(1, 12, 12, 1)
    out = corruptions.apply(image, "glass_blur", (0.01, 2, 2), seed=4)[0, ..., 0]
    random, expected = np.random.RandomState(4), image[0, ..., 0].copy()
    for _ in range(2):
        right, down = random.randint(-2, 2, size=(2, 144)).reshape(2, 12, 12)
        for row in range(10, 2, -1):
            for column in range(10, 2, -1):
                expected[row, column] = expected[row + down[row, column], column + right[row, column]]
    assert np.array_equal(out, expected)
    assert not np.array_equal(out, image[0, ..., 0])


def test_elastic_transform_without_displacement_is_an_affine_map(small):
    images = small[:1, ..., :1]
    assert np.array_equal(corruptions.apply(images, "elastic_transform", (0, 0, 0)), images)
    out = corruptions.apply(images, "elastic_transform", (0, 0, 1.5), seed=2)[0, ..., 0].astype(float)
    points = np.array([[26.0, 26, 1], [26, 6, 1], [6, 6, 1]])
    moved = points.copy()
    moved[:, :2] += np.random.RandomState(2).uniform(-1.5, 1.5, (1, 3, 2))[0]
    forward = np.linalg.solve(points, moved[:, :2])
    back = np.linalg.inv(np.column_stack([forward, [0, 0, 1]]))[:, :2]
    rows, columns = np.indices((32, 32))
    x, y = np.moveaxis(np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ back, -1, 0)
    expected = ndimage.map_coordinates(images[0, ..., 0] / 255.0, [y, x], order=1, mode="mirror")
    assert np.max(np.abs(out - cut(expected))) <= 1


def test_fog_never_brightens_beyond_the_brightest_and_snow_only_brightens(small):
    dark = (small // 2).astype(np.uint8)
    assert corruptions.corrupt(dark, "fog", 5).max() <= dark.max()
    assert np.all(corruptions.corrupt(small, "snow", 5).astype(int) >= small.astype(int) - 1)
    field = corruptions._plasma((3, 20, 32, 1), 2.0, np.random.RandomState(0))
    assert field.shape == (3, 20, 32, 1) and field.min() >= 0 and field.max() <= 1 and field.std() > 0.1


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "severity", "sentence"),
    [
        ("gausian_noise", 1, "did you mean gaussian_noise?"),
        ("xyz", 1, "there are gaussian_noise, shot_noise"),
        ("clean", 1, "clean images are the test set"),
        ("fog", 0, "severity=0 of fog; it must be a whole number from 1"),
        ("fog", 6, "severity=6"),
        ("fog", 2.5, "severity=2.5"),
        ("fog", True, "severity=True"),
    ],
)
def test_a_wrong_name_or_severity_is_a_sentence(name, severity, sentence, small):
    with pytest.raises(UserError) as caught:
        corruptions.corrupt(small, name, severity)
    assert sentence in str(caught.value)


def test_wrong_images_are_a_sentence(small):
    for images in (small / 255.0, small[0], small.transpose(0, 3, 1, 2), small[:, :7], small[..., :2]):
        with pytest.raises(UserError, match="must be uint8"):
            corruptions.corrupt(images, "fog", 1)
    with pytest.raises(UserError, match="one channel"):
        corruptions.corrupt(small[..., :1], "saturate", 1)
    with pytest.raises(UserError, match="constants=coco"):
        corruptions.corrupt(small, "fog", 1, constants="coco")  # pyright: ignore
    with pytest.raises(UserError, match="fog has 2 parameters, 1 were given"):
        corruptions.apply(small, "fog", (1.0,))
