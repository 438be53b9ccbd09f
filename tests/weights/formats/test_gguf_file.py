"""GGUF: files written by the package gguf, its dequantisation as the reference, and damaged headers."""

import struct

import numpy as np
import pytest
import torch

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights
from shrinkscope.weights.formats import gguf_blocks

gguf = pytest.importorskip("gguf", reason="the package is in the extra `formats`")
Kind = gguf.GGMLQuantizationType

READ = [kind for kind in Kind if kind in gguf.quants._type_traits and kind != Kind.BF16]


def blocks_of(kind: Kind, rows: int, columns: int) -> np.ndarray:
    """Valid blocks of random codes whose scales are ordinary numbers."""
    size, nbytes = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(int(kind))
    raw = rng.integers(0, 256, (rows, columns // size * nbytes), dtype=np.uint8)
    values = rng.normal(0, 0.05, (rows, columns)).astype(np.float32)
    try:
        return gguf.quants.quantize(values, kind)
    except NotImplementedError:
        pass
    # The half-precision scales lie at different places: any exponent that is not all ones makes a finite number.
    return raw & np.uint8(0xBB)


def written(path, tensors: dict[str, tuple[np.ndarray, Kind | None]]):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.tokens", ["a", "b", "c"] * 50)
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_uint64("big", 1 << 40)
    writer.add_bool("yes", True)
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.name)
def test_quantised_blocks(tmp_path, kind):
    raw = blocks_of(kind, 3, 512)
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(gguf.quants.dequantize(raw, kind))
    path = written(tmp_path / "x.gguf", {"blk.0.attn_q.weight": (raw, kind), "norm.weight": (np.ones(4, "f4"), None)})
    weights = open_weights(path)
    assert (sorted(weights), weights.unreadable) == (["blk.0.attn_q.weight", "norm.weight"], {})
    view = weights["blk.0.attn_q.weight"]
    assert (view.shape, view.dtype, view.role) == ((3, 512), torch.float32, "linear")
    assert torch.equal(view.read(), expected)
    for size in (100, 700):
        assert torch.equal(torch.cat(list(view.chunks(size))), expected.reshape(-1))


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.name)
def test_our_table_of_types_is_the_packages(kind):
    ours = gguf_blocks.TYPES[int(kind)]
    assert (ours.name, ours.elements, ours.nbytes) == (kind.name, *gguf.GGML_QUANT_SIZES[kind])


def test_plain_types(tmp_path):
    values = np.arange(12).reshape(3, 4)
    tensors = {t: (values.astype(t), None) for t in ("f4", "f2", "f8", "i1", "i2", "i4", "i8")}
    tensors["bf16"] = (gguf.quants.quantize(values.astype("f4"), Kind.BF16), Kind.BF16)
    weights = open_weights(written(tmp_path / "x.gguf", tensors))
    assert weights["bf16"].dtype == torch.bfloat16
    for name in tensors:
        assert torch.equal(weights[name].read().to(torch.float64), torch.from_numpy(values.astype("f8")))


def test_without_the_package_rare_types_are_listed_with_what_to_do(tmp_path, monkeypatch):
    path = written(tmp_path / "x.gguf", {"a": (blocks_of(Kind.IQ4_XS, 1, 256), Kind.IQ4_XS)})
    monkeypatch.setattr(gguf_blocks.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'shrinkscope[formats]'" in open_weights(path).unreadable["a"]


def test_a_package_that_goes_away_while_files_are_open(tmp_path, monkeypatch):
    path = written(tmp_path / "x.gguf", {"a": (blocks_of(Kind.IQ4_XS, 1, 256), Kind.IQ4_XS)})
    view = open_weights(path)["a"]
    monkeypatch.setattr(gguf_blocks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="the package gguf, which decodes IQ4_XS, is gone"):
        view.read()


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(tensors: list[bytes], pairs: list[bytes] = (), version: int = 3, count: int | None = None) -> bytes:
    counts = struct.pack("<IQQ", version, len(tensors) if count is None else count, len(pairs))
    return b"GGUF" + counts + b"".join(pairs) + b"".join(tensors)


def tensor(name="w", shape=(4,), kind=0, offset=0) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it ends within the header, at byte 0"),
        (b"GGUX" + bytes(90), "does not begin with GGUF"),
        (header([], version=1) + bytes(90), "its version is 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(90), "big-endian"),
        (header([], count=1 << 60) + bytes(90), "entries at byte 16, more than fit"),
        (header([tensor(shape=(1 << 60, 4))]) + bytes(90), "absurd shape"),
        (header([tensor(shape=(1,) * 9)]) + bytes(90), "9 dimensions"),
        (header([tensor(shape=(1000,))]) + bytes(90), "ends at byte"),
        (header([tensor(), tensor("v", offset=8)]) + bytes(90), "v and w overlap"),
        (header([tensor(), tensor(offset=32)]) + bytes(190), "w occurs twice"),
        (header([tensor(kind=77)]) + bytes(90), "unknown type 77"),
        (header([tensor(kind=2)]) + bytes(90), "not whole blocks"),
        (header([tensor("a\x1b[31m")]) + bytes(90), "control characters"),
        (header([struct.pack("<Q", 2) + b"\xff\xfe" + bytes(40)]) + bytes(90), "is no text"),
        (header([tensor()], [pair("general.alignment", 4, struct.pack("<I", 7))]) + bytes(90), "alignment is 7"),
        (header([tensor()], [pair("x", 99, b"")]) + bytes(90), "unknown type 99"),
        (header([tensor()], [pair("x", 9, struct.pack("<IQ", 9, 1) * 9)]) + bytes(90), "unknown type 9"),
        (header([tensor()], [pair("x", 9, struct.pack("<IQ", 0, 1 << 62))]) + bytes(90), "more than fit"),
        (header([tensor()])[:-3], "ends within the header"),
    ],
)  # fmt: skip
def test_a_damaged_header_is_one_line(tmp_path, content, found):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=found) as error:
        open_weights(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
