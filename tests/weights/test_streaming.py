"""Checkpoints larger than the memory that a process may take, compared whole, in every format read in windows."""

import json
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch

LIMIT = 250_000_000
"""Bytes of private memory above the imports: half of what a comparison may take, for files half as large."""

ROWS, COLUMNS = 1 << 13, 1 << 15
TOTAL = ROWS * COLUMNS
ONES, APART = 400, 1 << 19  # the k-th one is element k·APART

# RLIMIT_DATA counts what a process allocates (private, writable), not what it maps from files: RLIMIT_AS would forbid
# to map a large file at all, and the resident set counts pages of the file that the system may drop.
SCRIPT = """
    import json, re, resource, sys, torch
    from pathlib import Path
    from shrinkscope.analysis import compare
    from shrinkscope.weights import open_weights

    dense, others, limit = Path(sys.argv[1]), sys.argv[2:-1], int(sys.argv[-1])
    for path in others:
        next(iter(open_weights(path).values())).piece(0, 10)  # what a format imports first does not count
    compare({"w": torch.ones(4, 4)}, {"w": torch.ones(4, 4)})
    now = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_DATA, (now + limit, now + limit))
    try:
        torch.empty(limit + (1 << 26), dtype=torch.uint8)
    except RuntimeError:
        pass
    else:
        raise SystemExit("the limit does not hold")
    for path in others:
        for exact in [False, True] if path.endswith("bf16.safetensors") else [False]:
            (row,) = compare(dense, path, exact=exact, threads=2).rows
            fields = ("parameters", "ap2", "square_dense", "square_compressed", "product", "changed", "distinct")
            print(json.dumps([Path(path).name, exact, *(getattr(row, field) for field in fields)]))
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the limit of private memory is Linux's")


def sparse_file(path: Path, header: bytes, size: int, ones: bytes = b"", step: int = 0, count: int = ONES) -> None:
    """A file of zeros behind a header, that has ``ones`` at every ``step`` bytes, and takes no room on the disk."""
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
        for k in range(count if ones else 0):
            file.seek(len(header) + k * step)
            file.write(ones)


def safetensors_header(parts: dict[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    entries, place = {}, 0
    for name, (dtype, shape, size) in parts.items():
        end = place + torch.Size(shape).numel() * size
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def dense_and_plain(folder: Path) -> None:
    header = safetensors_header({"w.weight": ("BF16", (ROWS, COLUMNS), 2)})
    sparse_file(folder / "dense.safetensors", header, 2 * TOTAL, b"\x80\x3f", 2 * APART)
    sparse_file(folder / "bf16.safetensors", header, 2 * TOTAL, b"\x80\x3f", 2 * APART, count=300)


def pytorch_file(folder: Path) -> None:
    path = folder / "half.pt"
    with torch.serialization.skip_data():  # room for the numbers, which are left out
        torch.save({"w.weight": torch.empty(ROWS, COLUMNS, dtype=torch.float16)}, path)
    with zipfile.ZipFile(path) as archive:
        (info,) = [info for info in archive.infolist() if info.filename.endswith("/data/0")]
    with path.open("r+b") as file:
        file.seek(info.header_offset + 26)
        begin = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        for k in range(300):
            file.seek(begin + 2 * k * APART)
            file.write(b"\x00\x3c")


def numpy_archive(folder: Path) -> None:
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({ROWS}, {COLUMNS}), }}".encode()
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117) + b"\n"
    name, size = b"w.weight.npy", len(array) + 2 * TOTAL
    common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, size, size, len(name), 0)
    sparse_file(
        folder / "half.npz", b"PK\x03\x04" + common + name + array, 2 * TOTAL, b"\x00\x3c", 2 * APART, count=300
    )
    with (folder / "half.npz").open("ab") as file:
        start = file.tell()
        directory = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
        file.write(directory + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), start, 0))


def gguf_file(folder: Path) -> None:
    text = b"w.weight"
    header = struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + struct.pack("<Q", len(text)) + text
    header += struct.pack("<IQQIQ", 2, COLUMNS, ROWS, 8, 0)  # type 8 is Q8_0: 32 weights in a scale and 32 bytes
    header = header.ljust(-(-len(header) // 32) * 32, b"\0")
    sparse_file(folder / "q8_0.gguf", header, TOTAL // 32 * 34, b"\x00\x3c\x01", APART // 32 * 34, count=300)


def packed_integers(folder: Path) -> None:
    header = safetensors_header({"w.weight_scale": ("F16", (ROWS, 1), 2), "w.weight": ("I8", (ROWS, COLUMNS), 1)})
    scales = b"\x00\x3c" * ROWS
    sparse_file(folder / "int8.safetensors", header + scales, TOTAL, b"\x01", APART, count=300)
    parts = {"w.weight_shape": ("I64", (2,), 8), "w.weight_scale": ("F16", (ROWS, 1), 2)}
    header = safetensors_header(parts | {"w.weight_packed": ("I32", (ROWS, COLUMNS // 8), 4)})
    # Codes of zero stand for -8 times the scale of 2^-8.
    numbers = struct.pack("<QQ", ROWS, COLUMNS) + b"\x00\x1c" * ROWS
    sparse_file(folder / "int4.safetensors", header + numbers, TOTAL // 2)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process said of all pairs under the limit."""
    folder = tmp_path_factory.mktemp("streaming")
    for write in (dense_and_plain, pytorch_file, numpy_archive, gguf_file, packed_integers):
        write(folder)
    names = ["bf16.safetensors", "half.pt", "half.npz", "q8_0.gguf", "int8.safetensors", "int4.safetensors"]
    sizes = {name: (folder / name).stat().st_size for name in ["dense.safetensors", *names]}
    assert [name for name, size in sizes.items() if size <= LIMIT] == ["int4.safetensors"]  # in 16 bits four times that
    paths = [str(folder / name) for name in ["dense.safetensors", *names]]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), *paths, str(LIMIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {(name, exact): statistics for name, exact, *statistics in rows}


@linux
@pytest.mark.parametrize(
    ("name", "exact"),
    [("bf16.safetensors", False), ("bf16.safetensors", True)]
    + [(name, False) for name in ("half.pt", "half.npz", "q8_0.gguf", "int8.safetensors")],
)
def test_files_larger_than_the_memory_limit_are_compared(found, name, exact):
    # Zeros and ones: every sum is exact.
    assert found[name, exact] == [TOTAL, 100.0, 400.0, 300.0, 300.0, 100, 2]


@linux
def test_packed_integers_larger_than_the_memory_limit_are_compared(found):
    parameters, ap2, dense, compressed, product, changed, distinct = found["int4.safetensors", False]
    small = 8 * 2.0**-8
    assert (parameters, dense, changed, distinct) == (TOTAL, 400.0, TOTAL, 1)
    # Powers of two and small multiples of them: exact in float64.
    assert (compressed, product) == (TOTAL * small**2, -ONES * small)
    assert ap2 == (TOTAL - ONES) * small**2 + ONES * (1 + small) ** 2
