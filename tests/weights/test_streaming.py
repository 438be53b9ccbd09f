"""Tensors larger than the memory that a process may take."""

import subprocess
import sys
import textwrap

import pytest

GIB = 1 << 30
LIMIT = 500_000_000
"""Bytes of private memory above the imports that a comparison may take, whatever the size."""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of private memory is Linux's")
@pytest.mark.parametrize("exact", [False, True])
def test_files_larger_than_the_memory_limit_are_compared(tmp_path, exact):
    # RLIMIT_DATA counts what a process allocates (private, writable), not what it maps from files: RLIMIT_AS would
    # forbid to map a large file at all, and the resident set counts pages of the file that the system may drop.
    script = f"""
        import re, resource, torch
        from pathlib import Path
        from shrinkscope.analysis import compare
        from shrinkscope.weights import TensorView, Weights
        compare({{"w": torch.ones(4, 4)}}, {{"w": torch.ones(4, 4)}})

        def weights(path, ones):
            with open(path, "wb") as file:
                file.truncate({GIB})
            flat = torch.from_file(path, shared=True, size={GIB // 2}, dtype=torch.bfloat16)
            flat[:: 1 << 20][:ones] = 1
            view = TensorView(name="w", shape=(1 << 14, 1 << 15), dtype=flat.dtype, role="linear",
                              load=lambda: 1 / 0, window=lambda start, stop: flat[start:stop])
            return Weights([view], origin="test")

        dense, compressed = weights("{tmp_path}/a", 400), weights("{tmp_path}/b", 300)
        now = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        resource.setrlimit(resource.RLIMIT_DATA, (now + {LIMIT}, now + {LIMIT}))
        try:
            torch.empty({GIB}, dtype=torch.uint8)
        except RuntimeError:
            pass
        else:
            raise SystemExit("the limit does not hold")
        (row,) = compare(dense, compressed, exact={exact}, threads=3).rows
        print(row.ap2, row.square_dense, row.changed, row.distinct)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.stdout.split() == ["100.0", "400.0", "100", "2"], done.stdout + done.stderr
