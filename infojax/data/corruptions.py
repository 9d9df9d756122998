"""The corruptions of ImageNet-C and CIFAR-10-C, for a whole set of images at a time.

Hendrycks and Dietterich (2019), "Benchmarking neural network robustness to common corruptions and perturbations",
with the constants of their published data: 15 corruptions and four extra ones (`EXTRA`) at severities 1 to 5. As
there, images are x = u/255 in float64, results are clipped to [0, 1], and uint8(255 x) cuts off what is behind the
point. Images are [N, H, W, C] with C = 1 or 3, of 8 x 8 pixels or more.

Sizes. The constants were chosen for images of 224 pixels ("imagenet") and of 32 ("cifar"). Lengths in pixels (widths
of blurs, distances of glass, flakes of snow, drops) are multiplied by max(min(H, W), 32) / reference: smaller images
take the lengths of 32 pixels, for a blur scaled further down would be less than a pixel and do nothing. Elastic
transforms are fractions of the image and go by min(H, W) / reference. What has no length stays as it is: noise and
JPEG blocks of 8 x 8 are by pixel, and `pixelate` gives the share of pixels that are left on a side.

What differs from the published code, which needs OpenCV, ImageMagick and photographs: frost is drawn (ridges of a
plasma fractal) where theirs is cut out of photographs; zoom_blur zooms about the centre exactly, without rounding to
whole pixels; spatter finds the rims of drops by erosion instead of Canny's detector; warps interpolate in float64. One
channel has no colour: brightness is added to it, and `saturate` is refused. In glass_blur a pixel takes its
neighbour's value, as in the published data (their exchange of two pixels overwrites the first before it is read).
"""

import difflib
import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from infojax.types import UserError

Constants = Literal["imagenet", "cifar"]
REFERENCE: dict[str, int] = {"imagenet": 224, "cifar": 32}
SMALLEST = 32  # lengths are not scaled below those of this size

Parameters = tuple[float, ...]
Corruption = Callable[[np.ndarray, Parameters, float, Any], np.ndarray]


# --- parts -------------------------------------------------------------------------------------------------------


def _blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of every image [n, H, W, …] for itself, the border continued by its nearest pixel."""
    return ndimage.gaussian_filter(x, sigma, mode="nearest", truncate=4.0, axes=(1, 2)) if sigma > 0 else x


def _correlate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return ndimage.correlate(x, kernel[None, :, :, None], mode="mirror")


def _grey(x: np.ndarray) -> np.ndarray:
    """Luma [n, H, W, 1]."""
    return x if x.shape[-1] == 1 else np.sum(x * np.array([0.299, 0.587, 0.114]), axis=-1, keepdims=True)


def _colour(red: float, green: float, blue: float, channels: int) -> np.ndarray:
    colour = np.array([[[[red, green, blue]]]]) / 255
    return _grey(colour) if channels == 1 else colour


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Indices continued over the border as in c b | a b c | b a."""
    index = index % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def _reflect(index: np.ndarray, size: int) -> np.ndarray:
    """Indices continued over the border as in b a | a b c | c b."""
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def _sample(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, fold: Callable[..., np.ndarray]) -> np.ndarray:
    """Bilinear values of x [n, H, W, C] at places [n, H', W']."""
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    each = np.arange(len(x))[:, None, None]
    upper, lower = fold(top, x.shape[1]), fold(top + 1, x.shape[1])
    before, after = fold(left, x.shape[2]), fold(left + 1, x.shape[2])
    above = (1 - right) * x[each, upper, before] + right * x[each, upper, after]
    below = (1 - right) * x[each, lower, before] + right * x[each, lower, after]
    return (1 - down) * above + down * below


def _zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """Magnified about the centre, bilinearly."""
    for axis in (1, 2):
        size = x.shape[axis]
        places = (size - 1) / 2 + (np.arange(size) - (size - 1) / 2) / factor
        low = np.minimum(places.astype(np.int64), size - 2)
        share = (places - low).reshape(-1, *(1,) * (x.ndim - 1 - axis))
        x = (1 - share) * np.take(x, low, axis) + share * np.take(x, low + 1, axis)
    return x


def _moved(x: np.ndarray, radius: float, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """Motion blur: half a Gaussian over 2 ceil(radius) + 1 pixels on a ray, at its own angle for every image."""
    taps = np.arange(2 * int(np.ceil(radius - 1e-9)) + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    taps, weights = taps[weights > 1e-9], weights[weights > 1e-9]
    weights = weights / np.sum(weights)
    angle = np.deg2rad(degrees)
    each, out = np.arange(len(x))[:, None, None], np.zeros_like(x)
    for tap, weight in zip(taps, weights, strict=True):
        down = np.ceil(tap * np.sin(angle) - 0.5).astype(np.int64)
        right = np.ceil(tap * np.cos(angle) - 0.5).astype(np.int64)
        rows = np.clip(np.arange(x.shape[1]) + down[:, None], 0, x.shape[1] - 1)
        columns = np.clip(np.arange(x.shape[2]) + right[:, None], 0, x.shape[2] - 1)
        out += weight * x[each, rows[:, :, None], columns[:, None, :]]
    return out


def _plasma(shape: tuple[int, ...], decay: float, random: Any) -> np.ndarray:
    """Plasma fractals [n, H, W, 1] in [0, 1] by diamonds and squares; `decay` above 1 smooths them."""
    count, height, width = shape[:3]
    size = 1 << (max(height, width) - 1).bit_length()
    field, step, wobble = np.zeros((count, size, size)), size, 100.0

    def draw(total: np.ndarray) -> np.ndarray:
        return total / 4 + wobble * random.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        field[:, half::step, half::step] = centres = draw(pairs + np.roll(pairs, -1, axis=2))
        above = centres + np.roll(centres, 1, axis=1) + corners + np.roll(corners, -1, axis=2)
        beside = centres + np.roll(centres, 1, axis=2) + corners + np.roll(corners, -1, axis=1)
        field[:, ::step, half::step] = draw(above)
        field[:, half::step, ::step] = draw(beside)
        step, wobble = half, wobble / decay
    field = field - np.min(field, axis=(1, 2), keepdims=True)
    field = field / np.max(field, axis=(1, 2), keepdims=True)
    return field[:, :height, :width, None]


# --- the corruptions: (x [n, H, W, C] in [0, 1], parameters, factor of lengths, random numbers) -> [n, H, W, C] -------


def _gaussian_noise(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (deviation,) = parameters
    return x + random.normal(size=x.shape, scale=deviation)


def _shot_noise(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (photons,) = parameters
    return random.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (share,) = parameters
    hit, white = random.uniform(size=x.shape) < share, random.uniform(size=x.shape) < 0.5
    return np.where(hit, white.astype(x.dtype), x)


def _speckle_noise(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (deviation,) = parameters
    return x + x * random.normal(size=x.shape, scale=deviation)


def _gaussian_blur(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (sigma,) = parameters
    return _blur(x, sigma * factor)


def _defocus_blur(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    radius, softness = parameters
    return _correlate(x, _disk(radius, softness, factor))


def _disk(radius: float, softness: float, factor: float) -> np.ndarray:
    """The kernel of a lens out of focus: a disk in whole pixels, softened by a small Gaussian, then scaled by area."""
    reach = (1 if radius <= 8 else 2) + int(radius)  # the Gaussian is cut off at 3 x 3 or 5 x 5
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    near = np.arange(-(1 if radius <= 8 else 2), 2 if radius <= 8 else 3)
    gaussian = np.exp(-(near**2) / (2 * softness**2))
    gaussian = gaussian / np.sum(gaussian)
    disk = ndimage.correlate(disk, np.outer(gaussian, gaussian), mode="constant")
    if factor != 1:
        wide = int(np.ceil((reach + 0.5) * factor - 0.5))
        cells = np.arange(-wide, wide + 1)[:, None]
        low, high = np.maximum((steps - 0.5) * factor, cells - 0.5), np.minimum((steps + 0.5) * factor, cells + 0.5)
        overlap = np.maximum(0, high - low)
        disk = overlap @ disk @ overlap.T
    return disk / np.sum(disk)


def _glass_blur(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    sigma, distance, rounds = parameters[0] * factor, max(1, round(parameters[1] * factor)), int(parameters[2])
    count, height, width, channels = x.shape
    pixels = height * width
    rows, columns = (np.arange(size)[:, None] for size in (height, width))
    moves = ((rows > distance) & (rows <= height - distance)) & ((columns > distance) & (columns <= width - distance)).T
    moves, here = moves.ravel(), np.arange(pixels)
    source = np.broadcast_to(here, (count, pixels))
    for _ in range(rounds):
        right, down = random.randint(-distance, distance, size=(2, count, pixels))
        there = np.where(moves, here + down * width + right, here)
        # Pixels move from the last to the first. One that takes from a pixel behind it takes what that one took, and
        # so on along a chain; those past the number of pixels stand for values before the round and end it.
        taken = np.where(moves & moves[there] & (there > here), there, there + pixels)
        while np.any(taken < pixels):
            taken = np.where(taken < pixels, np.take_along_axis(taken, taken % pixels, axis=1), taken)
        source = np.take_along_axis(source, taken - pixels, axis=1)
    blurred = np.floor(_blur(x, sigma) * 255) / 255  # stored as whole levels before pixels move
    moved = np.take_along_axis(blurred.reshape(count, -1, channels), source[..., None], axis=1)
    return _blur(moved.reshape(x.shape), sigma)


def _motion_blur(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    radius, sigma = parameters
    return _moved(x, radius * factor, sigma * factor, random.uniform(-45, 45, len(x)))


def _zoom_blur(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    end, step = parameters
    factors = np.arange(1, end, step)
    return (x + sum(_zoomed(x, zoom) for zoom in factors)) / (len(factors) + 1)


def _snow(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    mean, deviation, zoom, threshold, radius, sigma, mix = parameters
    larger = max(1.0, zoom * factor)
    if zoom > 1 and larger == 1:  # interpolating would have left 2/3 of the deviation: (1 − w)² + w² is 2/3 on average
        deviation = deviation * 2 / 3
    flakes = _zoomed(random.normal(mean, deviation, (*x.shape[:3], 1)), larger)
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = _moved(flakes, radius * factor, sigma * factor, random.uniform(-135, -45, len(x)))
    pale = mix * x + (1 - mix) * np.maximum(x, 1.5 * _grey(x) + 0.5)
    return pale + flakes + flakes[:, ::-1, ::-1]


def _frost(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    image, ice = parameters
    needles, film = (_plasma(x.shape, decay, random) for decay in (1.6, 2.0))
    layer = 0.25 + 0.6 * (1 - np.abs(2 * needles - 1)) ** 3 + 0.4 * (film - 0.5)
    return image * x + ice * np.clip(layer, 0, 1) * _colour(224, 242, 255, x.shape[-1])


def _fog(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    density, decay = parameters
    brightest = np.max(x, axis=(1, 2, 3), keepdims=True)
    return (x + density * _plasma(x.shape, decay, random)) * brightest / (brightest + density)


def _brightness(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    """V of HSV plus a number: the channels keep their ratio."""
    (more,) = parameters
    value = np.max(x, axis=-1, keepdims=True)
    brighter = np.clip(value + more, 0, 1)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1), brighter)


def _saturate(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    """S of HSV times a number plus a number; grey has the hue of red."""
    times, more = parameters
    if x.shape[-1] == 1:
        raise UserError("saturate does nothing to images of one channel; choose another corruption for them")
    value = np.max(x, axis=-1, keepdims=True)
    spread = value - np.min(x, axis=-1, keepdims=True)
    saturation = spread / np.where(value > 0, value, 1)
    wanted = np.clip(saturation * times + more, 0, 1)
    lack = np.where(spread > 0, (value - x) / np.where(spread > 0, spread, 1), np.array([0.0, 1.0, 1.0]))
    return value * (1 - wanted * lack)


def _contrast(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (share,) = parameters
    mean = np.mean(x, axis=(1, 2), keepdims=True)
    return (x - mean) * share + mean


def _elastic_transform(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    """An affine map that moves three points at random, then a smooth field of displacements."""
    height_of_field, smoothness, jitter = (value * factor for value in parameters)
    count, height, width, _ = x.shape
    centre, arm = np.array([width // 2, height // 2]), max(min(height, width) // 3, 3)
    points = centre + np.array([[arm, arm], [arm, -arm], [-arm, -arm]])
    moved = points + random.uniform(-jitter, jitter, (count, 3, 2))
    # What an image shows at a place comes from where the map that takes `points` to `moved` came from.
    back = np.linalg.solve(
        np.concatenate([moved, np.ones((count, 3, 1))], axis=2), np.broadcast_to(points, moved.shape)
    )
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    places = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ back[:, None]
    x = _sample(x, places[..., 1], places[..., 0], _mirror)
    right, down = (
        height_of_field * ndimage.gaussian_filter(field, smoothness, mode="reflect", truncate=3.0, axes=(1, 2))
        for field in random.uniform(-1, 1, (2, count, height, width))
    )
    return _sample(x, rows + down, columns + right, _reflect)


def _pixelate(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    """Down to a share of the pixels by means over boxes, and up again; rounded to whole levels in between."""
    (share,) = parameters
    smaller, larger = [], []
    for size in x.shape[1:3]:
        left = max(1, int(size * share))
        smaller.append(_box_matrix(size, left))
        larger.append(_box_matrix(left, size))
    for rows, columns in (smaller, larger):
        x = np.round(np.einsum("vw,nrwc->nrvc", columns, x, optimize=True) * 255) / 255
        x = np.round(np.einsum("hr,nrvc->nhvc", rows, x, optimize=True) * 255) / 255
    return x


def _box_matrix(size: int, wanted: int) -> np.ndarray:
    """[wanted, size]: the mean of the pixels whose centres lie in each of `wanted` equal boxes."""
    scale = size / wanted
    centres = (np.arange(wanted)[:, None] + 0.5) * scale
    distance = (np.arange(size) + 0.5 - centres) / max(scale, 1)
    inside = ((distance > -0.5) & (distance <= 0.5)).astype(np.float64)
    return inside / np.sum(inside, axis=1, keepdims=True)


def _jpeg_compression(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    (quality,) = parameters
    out = np.empty_like(x)
    for index, image in enumerate(np.round(x * 255).astype(np.uint8)):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "JPEG", quality=int(quality))
        with Image.open(file) as read:
            out[index] = np.asarray(read).reshape(image.shape)
    return out / 255


def _spatter(x: np.ndarray, parameters: Parameters, factor: float, random: Any) -> np.ndarray:
    """Drops of water (their rims, embossed) or of mud where smoothed noise is above a threshold."""
    mean, deviation, sigma, threshold, amount, kind = parameters
    noise = random.normal(0, 1, x.shape[:3])
    # Smoothing less leaves noise more of its size: it is brought to what it would be in an image of reference size.
    size = deviation * _roughness(sigma) / _roughness(sigma * factor)
    liquid = mean + size * _blur(noise, sigma * factor)
    wet = liquid >= threshold
    if kind == 1:
        mud = _blur(wet.astype(x.dtype), amount * factor)[..., None]
        mud = np.where(mud < 0.8, 0, mud)
        return (1 - mud) * x + mud * _colour(63, 42, 20, x.shape[-1])
    inner = ndimage.binary_erosion(wet, np.ones((1, 3, 3), bool), border_value=1)
    # Images are far apart, so that the nearest rim is one of the same image.
    far: Any = ndimage.distance_transform_edt(np.logical_not(wet & np.logical_not(inner)), sampling=(1e6, 1, 1))
    far = np.floor(ndimage.uniform_filter(np.minimum(far, 20), 3, mode="mirror", axes=(1, 2)))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], float)
    relief = np.clip(_correlate(_equalised(far)[..., None], emboss)[..., 0], 0, 255)
    relief = np.round(ndimage.uniform_filter(relief, 3, mode="mirror", axes=(1, 2)))
    water = np.where(wet, np.clip(liquid, 0, 1), 0) * relief
    most = np.max(water, axis=(1, 2), keepdims=True)
    water = amount * water / np.where(most > 0, most, 1)
    return x + water[..., None] * _colour(175, 238, 238, x.shape[-1])


def _roughness(sigma: float) -> float:
    """The deviation of white noise of deviation 1 after a Gaussian blur in two dimensions."""
    line = np.zeros(2 * int(4 * sigma + 0.5) + 3)
    line[len(line) // 2] = 1
    return float(np.sum(ndimage.gaussian_filter1d(line, sigma, mode="constant") ** 2))


def _equalised(levels: np.ndarray) -> np.ndarray:
    """[n, H, W] whole levels from 0 to 255, spread so that each image has about as many pixels of every level."""
    count, whole = len(levels), levels.reshape(len(levels), -1).astype(np.int64)
    table = np.bincount((whole + 256 * np.arange(count)[:, None]).ravel(), minlength=256 * count).reshape(count, 256)
    below = np.cumsum(table, axis=1)
    first = np.take_along_axis(table, np.min(whole, axis=1, keepdims=True), axis=1)
    rest = whole.shape[1] - first
    spread = np.where(rest > 0, np.round((below - first) * 255 / np.maximum(rest, 1)), np.arange(256))
    return np.take_along_axis(spread, whole, axis=1).reshape(levels.shape)


FUNCTIONS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
    "gaussian_blur": _gaussian_blur,
    "speckle_noise": _speckle_noise,
    "spatter": _spatter,
    "saturate": _saturate,
}
CORRUPTIONS = tuple(FUNCTIONS)[:15]
EXTRA = tuple(FUNCTIONS)[15:]


def _single(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


# Of each corruption, the parameters at severities 1 to 5, as in the authors' published data.
PARAMETERS: dict[str, dict[str, tuple[Parameters, ...]]] = {
    "imagenet": {
        "gaussian_noise": _single(0.08, 0.12, 0.18, 0.26, 0.38),  # deviation
        "shot_noise": _single(60, 25, 12, 5, 3),  # photons of white
        "impulse_noise": _single(0.03, 0.06, 0.09, 0.17, 0.27),  # share of values, half of them white
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),  # radius, softness
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),  # sigma, distance, rounds
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),  # radius, sigma
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),  # end of factors, step
        "snow": (  # mean, deviation, zoom, threshold, radius and sigma of the fall, share of the image kept
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),  # of the image, of the ice
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),  # density, decay from scale to scale
        "brightness": _single(0.1, 0.2, 0.3, 0.4, 0.5),  # added to V
        "contrast": _single(0.4, 0.3, 0.2, 0.1, 0.05),  # share that is left of what differs from the mean
        "elastic_transform": (  # height and smoothness of the displacements, jitter of the affine map
            (488, 170.8, 24.4),
            (488, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
        "pixelate": _single(0.6, 0.5, 0.4, 0.3, 0.25),  # share of the pixels left on a side
        "jpeg_compression": _single(25, 18, 15, 10, 7),  # quality
        "gaussian_blur": _single(1, 2, 3, 4, 6),  # sigma
        "speckle_noise": _single(0.15, 0.2, 0.35, 0.45, 0.6),  # deviation relative to the value
        "spatter": (  # mean, deviation, smoothness, threshold; amount of water (0) or smoothness of mud (1)
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),  # S times the one, plus the other
    },
    "cifar": {
        "gaussian_noise": _single(0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": _single(500, 250, 100, 75, 50),
        "impulse_noise": _single(0.01, 0.02, 0.03, 0.05, 0.07),
        "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        "snow": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        "brightness": _single(0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": _single(0.75, 0.5, 0.4, 0.3, 0.15),
        "elastic_transform": (
            (0, 0, 2.56),
            (1.6, 6.4, 2.24),
            (2.56, 1.92, 1.92),
            (3.2, 1.28, 1.6),
            (3.2, 0.96, 0.96),
        ),
        "pixelate": _single(0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": _single(80, 65, 58, 50, 40),
        "gaussian_blur": _single(0.4, 0.6, 0.7, 0.8, 1),
        "speckle_noise": _single(0.06, 0.1, 0.12, 0.16, 0.2),
        "spatter": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
}
VALUES_AT_A_TIME = 2**21  # of float64 images


def available(channels: int) -> tuple[str, ...]:
    """The corruptions that images of 1 or 3 channels can have."""
    return tuple(name for name in FUNCTIONS if channels == 3 or name != "saturate")


def check(name: str, severity: int, shifts: tuple[str, ...] = (*CORRUPTIONS, *EXTRA)) -> None:
    """Refuse a shift that is none of `shifts` or a severity that is not 1, 2, 3, 4 or 5.

    Raises:
        UserError: with the name that is nearest.
    """
    if name not in shifts:
        near = difflib.get_close_matches(name, shifts, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shifts)}"
        if name == "clean":
            hint = "clean images are the test set; " + hint
        raise UserError(f"{name} is not a shift of these images; {hint}")
    if isinstance(severity, bool) or severity not in (1, 2, 3, 4, 5):
        raise UserError(f"severity={severity} of {name}; it must be a whole number from 1 (mild) to 5 (severe)")


def corrupt(
    images: np.ndarray, name: str, severity: int, seed: int = 0, constants: Constants | None = None
) -> np.ndarray:
    """Images under one corruption at one severity, with the constants of the published data.

    Args:
        images: uint8 [N, H, W, C], C = 1 or 3, H and W at least 8.
        name: one of `CORRUPTIONS` or `EXTRA`.
        severity: 1 to 5.
        seed: of everything that is random; equal seeds give equal bits, and severities that differ share their noise.
        constants: those of "imagenet" (severe) or of "cifar"; None takes cifar's for images of less than 100 pixels.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        UserError: an unknown name, a severity outside 1 to 5, images of another shape or dtype.

    Source: Hendrycks and Dietterich (2019), section 4 and the published constants.
    """
    check(name, severity)
    _check_images(images)
    size = min(images.shape[1:3])
    constants = constants or ("cifar" if size < 100 else "imagenet")
    if constants not in PARAMETERS:
        raise UserError(f"constants={constants} of the corruptions are not known; take imagenet or cifar")
    length = size if name == "elastic_transform" else max(size, SMALLEST)
    return apply(images, name, PARAMETERS[constants][name][severity - 1], seed, length / REFERENCE[constants])


def apply(images: np.ndarray, name: str, parameters: Parameters, seed: int = 0, factor: float = 1.0) -> np.ndarray:
    """Images under one corruption with parameters of one's own, such as `("gaussian_blur", (1.5,))`.

    Args:
        images: uint8 [N, H, W, C].
        name: one of `CORRUPTIONS` or `EXTRA`.
        parameters: as many and in the order of its line in `PARAMETERS`.
        seed: of everything that is random. Noise is `RandomState(seed)`'s, drawn for all images at once.
        factor: by which lengths among the parameters are multiplied; by default they are in pixels.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        UserError: an unknown name, another number of parameters, images of another shape or dtype.
    """
    check(name, 1)
    _check_images(images)
    wanted = len(PARAMETERS["imagenet"][name][0])
    if len(parameters) != wanted:
        raise UserError(f"{name} has {wanted} parameters, {len(parameters)} were given: {parameters}")
    # The legacy generator: its numbers are frozen over all versions of numpy, and those of published streams.
    random = np.random.RandomState(seed)
    step = max(1, VALUES_AT_A_TIME // int(np.prod(images.shape[1:])))
    out = np.empty_like(images)
    for start in range(0, len(images), step):
        x = images[start : start + step] / 255.0
        corrupted = FUNCTIONS[name](x, parameters, factor, random)
        out[start : start + step] = (np.clip(corrupted, 0, 1) * 255).astype(np.uint8)
    return out


def _check_images(images: np.ndarray) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or images.ndim != 4 or shape[-1] not in (1, 3) or min(shape[1:3]) < 8:
        raise UserError(
            f"images to corrupt are {images.dtype} {list(shape)}; they must be uint8 [N, H, W, C] with 1 or 3 channels "
            "and at least 8 x 8 pixels"
        )
