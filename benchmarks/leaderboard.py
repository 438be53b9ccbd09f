"""Which measure ranks compressions as the measured loss does: every rung of the ladder beside trivial baselines.

    .venv/bin/python benchmarks/leaderboard.py --data ../shared/data --network lenet300 --network resnet20

Three families of cases: (i) one layer at a time, pruned, quantised or of low rank; (ii) random configurations of the
whole network; (iii) random sparsities of the layers, by lowest magnitude, of one *total* sparsity. Each case is
measured on the network's test images; after batch norm re-estimation; and, some of them, after brief training.

What is measured is kept in a folder as it comes (``--work``), so that a run that is killed goes on where it was; the
cases come in an order in which any beginning holds all families. ``--page`` turns what is there into
docs/leaderboard.csv, the raw records, and from them makes docs/leaderboard.md. Networks that are not there keep the
records they have.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from leaderboard_cases import Case, cases
from leaderboard_measure import Bench, batched, losses
from leaderboard_networks import NAMES, subject
from leaderboard_store import measure
from leaderboard_sums import one_layer_tables
from torch.nn.modules.batchnorm import _BatchNorm

from shrinkscope.files import atomic_path

STAGES = ("cases", "table", "refit", "refit_total", "tuned", "more")
TUNED = 80  # cases of one total sparsity that are trained on, half of them of each
MORE = 10_000  # images of the second judge


def run(name: str, options: argparse.Namespace) -> None:
    """Measure one network."""
    begun, folder = time.perf_counter(), options.work / name
    made = subject(name, options.data)
    bench = Bench(made)
    listed = cases(bench.sizes, made.wanted)
    print(f"{name}: {len(listed)} cases of {len(bench.sizes)} layers, {time.perf_counter() - begun:.0f} s", flush=True)
    _describe(folder / "about.json", bench)
    until = None if options.minutes is None else time.time() + 60 * options.minutes
    if "table" in options.stage and made.wanted.tables:
        one_layer_tables(folder, made)
    refitted = {case.number for case in listed[: made.wanted.refit]}
    if "cases" in options.stage:
        measure(folder, "cases", listed[: options.quick], lambda c: bench.record(c, refit=c.number in refitted), until)
    if "refit" in options.stage and made.refit is not None:
        chosen = [case for case in listed if case.number in refitted and len(case.settings) > 1]
        measure(folder, "refit", chosen[: options.quick], bench.refit_predicted, until)
    if "refit_total" in options.stage and made.refit is not None:
        chosen = _of_one_total(listed, made.wanted.refit_total)
        measure(folder, "refit_total", chosen[: options.quick], lambda c: bench.refit_predicted(c, judged=True), until)
    if "tuned" in options.stage and made.training is not None:
        chosen = _of_one_total(listed, TUNED)
        measure(folder, "tuned", chosen[: options.quick], bench.tuned, until)
    if "more" in options.stage and made.more is not None:
        images, labels = made.more
        parts, labels = batched(images[:MORE], made.batch), labels[:MORE]
        before = losses(bench.run(parts), labels)
        chosen = _of_one_total(listed, 2 * made.wanted.total)
        measure(folder, "more", chosen[: options.quick], lambda c: bench.judged_again(c, parts, labels, before), until)


def _describe(path: Path, bench: Bench) -> None:
    """What the page says of the network."""
    made = bench.subject
    about = {
        "layers": bench.sizes,
        "wanted": made.wanted._asdict(),
        "judge": len(made.judge[1]),
        "judge_later": len(made.judge[1][made.later]),
        "judge_more": 0 if made.more is None else len(made.more[1][:MORE]),
        "accuracy": bench.accuracy,
        "inputs": {name: len(inputs) for name, inputs in made.inputs.items()},
        "norms": made.refit is not None or any(isinstance(m, _BatchNorm) for m in made.network.modules()),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(about))


def _of_one_total(listed: list[Case], count: int) -> list[Case]:
    """The first cases of family (iii), as many of each total, in turn."""
    families = sorted({case.family for case in listed if case.family.startswith("total")})
    groups = [[case for case in listed if case.family == family][: count // len(families)] for family in families]
    return [case for together in zip(*groups, strict=True) for case in together]


def main() -> None:
    """Measure the networks that are asked for, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shrinkscope-leaderboard")
    parser.add_argument("--network", action="append", choices=NAMES, help="by default all, one after another")
    parser.add_argument("--stage", action="append", choices=STAGES, help="by default all")
    parser.add_argument("--minutes", type=float, help="begin nothing new in a network after so many")
    parser.add_argument("--quick", action="store_const", const=4, help="four cases of each stage: does it run?")
    parser.add_argument("--page", action="store_true", help="make the records and the page from what was measured")
    options = parser.parse_args()
    options.stage = options.stage or list(STAGES)
    torch.set_num_threads(1)
    if options.page:
        from leaderboard_page import write_page

        write_page(options.work)
        return
    for name in options.network or NAMES:
        run(name, options)


if __name__ == "__main__":
    main()
