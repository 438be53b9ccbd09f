"""GPTQ and AWQ: layouts written code by code from their documentation, and by the libraries themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from references import packings
from shrinkscope.weights import open_weights
from shrinkscope.weights.view import TensorView

INPUTS, OUTPUTS, GROUPS = 96, 64, 3


def ingredients(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (INPUTS, OUTPUTS))
    zeros = rng.integers(0, 2**bits, (GROUPS, OUTPUTS))
    scales = rng.uniform(0.01, 0.1, (GROUPS, OUTPUTS)).astype(np.float16)
    return codes, zeros, scales, np.arange(INPUTS) // (INPUTS // GROUPS)


def read(folder, tensors: dict[str, np.ndarray], config: dict | None = None) -> TensorView:
    named = {f"block.0.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
    save_file(named, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": config} if config else {}))
    weights = open_weights(folder / "model.safetensors")
    assert (list(weights), weights.unreadable) == (["block.0.weight"], {})
    return weights["block.0.weight"]


def assert_reads_as(view: TensorView, expected: np.ndarray) -> None:
    truth = torch.from_numpy(expected)
    assert (view.shape, view.dtype, view.role) == (tuple(truth.shape), truth.dtype, "linear")
    assert torch.equal(view.read(), truth)
    for size in (101, 960, 5000):
        assert torch.equal(torch.cat(list(view.chunks(size))), truth.reshape(-1))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("form", [None, "gptq", "gptq_v2"])
@pytest.mark.parametrize("order", ["none", "plain", "by activation"])
def test_gptq(tmp_path, bits, form, order):
    codes, zeros, scales, group_of = ingredients(bits)
    if order == "by activation":
        group_of = np.random.default_rng(9).permutation(group_of)
    weight, points = packings.gptq(codes, zeros, bits, less_one=form != "gptq_v2")
    tensors = {"qweight": weight, "qzeros": points, "scales": scales}
    if order != "none":
        tensors["g_idx"] = group_of.astype(np.int32)
    config = None if form is None else {"quant_method": "gptq", "bits": bits, "checkpoint_format": form}
    assert_reads_as(read(tmp_path, tensors, config), packings.dequantised(codes, zeros, scales, group_of))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_gptq_of_gptqmodel_whose_zero_points_borrow_from_each_other(tmp_path, bits):
    codes, zeros, scales, group_of = ingredients(bits)
    zeros[0, :3] = 0
    weight, apart = packings.gptq(codes, zeros, bits, less_one=True)
    points = packings.gptq_zero_points_in_one_subtraction(zeros, bits)
    assert not np.array_equal(points, apart)
    tensors = {"qweight": weight, "qzeros": points, "scales": scales, "g_idx": group_of.astype(np.int32)}
    config = {"quant_method": "gptq", "bits": bits, "checkpoint_format": "gptq"}
    made = config | {"meta": {"quantizer": ["gptqmodel:7.7.0"]}}
    assert_reads_as(read(tmp_path, tensors, made), packings.dequantised(codes, zeros, scales, group_of))


def test_awq(tmp_path):
    codes, zeros, scales, group_of = ingredients(4)
    tensors = {"qweight": packings.awq(codes), "qzeros": packings.awq(zeros), "scales": scales}
    assert_reads_as(read(tmp_path, tensors), packings.dequantised(codes, zeros, scales, group_of))


def reason(**changed: torch.Tensor | None) -> str:
    codes, zeros, scales, group_of = ingredients(4)
    weight, points = packings.gptq(codes, zeros, 4, less_one=True)
    state = {"qweight": weight, "qzeros": points, "scales": scales, "g_idx": group_of}
    state = {name: torch.from_numpy(array) for name, array in state.items()} | changed
    weights = open_weights({f"x.{name}": tensor for name, tensor in state.items() if tensor is not None})
    return weights.unreadable["x.weight"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"qzeros": None}, "no zero points"),
        ({"scales": None}, "no scales or no zero points"),
        ({"qzeros": torch.zeros(3, 7, dtype=torch.int32)}, r"zero points of \[3, 7\]"),
        ({"qzeros": torch.zeros(2, 8, dtype=torch.int32)}, "zero points of another shape"),
        ({"g_idx": torch.full((INPUTS,), 3)}, "lead to no scale"),
        ({"g_idx": torch.zeros(5, dtype=torch.int64)}, "lead to no scale"),
        ({"qweight": torch.zeros(12, 9, dtype=torch.int32)}, "as neither GPTQ nor AWQ"),
        ({"scales": torch.ones(GROUPS, OUTPUTS, dtype=torch.int32)}, "scales of"),
        ({"qweight": torch.zeros(0, OUTPUTS, dtype=torch.int32), "g_idx": None}, "codes of"),
    ],
)
def test_what_contradicts_the_layout_is_listed_with_its_reason(changed, expected):
    assert expected.replace("\\", "") in reason(**changed)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"qzeros": torch.zeros(3, 2, dtype=torch.int32)}, "zero points of [3, 2]"),
        ({"qweight": torch.zeros(97, 8, dtype=torch.int32)}, "97 inputs in 3 groups"),
    ],
)
def test_what_contradicts_the_layout_of_awq_is_listed_too(changed, expected):
    codes, zeros, scales, _ = ingredients(4)
    state = {"qweight": packings.awq(codes), "qzeros": packings.awq(zeros), "scales": scales}
    state = {f"x.{name}": torch.from_numpy(array) for name, array in state.items()}
    weights = open_weights(state | {f"x.{name}": tensor for name, tensor in changed.items()})
    assert expected in weights.unreadable["x.weight"]


@pytest.mark.parametrize("case", ["gptq2", "gptq3", "gptq4", "gptq8", "awq4", "converted"])
def test_what_the_libraries_pack_is_read_as_what_they_read(case):
    """The file was made once, on a CPU, by pure-Python code of three libraries.

    auto-gptq 0.7.1: ``qlinear_cuda.QuantLinear(bits, 32, 96, 32, False).pack(linear, scales, zeros, g_idx)``, read by
    the layer's own forward pass on the identity. autoawq 0.2.5: ``WQLinear_GEMM.from_linear(linear, 4, 32,
    scales=scales, zeros=zeros)``, read by ``packing_utils.dequantize_gemm``. Scales are random in [0.01, 0.1], codes
    and zero points random over all values, but for 0 as a zero point of auto-gptq, which then spoils its neighbours.
    compressed-tensors 0.20.0: random words, converted by ``AutoAWQConverter(group_size=32)`` and read by its
    ``pack-quantized`` compressor; importing the converter takes too long for a test.
    """
    state = load_file(Path(__file__).parents[1] / "data" / "gptq_awq.safetensors")
    expected = state.pop(f"{case}.expected")
    weights = open_weights({name: tensor for name, tensor in state.items() if name.startswith(f"{case}.")})
    assert (list(weights), weights.unreadable) == ([f"{case}.weight"], {})
    assert torch.equal(weights[f"{case}.weight"].read(), expected)
