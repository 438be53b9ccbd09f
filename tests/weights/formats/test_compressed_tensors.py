"""compressed-tensors' packings: what its own library makes is read as what its own library reads."""

import json

import pytest
import torch
from safetensors.torch import save_file

from shrinkscope.weights import open_weights
from shrinkscope.weights.view import TensorView

pytest.importorskip("compressed_tensors", reason="the library is in the extra `formats`")

from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme


def made_by_the_library(form: str, weight: torch.Tensor, scale: torch.Tensor, zero=None, extra=None, **args):
    """State of one layer as the library stores it, and the weight as the library reads it back."""
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    compressor = BaseCompressor.get_value_from_registry(form)
    state = {"weight": weight, "weight_scale": scale, **(extra or {})}
    if zero is not None:
        state["weight_zero_point"] = zero
    packed = compressor.compress(state, scheme)
    return packed, compressor.decompress(dict(packed), scheme)["weight"]


def read(folder, packed, config=None, prefix="model.layer.") -> TensorView:
    save_file({prefix + name: tensor.contiguous() for name, tensor in packed.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    weights = open_weights(folder)
    assert not weights.unreadable
    assert list(weights) == [prefix + "weight"]
    return weights[prefix + "weight"]


def assert_reads_as(view: TensorView, expected: torch.Tensor) -> None:
    """The same bits whole and in windows that cut through rows, bytes and words."""
    assert (view.shape, view.dtype, view.role) == (tuple(expected.shape), expected.dtype, "linear")
    assert torch.equal(view.read(), expected)
    for size in (7, 61, 1000):
        assert torch.equal(torch.cat(list(view.chunks(size))), expected.reshape(-1))


def weight(rows=24, columns=64, dtype=torch.bfloat16) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + columns)).to(dtype)


def scales_of(values: torch.Tensor, groups: int, bits: int) -> torch.Tensor:
    largest = values.float().reshape(values.shape[0], groups, -1).abs().amax(-1)
    return (largest / (2 ** (bits - 1) - 0.5)).to(values.dtype)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("groups", [1, 4])
def test_packed_integers_of_every_width(tmp_path, bits, groups):
    values = weight()
    strategy = {"strategy": "channel"} if groups == 1 else {"strategy": "group", "group_size": 16}
    packed, expected = made_by_the_library(
        "pack-quantized", values, scales_of(values, groups, bits), num_bits=bits, **strategy
    )
    assert_reads_as(read(tmp_path, packed), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_packed_integers_with_zero_points(tmp_path, dtype):
    values = weight(20, 96, dtype)
    zero = torch.randint(-8, 8, (20, 3), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    packed, expected = made_by_the_library(
        "pack-quantized",
        values,
        scales_of(values, 3, 4),
        zero,
        num_bits=4,
        symmetric=False,
        strategy="group",
        group_size=32,
    )
    assert_reads_as(read(tmp_path, packed), expected)


def test_one_scale_for_a_whole_tensor(tmp_path):
    values = weight()
    packed, expected = made_by_the_library(
        "pack-quantized", values, torch.tensor([0.3], dtype=values.dtype), num_bits=8, strategy="tensor"
    )
    assert_reads_as(read(tmp_path, packed), expected)


def test_a_row_too_short_to_tell_the_width_is_told_by_the_configuration(tmp_path):
    values = weight(6, 10)
    packed, expected = made_by_the_library(
        "pack-quantized", values, scales_of(values, 1, 3), num_bits=3, strategy="channel"
    )
    config = {"config_groups": {"group_0": {"weights": {"num_bits": 3}}}}
    assert_reads_as(read(tmp_path, packed, config), expected)


def test_experts_stacked_in_three_dimensions(tmp_path):
    values = weight(12, 64).reshape(3, 4, 64)
    scale = scales_of(values.reshape(12, 64), 4, 4).reshape(3, 4, 4)
    layers = [
        made_by_the_library("pack-quantized", v, s, num_bits=4, strategy="group", group_size=16)
        for v, s in zip(values, scale, strict=True)
    ]
    packed = {
        "weight_packed": torch.stack([state["weight_packed"] for state, _ in layers]),
        "weight_scale": scale,
        "weight_shape": torch.tensor(values.shape),
    }
    view = read(tmp_path, packed)
    assert view.shape == (3, 4, 64)
    assert torch.equal(view.read(), torch.stack([expected for _, expected in layers]))


def test_group_indices_lead_to_scales(tmp_path):
    values = weight(8, 64)
    scale = scales_of(values, 4, 4)
    packed, _ = made_by_the_library("pack-quantized", values, scale, num_bits=4, strategy="group", group_size=16)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1)) // 16
    packed["weight_g_idx"] = order.int()
    codes = unpack_from_int32(packed["weight_packed"], 4, torch.Size((8, 64)))
    expected = codes.to(values.dtype) * scale[:, order]
    assert_reads_as(read(tmp_path, packed), expected)


@pytest.mark.parametrize(
    ("form", "args", "scale"),
    [
        ("int-quantized", {"num_bits": 8, "strategy": "channel"}, (24, 1)),
        ("int-quantized", {"num_bits": 8, "strategy": "tensor"}, (1,)),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}, (24, 1)),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"}, (1,)),
        ("naive-quantized", {"num_bits": 8, "strategy": "group", "group_size": 16}, (24, 4)),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [8, 16]}, (3, 4)),
    ],
)
def test_eight_bits_with_scales(tmp_path, form, args, scale):
    values = weight()
    scale = torch.rand(scale, generator=torch.Generator().manual_seed(2)).to(values.dtype) / 20 + 0.03
    packed, expected = made_by_the_library(form, values, scale, **args)
    config = {"config_groups": {"group_0": {"weights": {"block_structure": args.get("block_structure")}}}}
    assert_reads_as(read(tmp_path, packed, config), expected)


def test_eight_bits_with_zero_points(tmp_path):
    values = weight()
    zero = torch.arange(-12, 12, dtype=torch.int8).reshape(24, 1)
    packed, expected = made_by_the_library(
        "int-quantized", values, scales_of(values, 1, 8), zero, num_bits=8, symmetric=False, strategy="channel"
    )
    assert_reads_as(read(tmp_path, packed), expected)


def test_floats_of_eight_bits_with_scales_that_are_powers_of_two(tmp_path):
    values = weight()
    scale = torch.exp2(torch.randint(-7, -3, (24, 2), generator=torch.Generator().manual_seed(3)).to(values.dtype))
    args = {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}
    packed, expected = made_by_the_library("mxfp8-quantized", values, scale, **args)
    assert_reads_as(read(tmp_path, packed), expected)


def test_floats_of_four_bits_with_scales_that_are_powers_of_two(tmp_path):
    values = weight()
    scale = torch.exp2(torch.randint(-3, 1, (24, 2), generator=torch.Generator().manual_seed(3)).to(values.dtype))
    args = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}
    packed, expected = made_by_the_library("mxfp4-pack-quantized", values, scale, **args)
    assert_reads_as(read(tmp_path, packed), expected)


def test_floats_of_four_bits_with_a_global_scale(tmp_path):
    values = weight()
    scale = torch.rand(24, 4, generator=torch.Generator().manual_seed(3)) * 200 + 100
    extra = {"weight_global_scale": torch.tensor([700.0])}
    args = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
    packed, expected = made_by_the_library("nvfp4-pack-quantized", values, scale, extra=extra, **args)
    assert_reads_as(read(tmp_path, packed), expected)
