"""bitsandbytes: what the library stores for a layer is read as what the library dequantises."""

import pytest
import torch
from safetensors.torch import save_file

from shrinkscope.weights import open_weights

bnb = pytest.importorskip("bitsandbytes", reason="the library is in the extra `formats`")


def stored_4bit(weight: torch.Tensor, kind: str, size: int, nested: bool) -> tuple[dict, torch.Tensor]:
    packed, state = bnb.functional.quantize_4bit(weight, blocksize=size, compress_statistics=nested, quant_type=kind)
    tensors = {"fc.weight": packed} | {f"fc.weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    # The definition, in the library's own terms; its compiled kernels round bfloat16 otherwise (by less than an ulp).
    largest = bnb.functional.dequantize_blockwise(state.absmax, state.state2) + state.offset if nested else state.absmax
    codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).flatten()[: weight.numel()].long()
    values = state.code[codes] * largest.repeat_interleave(size)[: weight.numel()]
    return tensors, values.reshape(weight.shape).to(weight.dtype)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_codes_of_four_bits(tmp_path, kind, nested, dtype):
    weight = torch.randn(40, 72, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensors, expected = stored_4bit(weight, kind, 64, nested)
    save_file(tensors, tmp_path / "x.safetensors")
    weights = open_weights(tmp_path / "x.safetensors")
    assert (list(weights), weights.unreadable) == (["fc.weight"], {})
    view = weights["fc.weight"]
    assert (view.shape, view.dtype, view.role) == ((40, 72), dtype, "linear")
    assert torch.equal(view.read(), expected)
    for size in (1, 33, 1000):
        assert torch.equal(torch.cat(list(view.chunks(size))), expected.reshape(-1))


def test_the_library_itself_reads_the_same(tmp_path):
    weight = torch.randn(40, 72, generator=torch.Generator().manual_seed(1))
    packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    tensors, _ = stored_4bit(weight, "nf4", 64, False)
    # float32, so that nothing is rounded after the one product.
    torch.testing.assert_close(
        open_weights(tensors)["fc.weight"].read(), bnb.functional.dequantize_4bit(packed, state), rtol=2e-7, atol=0
    )


def test_codes_of_eight_bits():
    weight = torch.randn(24, 40, generator=torch.Generator().manual_seed(0)).half()
    codes, largest, _ = bnb.functional.int8_vectorwise_quant(weight)
    expected = bnb.functional.int8_vectorwise_dequant(codes, largest)
    state = {"fc.weight": codes, "fc.SCB": largest, "fc.weight_format": torch.tensor(0, dtype=torch.uint8)}
    view = open_weights(state)["fc.weight"]
    assert torch.equal(view.read(), expected)
    assert torch.equal(torch.cat(list(view.chunks(17))), expected.reshape(-1))


def reason(state: dict[str, torch.Tensor]) -> str:
    return open_weights(state).unreadable["fc.weight"]


def test_what_contradicts_the_layout_is_listed_with_its_reason():
    tensors, _ = stored_4bit(torch.ones(8, 64), "nf4", 64, True)
    text = "fc.weight.quant_state.bitsandbytes__nf4"
    assert "is not what bitsandbytes writes" in reason(tensors | {text: torch.zeros(5, dtype=torch.uint8)})
    assert "no short text" in reason(tensors | {text: torch.zeros(5)})
    assert "largest values for" in reason(tensors | {"fc.weight.absmax": torch.zeros(9, dtype=torch.uint8)})
    assert "bytes for [8, 64]" in reason(tensors | {"fc.weight": torch.zeros(9, 1, dtype=torch.uint8)})
    assert "double quantisation" in reason(tensors | {"fc.weight.nested_absmax": torch.zeros(3)})
    assert "quant_map of 16 values" in reason(tensors | {"fc.weight.quant_map": torch.zeros(3)})
    without = {name: part for name, part in tensors.items() if not name.endswith(".absmax")}
    assert "no largest values" in reason(without)
    absurd = torch.tensor(
        list(b'{"dtype":"float16","blocksize":64,"shape":[1152921504606846976,64]}'), dtype=torch.uint8
    )
    assert "absurd shape" in reason(tensors | {text: absurd})


def test_rows_of_eight_bits_that_do_not_fit():
    codes = torch.zeros(4, 4, dtype=torch.int8)
    assert "largest values" in reason({"fc.weight": codes, "fc.SCB": torch.ones(3)})
    tiles = {"fc.weight": codes, "fc.SCB": torch.ones(4), "fc.weight_format": torch.tensor(2)}
    assert "for one GPU kernel" in reason(tiles)
