"""Does a plan help the tool that carries it out? stories260K pruned by llm-compressor, by a plan and uniformly.

    LLM_COMPRESSOR_PYTHON=$PWD/llmc/bin/python python benchmarks/llm_compressor.py --data ../shared/data

The variable names a Python that has llm-compressor, which wants another torch. Texts are written by the network itself:
planned for on 64 of them, calibrated on 128, judged on 128 others. Prints Markdown: nats per token with the standard
error over texts, by levels (rows) and by llm-compressor's modifier (columns); 5 minutes on one core.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

SPARSITIES = (0.4, 0.5, 0.6)
ALLOCATIONS = ("uniform", "owl", "joint")
MODIFIERS = {"wanda": "WandaPruningModifier", "sparsegpt": "SparseGPTModifier"}
TEXTS, TOKENS, PLANNED, BATCH = 128, 128, 64, 16


def prepare(data: Path, folder: Path) -> None:
    """Write the network as Hugging Face has it, texts, and a recipe for each level, allocation and modifier."""
    from shrinkscope.analysis.blocks import plan_blocks
    from shrinkscope.experiments.zoo.hugging_face import save_hugging_face
    from shrinkscope.experiments.zoo.llama import STORIES_260K, read_llama2c
    from shrinkscope.integrations.llm_compressor import llm_compressor_recipe
    from shrinkscope.performance import synthetic_tokens

    network = read_llama2c(data / "weights/stories260K_llama2c_v0.bin", transpositions=5)
    save_hugging_face(network, STORIES_260K, folder / "dense")
    for name, seed in (("seen", 0), ("judged", 1)):
        texts = synthetic_tokens(network, TOKENS, TEXTS, torch.Generator().manual_seed(seed), start=1).inputs
        torch.save(texts, folder / f"{name}.pt")
    seen = torch.load(folder / "seen.pt")
    for sparsity in SPARSITIES:
        for allocation in ALLOCATIONS:
            tokens = None if allocation == "uniform" else seen[:PLANNED]
            made = plan_blocks(folder / "dense", tokens, sparsity=sparsity, batch_size=BATCH, allocation=allocation)
            for modifier in ("wanda", "sparsegpt"):
                recipe = llm_compressor_recipe(made, modifier=modifier)
                (folder / f"{sparsity}-{allocation}-{modifier}.yaml").write_text(recipe)


def judge(folder: Path) -> None:
    """Prune by each recipe through llm-compressor, and print what that leaves."""
    from llmcompressor import oneshot  # type: ignore[import-not-found]
    from tokenizers import Tokenizer, models
    from torch.utils.data import DataLoader
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, default_data_collator

    seen, judged = torch.load(folder / "seen.pt"), torch.load(folder / "judged.pt")
    samples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in seen]
    loader = DataLoader(samples, batch_size=BATCH, collate_fn=default_data_collator)  # type: ignore[arg-type]
    # llm-compressor asks for a tokenizer, and does not use it on token ids.
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"0": 0}, unk_token="0")))
    tokenizer.save_pretrained(folder / "dense")
    lines = [f"dense: {nats(AutoModelForCausalLM.from_pretrained(folder / 'dense'), judged)}", ""]
    lines += ["| | | zeros | wanda | sparsegpt |", "|---|---|---|---|---|"]
    for sparsity in SPARSITIES:
        for allocation in ALLOCATIONS:
            found = {}
            for modifier in MODIFIERS:
                network = AutoModelForCausalLM.from_pretrained(folder / "dense")
                recipe = str(folder / f"{sparsity}-{allocation}-{modifier}.yaml")
                oneshot(
                    model=network, processor=tokenizer, dataset=loader, recipe=recipe, num_calibration_samples=TEXTS
                )
                found[modifier] = zeros(network), nats(network, judged)
            shares = " / ".join(share for share, _ in found.values())
            left = " | ".join(value for _, value in found.values())
            lines.append(f"| {100 * sparsity:.0f} % | {allocation} | {shares} | {left} |")
    print("\n".join(lines))


def zeros(network: torch.nn.Module) -> str:
    """Share of the blocks' linear weights that are zero."""
    weights = [
        module.weight
        for name, module in network.named_modules()
        if name != "lm_head" and isinstance(module, torch.nn.Linear)
    ]
    return f"{100 * sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights):.1f} %"


@torch.no_grad()
def nats(network: torch.nn.Module, texts: Tensor) -> str:
    """Negative log-likelihood of the next token: the mean, and its standard error over texts."""
    logits = network.eval()(texts).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), texts[:, 1:], reduction="none").mean(dim=1)
    return f"{float(each.mean()):.3f} ± {float(each.std() / len(each) ** 0.5):.3f}"


def main() -> None:
    """Prepare here, judge in the other interpreter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path, help="the second half, run by the other interpreter")
    arguments = parser.parse_args()
    if arguments.judge:
        judge(arguments.judge)
        return
    python = os.environ.get("LLM_COMPRESSOR_PYTHON") or sys.exit("LLM_COMPRESSOR_PYTHON names no Python")
    with tempfile.TemporaryDirectory() as folder:
        prepare(arguments.data, Path(folder))
        subprocess.run([python, Path(__file__).resolve(), "--judge", folder], check=True, cwd=folder)


if __name__ == "__main__":
    main()
