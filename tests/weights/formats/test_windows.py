"""Checkpoints larger than the memory that a process may take, of every format that is read in windows."""

import subprocess
import sys
import textwrap

import pytest

LIMIT = 300_000_000
"""Bytes of private memory above the imports, a fraction of what the weights take as numbers."""

SCRIPT = """
    import re, resource, sys, time
    from pathlib import Path
    import torch
    from shrinkscope.weights import open_weights

    view = open_weights(Path({path!r}))[{name!r}]
    view.piece(0, 10)  # what a format imports when it is first read does not count
    now = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_DATA, (now + {limit}, now + {limit}))
    try:
        torch.empty({limit} + (1 << 26), dtype=torch.uint8)
    except RuntimeError:
        pass
    else:
        raise SystemExit("the limit does not hold")
    total, seen = view.parameters, 0
    # The ends and some pieces between: reading all of it is the comparison's own test.
    for start in (0, total // 3 + 1, total // 2 + 7, total - (1 << 22)):
        piece = view.piece(start, start + (1 << 22))
        seen += int((piece != 0).sum())
    print(seen)
"""


def sparse_file(path, header: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def pieces_within_the_limit(path, name: str) -> int:
    script = textwrap.dedent(SCRIPT).format(path=str(path), name=name, limit=LIMIT)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)


linux = pytest.mark.skipif(sys.platform != "linux", reason="the limit of private memory is Linux's")


@linux
def test_safetensors(tmp_path):
    count = 1 << 30
    header = b'{"w":{"dtype":"BF16","shape":[32768,32768],"data_offsets":[0,%d]}}' % (2 * count)
    sparse_file(tmp_path / "x.safetensors", len(header).to_bytes(8, "little") + header, 2 * count)
    with (tmp_path / "x.safetensors").open("r+b") as file:
        file.seek(-2, 2)
        file.write(b"\x80\x3f")
    assert pieces_within_the_limit(tmp_path / "x.safetensors", "w") == 1


@linux
def test_packed_integers(tmp_path):
    rows, columns = 1 << 14, 1 << 15
    # Codes of zero stand for -8 times the scale of 2^-8 that the bytes below spell in float16.
    parts = {"weight_packed": ("I32", (rows, columns // 8), 4), "weight_scale": ("F16", (rows, 1), 2)}
    entries, place = ['"x.weight_shape":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}'], 16
    for name, (dtype, shape, size) in reversed(parts.items()):
        end = place + shape[0] * shape[1] * size
        entries.append(f'"x.{name}":{{"dtype":"{dtype}","shape":{list(shape)},"data_offsets":[{place},{end}]}}')
        place = end
    header = ("{" + ",".join(entries) + "}").encode()
    shape_and_scales = rows.to_bytes(8, "little") + columns.to_bytes(8, "little") + b"\x00\x1c" * rows
    start = len(header).to_bytes(8, "little") + header + shape_and_scales
    sparse_file(tmp_path / "x.safetensors", start, place - len(shape_and_scales))
    assert pieces_within_the_limit(tmp_path / "x.safetensors", "x.weight") == 4 << 22


@linux
def test_a_pytorch_file(tmp_path):
    # A small file's numbers are blown up in place: the header of the archive is what torch.save writes for them.
    script = (
        f"import torch; torch.save({{'w': torch.zeros(1 << 29, dtype=torch.bfloat16)}}, {str(tmp_path / 'x.pt')!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert pieces_within_the_limit(tmp_path / "x.pt", "w") == 0
