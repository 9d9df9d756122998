"""Files of weights: read safely, brought to flax, written and restored; damaged ones refused in a sentence."""

import json
import math
import os
import pickle
import struct
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax.nets import resnet, vit, weights, wide_resnet
from infojax.types import UserError

# --- files -------------------------------------------------------------------------------------------------------


def written(path, entries, body=b"", notes=None):
    """A safetensors file by hand: entries name -> (dtype, shape, begin, end)."""
    header = {
        name: {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        for name, (dtype, shape, begin, end) in entries.items()
    }
    if notes is not None:
        header["__metadata__"] = notes
    words = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(words)) + words + body)
    return path


def test_safetensors_are_read_as_the_format_says(tmp_path):
    numbers = [1.5, -2.0, 0.25, 3.0, 1e-3, -7.0]
    body = struct.pack("<6f", *numbers) + struct.pack("<2d", math.pi, -1) + struct.pack("<3e", 0.5, 2, -3)
    body += struct.pack("<2H", 0x3FC0, 0xC000) + struct.pack("<2q", 2**40, -1) + b"\x01\x00"
    entries = {
        "single": ("F32", (2, 3), 0, 24),
        "double": ("F64", (2,), 24, 40),
        "half": ("F16", (3,), 40, 46),
        "brain": ("BF16", (1, 2), 46, 50),
        "whole": ("I64", (2,), 50, 66),
        "truth": ("BOOL", (2,), 66, 68),
        "nothing": ("F32", (0, 4), 68, 68),
    }
    arrays = weights.read(written(tmp_path / "a.safetensors", entries, body, {"by": "hand"}))
    np.testing.assert_array_equal(arrays["single"], np.float32(numbers).reshape(2, 3))
    np.testing.assert_array_equal(arrays["double"], [math.pi, -1])
    np.testing.assert_array_equal(arrays["half"], [0.5, 2, -3])
    np.testing.assert_array_equal(arrays["brain"].astype(np.float32), [[1.5, -2.0]])
    np.testing.assert_array_equal(arrays["whole"], [2**40, -1])
    np.testing.assert_array_equal(arrays["truth"], [True, False])
    assert arrays["nothing"].shape == (0, 4) and arrays["half"].dtype == np.float16
    assert weights.metadata(tmp_path / "a.safetensors") == {"by": "hand"}


@pytest.mark.parametrize(
    "entries, body, notes, word",
    [
        ({"a": ("F32", (2,), 0, 8)}, b"1234", None, "0 to 8 of 4"),
        ({"a": ("F32", (2,), 0, 4)}, b"1234", None, "has 4 bytes"),
        ({"a": ("F32", (1,), 0, 4)}, b"12345678", None, "end at byte 4 of 8"),
        ({"a": ("F32", (1,), 4, 8)}, b"12345678", None, "join at byte 0"),
        ({"a": ("F32", (1,), 0, 4), "b": ("F32", (1,), 0, 4)}, b"1234", None, "join at byte 4"),
        ({"a": ("F8_E4M3", (1,), 0, 1)}, b"1", None, "dtype F8_E4M3"),
        ({"a": (["F32"], (1,), 0, 4)}, b"1234", None, "dtype"),
        ({"a": ("F32", (-1,), 0, 4)}, b"1234", None, "natural numbers"),
        ({"a": ("F32", (True,), 0, 4)}, b"1234", None, "natural numbers"),
        ({"a": ("F32", (1,), 4, 0)}, b"1234", None, "4 to 0"),
        ({"a": ("F32", (0, 10**30), 0, 0)}, b"", None, "cannot be"),
        ({}, b"", {"by": 3}, "metadata is not text"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, entries, body, notes, word):
    with pytest.raises(UserError, match=word):
        weights.read(written(tmp_path / "a.safetensors", entries, body, notes))


@pytest.mark.parametrize("header", [b"[]", b"{", b"\xff\xff", b'{"a": 1}', b'{"a": {}, "a": {}}', b"[" * 100_000])
def test_headers_that_are_none_are_refused(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserError, match="no whole safetensors file"):
        weights.read(tmp_path / "a.safetensors")


def tree():
    generator = np.random.default_rng(0)
    return {
        "params": {
            "fc": {"kernel": jnp.asarray(generator.normal(size=(3, 2)), jnp.float32), "bias": jnp.zeros(2)},
            "bn": {"scale": jnp.asarray([np.nan, -0.0], jnp.float32)},
        },
        "batch_stats": {"bn": {"mean": jnp.asarray([1, 2], jnp.bfloat16), "count": jnp.int32(7)}},
    }


def test_what_is_saved_is_restored_bit_for_bit(tmp_path):
    path = tmp_path / "deep" / "source.safetensors"
    weights.save(path, tree(), {"data": "digits"})
    again = weights.restore(path)
    assert jax.tree.structure(again) == jax.tree.structure(tree())
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(tree()), strict=True):
        assert ours.dtype == theirs.dtype and np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
    assert weights.metadata(path) == {"data": "digits"}
    weights.save(path, {"params": {"a": jnp.ones(1)}})
    assert list(weights.restore(path)["params"]) == ["a"]
    assert os.listdir(path.parent) == ["source.safetensors"]
    # The file is as the format says, for readers other than ours.
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    entry = json.loads(content[8 : 8 + length])["params/a"]
    assert length % 8 == 0 and entry == {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    assert struct.unpack("<f", content[8 + length :]) == (1.0,)


def test_files_cut_short_or_changed_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save(path, tree(), {"data": "digits"})
    content = path.read_bytes()
    for length in (0, 4, 8, 40, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="no whole safetensors file"):
            weights.restore(path)
    for place in (
        len(content) - 1,
        len(content) - 20,
        content.index(b"params/fc/kernel"),
        content.index(b"sha256") + 12,
    ):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match="no whole safetensors file"):
            weights.restore(path)
    with pytest.raises(UserError, match="was not written by infojax"):
        weights.restore(written(tmp_path / "b.safetensors", {"a": ("F32", (1,), 0, 4)}, b"1234"))


class Trap:
    """An object whose pickle, when it is executed, makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_are_not_executed(tmp_path):
    trap, made = Trap(tmp_path / "sprung"), tmp_path / "sprung"
    (tmp_path / "a.npz").write_bytes(pickle.dumps({"a": trap}))
    np.savez(tmp_path / "b.npz", a=np.array([trap], dtype=object))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(UserError, match="pickle"):
            weights.read(tmp_path / name)
    (tmp_path / "c.safetensors").write_bytes(pickle.dumps({"a": trap}))
    (tmp_path / "d.pth").write_bytes(pickle.dumps({"a": trap}, protocol=2))  # that of torch
    for name in ("c.safetensors", "d.pth"):
        with pytest.raises(UserError):
            weights.read(tmp_path / name)
    assert not made.exists()
    pickle.loads((tmp_path / "a.npz").read_bytes())
    assert made.exists()  # so it was a trap


def test_npz_are_read_and_damaged_ones_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **{"fc.weight": np.arange(6.0).reshape(2, 3)})
    np.testing.assert_array_equal(weights.read(path)["fc.weight"], [[0, 1, 2], [3, 4, 5]])
    content = path.read_bytes()
    values = content.index(np.float64(3).tobytes())
    for damaged in (
        b"",
        content[:-30],
        content[: len(content) // 2],
        content[:values] + b"\x07" + content[values + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"no whole \.npz file"):
            weights.read(path)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match="savez"):
        weights.read(path)


def test_files_that_are_none_are_named(tmp_path, monkeypatch):
    for path in (tmp_path / "a.npz", tmp_path):
        with pytest.raises(UserError, match="is not a file"):
            weights.read(path)
    (tmp_path / "a.h5").write_bytes(b"1")
    with pytest.raises(UserError, match="of no known kind"):
        weights.read(tmp_path / "a.h5")
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(b"1")
    with pytest.raises(UserError, match="torch is not installed; convert it"):
        weights.read(tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "torch", type(sys)("torch"))
    sys.modules["torch"].__version__ = "2.5.1"
    with pytest.raises(UserError, match=r"torch 2\.6 .* here is 2\.5\.1"):
        weights.read(tmp_path / "a.pth")


# --- names and layouts -------------------------------------------------------------------------------------------

SMALL = {"depths": (1, 1), "widths": (4, 6), "strides": (1, 2)}


def shapes(architecture, image_shape=(4, 4, 3)):
    return jax.eval_shape(lambda key: architecture.init(key, 5, image_shape), jax.random.key(0))


def small_arrays():
    """A state dict with numbers that tell where they come from, as of torchvision."""
    form = {"conv1.weight": (4, 3, 3, 3), "fc.weight": (5, 6), "fc.bias": (5,)}
    norms = {"bn1": 4, "layer1.0.bn1": 4, "layer1.0.bn2": 4, "layer2.0.bn1": 6, "layer2.0.bn2": 6}
    norms["layer2.0.downsample.1"] = 6
    for name, size in norms.items():
        form |= {f"{name}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}
        form[f"{name}.num_batches_tracked"] = ()
    for name, size in (("1.0.conv1", (4, 4)), ("1.0.conv2", (4, 4)), ("2.0.conv1", (6, 4)), ("2.0.conv2", (6, 6))):
        form[f"layer{name}.weight"] = (*size, 3, 3)
    form["layer2.0.downsample.0.weight"] = (6, 4, 1, 1)
    generator = np.random.default_rng(0)
    return {name: generator.uniform(1, 2, shape).astype(np.float32) for name, shape in form.items()}


def test_torch_arrays_are_brought_to_flax():
    arrays = small_arrays()
    made = shapes(resnet.make(**SMALL))
    found = weights.load(arrays, made)
    assert jax.tree.structure(found) == jax.tree.structure(made)
    params, statistics = found["params"], found["batch_stats"]
    kernel = params["layer2_0"]["conv1"]["kernel"]
    assert kernel.shape == (3, 3, 4, 6) and kernel[2, 0, 3, 5] == arrays["layer2.0.conv1.weight"][5, 3, 2, 0]
    np.testing.assert_array_equal(params["fc"]["kernel"], arrays["fc.weight"].T)
    np.testing.assert_array_equal(params["layer2_0"]["down_1"]["scale"], arrays["layer2.0.downsample.1.weight"])
    np.testing.assert_array_equal(statistics["layer1_0"]["bn2"]["mean"], arrays["layer1.0.bn2.running_mean"])
    np.testing.assert_array_equal(statistics["bn1"]["var"], arrays["bn1.running_var"])
    halves = {name: value.astype(np.float16) for name, value in arrays.items()}
    again = weights.load(halves, made)
    np.testing.assert_array_equal(again["params"]["fc"]["bias"], halves["fc.bias"].astype(np.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {jnp.dtype("float32")}


def test_wrappers_leave_no_trace_and_constants_are_found():
    arrays = small_arrays()
    made = shapes(resnet.make(**SMALL))
    plain = weights.load(arrays, made)
    mean, deviation = np.float32([[[[0.5]], [[0.25]], [[0.75]]]]), np.float32([[[[1.0]], [[0.5]], [[2.0]]]])
    for prefix, buffers in (
        ("module.", {}),
        ("model.", {"normalize.mean": mean, "normalize.std": deviation}),
        ("module.model.", {"module.normalize.mean": mean, "module.normalize.std": deviation}),
        ("", {"mu": mean, "sigma": deviation}),
        ("module.", {"module.mu": mean, "module.sigma": deviation}),
    ):
        wrapped = {prefix + name: value for name, value in arrays.items()} | buffers
        found = weights.load(wrapped, made)
        assert jax.tree.all(jax.tree.map(np.array_equal, found, plain))
        expected = ((0.5, 0.25, 0.75), (1.0, 0.5, 2.0)) if buffers else None
        assert weights.constants(wrapped) == expected
        assert weights.layout_of(wrapped) == ("robustbench" if buffers else "torchvision")
    with pytest.raises(UserError, match="deviation"):
        weights.constants({"mu": mean, "sigma": 0 * deviation})


def test_a_file_of_ours_is_imported_as_a_model(tmp_path):
    made = shapes(resnet.make(**SMALL))
    plain = weights.load(small_arrays(), made)
    weights.save(tmp_path / "a.safetensors", plain)
    arrays = weights.read(tmp_path / "a.safetensors")
    assert weights.layout_of(arrays) == "infojax"
    assert jax.tree.all(jax.tree.map(np.array_equal, weights.load(arrays, made), plain))


def test_the_transformer_of_torchvision_has_other_names():
    architecture = vit.make(patch=2, width=4, depth=2, heads=2)
    generator, arrays = np.random.default_rng(0), {}
    names = {
        "class_token": (1, 1, 4),
        "conv_proj.weight": (4, 3, 2, 2),
        "conv_proj.bias": (4,),
        "encoder.pos_embedding": (1, 5, 4),
        "encoder.ln.weight": (4,),
        "encoder.ln.bias": (4,),
        "heads.head.weight": (5, 4),
        "heads.head.bias": (5,),
    }
    for block in ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"):
        names |= {f"{block}.{norm}.{part}": (4,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
        names |= {f"{block}.self_attention.in_proj_weight": (12, 4), f"{block}.self_attention.in_proj_bias": (12,)}
        names |= {f"{block}.self_attention.out_proj.weight": (4, 4), f"{block}.self_attention.out_proj.bias": (4,)}
        names |= {f"{block}.mlp.0.weight": (16, 4), f"{block}.mlp.0.bias": (16,)}
        names |= {f"{block}.mlp.3.weight": (4, 16), f"{block}.mlp.3.bias": (4,)}
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in names.items()}
    assert weights.layout_of(arrays) == "torchvision"
    found = weights.load(arrays, shapes(architecture))["params"]
    block = "encoder.layers.encoder_layer_1"
    np.testing.assert_array_equal(
        found["blocks_1"]["attn"]["qkv"]["kernel"], arrays[f"{block}.self_attention.in_proj_weight"].T
    )
    np.testing.assert_array_equal(found["blocks_1"]["mlp"]["fc2"]["kernel"], arrays[f"{block}.mlp.3.weight"].T)
    np.testing.assert_array_equal(found["blocks_1"]["norm2"]["scale"], arrays[f"{block}.ln_2.weight"])
    np.testing.assert_array_equal(found["cls_token"], arrays["class_token"])


def test_all_that_does_not_fit_is_said_at_once():
    made, arrays = shapes(resnet.make(**SMALL)), small_arrays()

    def said(changed):
        with pytest.raises(UserError, match="do not fit") as caught:
            weights.load(changed, made)
        return str(caught.value)

    imagenet = arrays | {"fc.weight": np.ones((1000, 6), np.float32), "fc.bias": np.ones(1000, np.float32)}
    assert "they are of 1000 classes, the model is of 5" in said(imagenet)
    assert "fc.bias (as (1000,), not (5,))" in said(imagenet)
    changed = arrays | {"conv1.weight": np.ones((4, 1, 3, 3), np.float32), "extra.weight": np.ones(3, np.float32)}
    del changed["layer1.0.bn1.bias"]
    message = said(changed)
    for part in ("missing params/layer1_0/bn1/bias", "not of this model extra.weight", "conv1.weight (as (3, 3, 1, 4)"):
        assert part in message
    deeper = arrays | {f"layer3.{index}.conv1.weight": np.ones((4, 4, 3, 3), np.float32) for index in range(9)}
    assert "layer3.4.conv1.weight and 4 more" in said(deeper)
    grouped = {name: value for name, value in arrays.items() if "running" not in name}
    assert "no running statistics" in said(grouped)
    assert "not finite" in said(arrays | {"fc.bias": np.float32([1, 2, np.nan, 4, 5])})
    assert "bn1.running_var" in said(arrays | {"bn1.running_var": np.float32([1, -1, 1, 1])})
    assert "no real numbers in fc.bias" in said(arrays | {"fc.bias": np.arange(5)})
    assert "are the same array" in said(arrays | {"layer2.0.down.0.weight": arrays["layer2.0.downsample.0.weight"]})
    assert "and 27 more" in said({})


# --- beside torch, where it is installed --------------------------------------------------------------------------


def randomised(torch, module, seed=0):
    """A torch module with all its arrays random, running statistics as well, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, array in module.state_dict().items():
        if name.endswith("running_var"):
            array.uniform_(0.5, 2, generator=generator)
        elif array.is_floating_point() and array.ndim == 1:
            array.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
        elif array.is_floating_point():
            array.normal_(0, 1 / math.sqrt(max(1, array[0].numel())), generator=generator)
    return module.eval()


def wide_in_torch(torch, blocks, widen):
    """WRN as RobustBench names it."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

        def forward(self, x):
            active = self.bn1(x).relu()
            y = self.conv2(self.bn2(self.conv1(active)).relu())
            return y + (x if self.convShortcut is None else self.convShortcut(active))

    class Stage(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            rest = [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
            self.layer = nn.Sequential(Block(inputs, outputs, stride), *rest)

        def forward(self, x):
            return self.layer(x)

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mu", torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1))
            self.register_buffer("sigma", torch.tensor([0.2471, 0.2435, 0.2616]).view(1, 3, 1, 1))
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.block1 = Stage(16, 16 * widen, 1)
            self.block2, self.block3 = Stage(16 * widen, 32 * widen, 2), Stage(32 * widen, 64 * widen, 2)
            self.bn1, self.fc = nn.BatchNorm2d(64 * widen), nn.Linear(64 * widen, 10)

        def forward(self, x):
            x = self.block3(self.block2(self.block1(self.conv1((x - self.mu) / self.sigma))))
            return self.fc(self.bn1(x).relu().mean((2, 3)))

    module = Wide()
    constants = module.mu.clone(), module.sigma.clone()
    randomised(torch, module)
    module.mu.copy_(constants[0])
    module.sigma.copy_(constants[1])
    return module


def torchvision_models():
    return pytest.importorskip("torchvision", exc_type=ImportError).models


def timm_model(name, **keys):
    return pytest.importorskip("timm", exc_type=ImportError).create_model(name, **keys)


RESNET = {"widths": (64, 128, 256, 512), "strides": (1, 2, 2, 2), "stem": "imagenet"}
TORCH = {
    "wrn-16-2": (
        lambda torch: wide_in_torch(torch, 2, 2),
        lambda **keys: wide_resnet.make(depth=16, widen=2, **keys),
        (10, 32),
    ),
    "torchvision resnet18": (
        lambda torch: randomised(torch, torchvision_models().resnet18()),
        lambda **keys: resnet.make(depths=(2, 2, 2, 2), **RESNET, **keys),
        (1000, 64),
    ),
    "torchvision resnet50": (
        lambda torch: randomised(torch, torchvision_models().resnet50()),
        lambda **keys: resnet.make(block="bottleneck", depths=(3, 4, 6, 3), **RESNET, **keys),
        (1000, 64),
    ),
    "timm resnet50_gn": (
        lambda torch: randomised(torch, timm_model("resnet50_gn")),
        lambda **keys: resnet.make(
            block="bottleneck", depths=(3, 4, 6, 3), norm="group", groups=32, **RESNET, layout="timm", **keys
        ),
        (1000, 64),
    ),
    "timm vit_tiny_patch16_224": (
        lambda torch: randomised(torch, timm_model("vit_tiny_patch16_224")),
        lambda **keys: vit.make(width=192, depth=12, heads=3, **keys),
        (1000, 224),
    ),
    "torchvision transformer": (
        lambda torch: randomised(
            torch,
            torchvision_models().vision_transformer.VisionTransformer(
                image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64
            ),
        ),
        lambda **keys: vit.make(patch=8, width=16, depth=2, heads=2, **keys),
        (1000, 32),
    ),
}
CONSTANTS = {"wrn": (0, 1), "timm vit": (0.5, 0.5)}


@pytest.mark.parametrize("case", TORCH)
def test_outputs_are_those_of_torch(case, tmp_path):
    torch = pytest.importorskip("torch")
    theirs, ours, (num_classes, side) = TORCH[case]
    with torch.no_grad():
        module = theirs(torch)
        torch.save(
            {"state_dict": {f"module.{n}": a for n, a in module.state_dict().items()}, "epoch": 3}, tmp_path / "w.pth"
        )
        images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
        mean, deviation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        for name, (first, second) in CONSTANTS.items():
            if case.startswith(name):
                mean, deviation = (first,) * 3, (second,) * 3
        scaled = (images / np.float32(255) - np.float32(mean)) / np.float32(deviation)
        expected = module(torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy())).numpy()
    model = ours(weights=str(tmp_path / "w.pth")).imported(num_classes, (side, side, 3), (0.9,), (0.1,))
    logits, _ = jax.jit(model.apply, static_argnames="statistics")(model.variables, images, statistics="source")
    difference = float(np.abs(logits - expected).max() / np.std(expected))
    print(f"{case}: largest difference {difference:.1e} standard deviations of the logits")
    assert np.std(expected) > 0.01 and difference < 1e-4


def test_torch_files_are_read_and_their_pickles_are_not_executed(tmp_path):
    torch = pytest.importorskip("torch")
    arrays = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5], dtype=torch.bfloat16)}
    for wrapped in (
        arrays,
        {"model": arrays},
        {"model": {"state_dict": arrays}, "epoch": 1},
        {"net": arrays, "err": 0.1},
    ):
        torch.save(wrapped, tmp_path / "w.pt")
        found = weights.read(tmp_path / "w.pt")
        assert list(found) == ["a.weight", "b"] and found["b"] == np.float32(1.5)
        np.testing.assert_array_equal(found["a.weight"], [[0, 1, 2], [3, 4, 5]])
    content = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"no whole torch file|more than arrays"):
        weights.read(tmp_path / "w.pt")
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="more than arrays"):
        weights.read(tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(UserError, match="no table of arrays but list"):
        weights.read(tmp_path / "w.pt")
