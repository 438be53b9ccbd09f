"""NumPy's archives: stored and compressed members, every order of bytes and dimensions, damaged archives."""

import io
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights

ARRAYS = {
    "f4": np.arange(35, dtype=np.float32).reshape(5, 7),
    "by_columns": np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
    "big": np.arange(9, dtype=">f8"),
    "half": np.arange(4, dtype=np.float16),
    "flag": np.array([True, False, True]),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 4)),
    "u2": np.arange(5, dtype=np.uint16),
    "i8": np.arange(5),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_whole_and_in_windows(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    weights = open_weights(tmp_path / "x.npz")
    assert (set(weights), weights.unreadable) == (set(ARRAYS), {})
    for name, array in ARRAYS.items():
        expected = torch.from_numpy(
            np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))).reshape(array.shape)
        )
        view = weights[name]
        assert (view.shape, view.dtype) == (array.shape, expected.dtype)
        assert torch.equal(view.read(), expected)
        assert torch.equal(torch.cat([expected.reshape(-1)[:0], *view.chunks(4)]), expected.reshape(-1))


def test_windows_of_a_compressed_member_in_any_order_and_from_threads(tmp_path):
    array = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    np.savez_compressed(tmp_path / "x.npz", w=array)
    view, expected = open_weights(tmp_path / "x.npz")["w"], torch.from_numpy(array)
    starts = np.random.default_rng(1).permutation(np.arange(0, 50_000, 1000)).tolist()
    with ThreadPoolExecutor(4) as pool:
        for start, piece in zip(starts, pool.map(lambda a: view.piece(a, a + 1000), starts), strict=True):
            assert torch.equal(piece, expected[start : start + 1000])
    again = pickle.loads(pickle.dumps(view.window))
    assert torch.equal(again(5, 9), expected[5:9])


def test_what_has_no_counterpart_among_tensors_is_listed(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2), text=np.array(["x"]), c=np.ones(2, dtype=complex))
    weights = open_weights(tmp_path / "x.npz")
    assert list(weights) == ["a"]
    assert set(weights.unreadable) == {"text", "c"}
    assert "complex128 has no counterpart" in weights.unreadable["c"]


def archive(path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def npy(header: str, content: bytes = bytes(24), version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header.encode() + content


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}\n"


@pytest.mark.filterwarnings("ignore::UserWarning")  # zipfile warns of names that it writes twice
@pytest.mark.parametrize(
    ("members", "found"),
    [
        ([("w.npy", npy(HEADER % "(7,)"))], r"24 bytes for the shape \[7\]"),
        ([("w.npy", npy(HEADER % "(1152921504606846976, 4)"))], "absurd shape"),
        ([("w.npy", npy(HEADER % "(-6,)"))], "whole numbers from 0 up"),
        ([("w.npy", npy(HEADER % "'x'"))], "shape"),
        ([("w.npy", npy("(" * 3000))], "is it truncated"),
        ([("w.npy", b"nonsense")], "magic"),
        ([("w.npy", npy(HEADER % "(6,)")), ("w.npy", npy(HEADER % "(6,)"))], "w occurs twice"),
        ([("w.txt", b"hello")], "w.txt is no array"),
        ([("\x1b[31m.npy", npy(HEADER % "(6,)"))], "control characters"),
        ([], "no tensors found"),
    ],
)
def test_a_damaged_archive_is_one_line(tmp_path, members, found):
    with pytest.raises(WeightsError, match=found) as error:
        open_weights(archive(tmp_path / "x.npz", members))
    assert str(error.value).isprintable()


def test_structured_arrays_are_listed(tmp_path):
    content = npy(HEADER % "(6,)", version=3).replace(b"\x93NUMPY\x03\x00", b"\x93NUMPY\x03\x00")
    weights = open_weights(archive(tmp_path / "x.npz", [("w.npy", content), ("v.npy", npy(HEADER % "(6,)"))]))
    assert "version 3" in weights.unreadable["w"]


def test_a_member_that_lies_beyond_the_file(tmp_path):
    path = archive(tmp_path / "x.npz", [("w.npy", npy(HEADER % "(6,)"))])
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\3\4") + 28
    data[place : place + 2] = (60_000).to_bytes(2, "little")  # the length of the local header's extra field
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="not a readable .npz file"):
        open_weights(path)


def test_compressed_bytes_that_are_damaged_are_found_when_they_are_read(tmp_path):
    content = io.BytesIO()
    np.save(content, np.random.default_rng(0).normal(size=20_000))
    path = archive(tmp_path / "x.npz", [("w.npy", content.getvalue())], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[100_000:100_016] = bytes(16)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="cannot be unpacked|ends after"):
        for _ in open_weights(path)["w"].chunks(1000):
            pass


def test_a_compressed_member_that_ends_early(tmp_path):
    path = archive(tmp_path / "x.npz", [("w.npy", npy(HEADER % "(6,)"))], zipfile.ZIP_DEFLATED)
    view = open_weights(path)["w"]
    archive(path, [("w.npy", npy(HEADER % "(2,)", bytes(8)))], zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="ends after 8 bytes; is it truncated"):
        view.read()
    with pytest.raises(WeightsError, match="it ends too early"):
        view.piece(4, 6)
