"""Speed and memory of comparing a pair of bf16 tensors in files, beside plainly reading the same bytes.

    python benchmarks/diff.py [--gib 0.5 2 8] [--repeats 7] [--folder DIR] [--peers 1] [--sft PATH]

Sizes are of both files together, in the page cache. Readings and sums take turns, and each is given by its best time:
other work on the machine only ever makes one slower. Memory is what the process allocated (VmData) above what it had
before, at its peak; pages of the files are the system's. Then whole processes on one pair of files: the command, a
NumPy loop, and sft-cli.
"""

import argparse
import contextlib
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from diff_peers import peers

from shrinkscope.kernel import available, type_name, why_not
from shrinkscope.kernel.library import loaded
from shrinkscope.weights import CHUNK, TensorPair, TensorView, summarise

GIB = 1 << 30


def written(path: Path, elements: int, levels: int | None) -> torch.Tensor:
    """A file of normal weights, or of such weights rounded, mapped."""
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(1 << 22, generator=generator)
    block = (block if levels is None else (block * levels).round() / levels).to(torch.bfloat16)
    with path.open("wb") as file:
        for start in range(0, elements, len(block)):
            file.write(block[: min(len(block), elements - start)].view(torch.uint8).numpy().data)
    return torch.from_file(str(path), shared=True, size=elements, dtype=torch.bfloat16)


def view_of(flat: torch.Tensor) -> TensorView:
    return TensorView(
        name="w",
        shape=(len(flat) // 4096, 4096),
        type=type_name(flat.dtype),
        role="linear",
        load=lambda: flat,
        window=lambda start, stop: flat[start:stop],
    )


def read(first: torch.Tensor, second: torch.Tensor, threads: int) -> None:
    """The sum of all 64-bit words of both files, chunk by chunk as ``summarise`` walks."""
    library = loaded()
    if isinstance(library, str):
        raise SystemExit(library)

    def one(start: int) -> None:
        x, y = first[start : start + CHUNK], second[start : start + CHUNK]
        library.shrinkscope_read(x.data_ptr(), y.data_ptr(), 2 * len(x), 0)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(0, len(first), CHUNK)))


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def allocated() -> int:
    found = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The most that was allocated in the block above what was before, in bytes."""
    before, peak, over = allocated(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            peak[0] = max(peak[0], allocated() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def actions_of(pair: TensorPair, first: torch.Tensor, second: torch.Tensor, threads: int) -> list[Callable[[], object]]:
    """Reading, fast sums, exact sums, fast sums with distinct values and patterns."""
    return [
        lambda: read(first, second, threads),
        lambda: summarise(pair, exact=False, threads=threads),
        lambda: summarise(pair, exact=True, threads=threads),
        lambda: summarise(pair, exact=False, values=True, threads=threads),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, nargs="*", default=[0.5, 2.0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--peers", type=float, default=1.0, help="GiB of the files for other tools; 0 leaves them out")
    parser.add_argument("--sft", default=None, help="the executable of sft-cli")
    options = parser.parse_args()
    print(f"kernel: {available() or why_not()}")
    print("| GiB | threads | read GB/s | fast GB/s | of read | exact GB/s | of read | with values GB/s | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for gib in options.gib:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            elements = int(gib * GIB / 4) // CHUNK * CHUNK
            first, second = (written(Path(folder, name), elements, k) for name, k in (("a", None), ("b", 8)))
            pair = TensorPair(dense=view_of(first), compressed=view_of(second))
            for threads in (1, 2):
                actions = actions_of(pair, first, second, threads)
                with peak_memory() as peak:
                    taken = [[seconds(action) for action in actions] for _ in range(options.repeats)]
                speed = [4 * elements / 1e9 / min(times) for times in zip(*taken, strict=True)]
                plain, fast, exact, values = speed
                print(
                    f"| {gib:g} | {threads} | {plain:.1f} | {fast:.1f} | {fast / plain:.2f} | {exact:.1f} | "
                    f"{exact / plain:.2f} | {values:.1f} | {peak[0] / 1e6:.0f} |",
                    flush=True,
                )
    if options.peers:
        peers(options.peers, options.sft, options.folder, min(options.repeats, 3))


if __name__ == "__main__":
    main()
