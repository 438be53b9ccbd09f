"""Comparing over HTTP beside comparing the same files: requests, bytes fetched and seconds, by format.

    python benchmarks/remote.py --gib 0.5

The server is the tests' own, in this process and on the same cores, and waits before each answer as a storage would.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from range_server import RangeServer
from shrinkscope import compare
from shrinkscope.weights import open_weights

LATENCY = 0.03  # seconds: what the first byte of a range takes from an object store in the same region
HIDDEN, INNER = 2048, 8192


def network(gib: float) -> dict[str, torch.Tensor]:
    """Blocks of a decoder in bfloat16: four square matrices, three long ones, two norms each."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f"attn.{name}": (HIDDEN, HIDDEN) for name in "qkvo"}
    shapes |= {f"mlp.{name}": (INNER, HIDDEN) for name in ("gate", "up")} | {"mlp.down": (HIDDEN, INNER)}
    shapes |= {"norm1": (HIDDEN,), "norm2": (HIDDEN,)}
    size = 2 * sum(torch.Size(shape).numel() for shape in shapes.values())
    blocks = max(1, round(gib * 2**30 / size))
    return {
        f"layers.{k}.{name}.weight": torch.randn(shape, generator=generator).to(torch.bfloat16)
        for k in range(blocks)
        for name, shape in shapes.items()
    }


def slowly(handler, data) -> None:
    """A range after the latency of a storage."""
    time.sleep(LATENCY)
    handler.ranged(data)


def main() -> None:
    """Write the pair in two formats, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=0.5, help="size of each file")
    gib = parser.parse_args().gib
    print(f"{'format':12} {'threads':>7} {'opening':>18} {'comparing':>28} {'seconds':>8} {'of files':>8}")
    for suffix, write in ((".safetensors", save_file), (".pt", torch.save)):
        with tempfile.TemporaryDirectory() as folder, RangeServer() as server:
            dense = network(gib)
            files = [Path(folder, side + suffix) for side in "ab"]
            write(dense, files[0])
            write({name: tensor * (tensor.abs() > 0.5) for name, tensor in dense.items()}, files[1])
            del dense
            server.objects |= {file.name: file.read_bytes() for file in files}
            server.answer = slowly
            for threads in (1, 2, 8):
                row(server, files, threads)


def row(server: RangeServer, files: list[Path], threads: int) -> None:
    """Open one side, compare both, and compare the files."""
    urls = [server.url(file.name) for file in files]
    server.forget()
    open_weights(urls[0])
    opening = f"{len(server.requests)} requests, {server.sent / 2**20:.2f} MiB"
    server.forget()
    start = time.perf_counter()
    found = compare(*urls, threads=threads)
    taken = time.perf_counter() - start
    size = sum(len(data) for data in server.objects.values())
    comparing = f"{len(server.requests)} requests, {server.sent / size:.4f} of the bytes"
    start = time.perf_counter()
    same = compare(*files, threads=threads)
    local = time.perf_counter() - start
    print(f"{files[0].suffix:12} {threads:7} {opening:>18} {comparing:>28} {taken:8.2f} {local:8.2f}")
    if found.rows != same.rows:
        raise SystemExit("the records differ")


if __name__ == "__main__":
    main()
