"""Safetensors: every type, and every way in which a header can lie."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from fuzzing.reader_inputs import read_or_refuse
from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights
from shrinkscope.weights.formats.safetensors_file import TYPES

SAVED = [getattr(torch, name) for name in TYPES.values() if name != "float8_e8m0fnu"]


@pytest.mark.parametrize("dtype", SAVED, ids=str)
def test_every_type_in_windows_at_any_place(tmp_path, dtype):
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (60 * dtype.itemsize,), dtype=torch.uint8)
    expected = raw.view(dtype).reshape(6, 10)
    # A tensor of three bytes before it, so that it does not lie at a multiple of its size.
    save_file(
        {"a": torch.zeros(3, dtype=torch.uint8), "w": expected, "none": expected[:0].clone()},
        tmp_path / "x.safetensors",
    )
    weights = open_weights(tmp_path / "x.safetensors")
    view = weights["w"]
    assert (view.shape, view.dtype, weights["none"].shape) == ((6, 10), dtype, (0, 10))
    assert weights["none"].read().shape == (0, 10)
    for pieces in (view.read().reshape(-1), torch.cat(list(view.chunks(7))), view.piece(0, 60)):
        assert pieces.dtype == dtype
        assert torch.equal(pieces.view(torch.uint8), raw)


def written(folder, header: object, numbers: bytes = bytes(24), length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + numbers)
    return path


def one(dtype: object = "F32", shape: object = (6,), offsets: object = (0, 24), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"w": one(dtype="F33")}, "w has the unknown type F33"),
        ({"w": one(dtype=["F32"])}, "unknown type"),
        ({"w": one(dtype="F32\x1b[0m\n")}, r"unknown type F32\\x1b\[0m\\n\)"),
        ({"w": one(shape=6)}, "w has the shape 6"),
        ({"w": one(shape=[-6])}, "expected whole numbers from 0 up"),
        ({"w": one(shape=[6.0])}, "expected whole numbers from 0 up"),
        ({"w": one(shape=[True, 6])}, "expected whole numbers from 0 up"),
        ({"w": one(shape=[1 << 60])}, "absurd shape"),
        ({"w": one(shape=[1 << 60, 0], offsets=[0, 0])}, "absurd shape"),
        ({"w": one(shape=[1] * 40)}, "absurd shape"),
        ({"w": one(shape=[5])}, r"24 bytes for the shape \[5\] of F32"),
        ({"w": one(offsets=[0])}, "expected two whole numbers"),
        ({"w": one(offsets=[0, 24.0])}, "expected two whole numbers"),
        ({"w": one(offsets=[24, 0])}, "bytes 24 to 0 of 24"),
        ({"w": one(offsets=[-24, 0])}, "bytes -24 to 0 of 24"),
        ({"w": one(offsets=[0, 1 << 70])}, "bytes 0 to 1180591620717411303424 of 24"),
        ({"w": one(shape=[4], offsets=[8, 24])}, "8 bytes between the header and w belong to no tensor"),
        ({"w": one(shape=[4], offsets=[0, 16])}, "8 bytes behind w belong to no tensor"),
        ({"w": one(), "v": one(shape=[4], offsets=[8, 24])}, "v and w overlap"),
        ({"w": one(more=1)}, "expected dtype, shape and data_offsets"),
        ({"w": 3}, "expected dtype, shape and data_offsets"),
        ({"w": one(), "__metadata__": 3}, "its metadata is 3"),
        ({"a\x00b": one()}, r"the name a\\x00b has control characters|'a\\\\x00b' has control"),
        ({"\ud800": one()}, "control characters"),
        ({"": one()}, "has 0 characters"),
        ({"w" * 5000: one()}, "has 5000 characters"),
        ([], "no JSON object"),
        (b'{"w": 1, "w": 2}', "w occurs twice"),
        (b"{" * 90_000, "maximum recursion|Expecting"),
        (b"[" * 90_000, "maximum recursion|Expecting"),
        (b"\xff\xfe", "can't decode"),
        (b"", "Expecting value"),
        (b'{"w": NaN}', "expected dtype"),
        (b"9" * 5000, "limit .* for integer string|no JSON object"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_one_line(tmp_path, header, found):
    path = written(tmp_path, header)
    with pytest.raises(WeightsError, match=found) as error:
        open_weights(path)
    assert str(error.value).isprintable()
    assert str(path) in str(error.value)


def test_lengths_of_headers_that_no_file_has(tmp_path):
    with pytest.raises(WeightsError, match="its header would need 1152921504606846976"):
        open_weights(written(tmp_path, {}, length=1 << 60))
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(200_000_008)
    with pytest.raises(WeightsError, match="the format allows 100000000"):
        open_weights(path)


def test_types_smaller_than_a_byte_and_complex_ones_are_listed(tmp_path):
    header = {"a": one("C64", [1], [0, 8]), "b": one("F4", [16], [8, 16]), "c": one("F64", [1], [16, 24])}
    weights = open_weights(written(tmp_path, header))
    assert list(weights) == ["c"]
    assert weights.unreadable == {"a": "its type C64 is not read", "b": "its type F4 is not read"}


def test_a_file_that_shrinks_or_goes_while_it_is_compared(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.ones(100_000)}, path)
    view = open_weights(path)["w"]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="was it changed since it was opened"):
        view.read()
    path.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        view.piece(0, 10)


def test_writing_into_a_piece_changes_no_file(tmp_path):
    save_file({"w": torch.ones(10)}, tmp_path / "x.safetensors")
    view = open_weights(tmp_path / "x.safetensors")["w"]
    view.piece(0, 10).zero_()
    assert torch.equal(view.read(), torch.ones(10))


def test_values_that_are_not_numbers_are_values(tmp_path):
    save_file({"w": torch.tensor([float("nan"), float("inf"), 1.0])}, tmp_path / "x.safetensors")
    assert open_weights(tmp_path / "x.safetensors")["w"].read().isnan().tolist() == [True, False, False]


VALID = save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4)})


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255), st.booleans())
def test_one_changed_or_missing_byte_is_read_or_refused(tmp_path_factory, place, value, cut):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(VALID[:place] if cut else VALID[:place] + bytes([value]) + VALID[place + 1 :])
    read_or_refuse(path)
