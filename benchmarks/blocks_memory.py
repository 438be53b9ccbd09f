"""Peak memory of pruning a checkpoint block by block that is much larger than what the process takes.

    .venv/bin/python benchmarks/blocks_memory.py --folder DIR [--blocks 24] [--width 1024] [--within swept]

Writes a checkpoint of random weights to DIR (1.3 GB in float32 by default), prunes half of each layer in a process of
its own, and prints that process's private memory (RssAnon, twenty times a second): what is not the page cache of files.
With --whole the same is done for loading the checkpoint as transformers does.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

SEQUENCES, POSITIONS = 8, 128


def make_checkpoint(folder: Path, blocks: int, width: int) -> int:
    """Random weights in the layout of Hugging Face, a file a block; its size in bytes."""
    import torch

    from shrinkscope.weights import save_tensors

    hidden, vocabulary, generator = 11 * width // 4, 8192, torch.Generator().manual_seed(0)
    shapes = {f"self_attn.{kind}_proj": (width, width) for kind in "qkvo"}
    shapes |= {"mlp.gate_proj": (hidden, width), "mlp.up_proj": (hidden, width), "mlp.down_proj": (width, hidden)}
    places: dict[str, str] = {}

    def write(file: str, tensors: dict[str, torch.Tensor]) -> None:
        save_tensors(folder / file, tensors, {"format": "pt"})
        places.update(dict.fromkeys(tensors, file))

    for number in range(blocks):
        tensors = {
            f"model.layers.{number}.{name}.weight": torch.randn(shape, generator=generator) / shape[1] ** 0.5
            for name, shape in shapes.items()
        }
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{number}.{name}.weight"] = torch.ones(width)
        write(f"model-{number}.safetensors", tensors)
    ends = {
        name: torch.randn(vocabulary, width, generator=generator)
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    write("model-ends.safetensors", {**ends, "model.norm.weight": torch.ones(width)})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": blocks,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
        "vocab_size": vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def private_memory() -> int:
    """Bytes of this process that are no file's (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("no RssAnon in /proc/self/status; this needs Linux")


class Watch(threading.Thread):
    """Notes the most private memory until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._stop_now = private_memory(), threading.Event()

    def run(self) -> None:
        """Look twenty times a second."""
        while not self._stop_now.wait(0.05):
            self.peak = max(self.peak, private_memory())

    def stop(self) -> int:
        """The most that was seen."""
        self._stop_now.set()
        self.join()
        return max(self.peak, private_memory())


def prune(checkpoint: Path, out: Path, within: str) -> None:
    """Prune half of each layer, and print figures as JSON."""
    import torch

    from shrinkscope.analysis.blocks import perplexity, prune_blocks
    from shrinkscope.analysis.blocks.network import BlockNetwork
    from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings

    network = BlockNetwork(checkpoint)
    sizes = [(name, layer.weight.numel()) for n in range(network.depth) for name, layer in network.layers(n).items()]
    rows = tuple(PlanRow(layer=name, weights=size, removed=size // 2) for name, size in sizes)
    tokens = torch.randint(8192, (SEQUENCES, POSITIONS), generator=torch.Generator().manual_seed(1))
    plan, imported = Plan(rows=rows, settings=PlanSettings(allocation="uniform")), private_memory()
    watch, start = Watch(), time.perf_counter()
    watch.start()
    done = prune_blocks(checkpoint, plan, tokens, out, within=within, batch_size=2)  # type: ignore[arg-type]
    seconds, peak = time.perf_counter() - start, watch.stop()
    watch = Watch()
    watch.start()
    measured = perplexity(out, tokens, batch_size=2).loss.value
    found = {
        "imported": imported,
        "peak": peak,
        "seconds": seconds,
        "block_seconds": sum(block.seconds for block in done.blocks) / len(done.blocks),
        "sparsity": done.removed / done.weights,
        "perplexity_peak": watch.stop(),
        "loss": measured,
    }
    print(json.dumps(found))


def load_whole(checkpoint: Path) -> None:
    """Load it at once with transformers and run it, and print figures as JSON."""
    import torch
    import transformers

    from shrinkscope import analysis  # noqa: F401 (the same imports as above)

    imported, watch = private_memory(), Watch()
    watch.start()
    network = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        network(torch.randint(8192, (2, POSITIONS)))
        for parameter in network.parameters():
            parameter.mul_(1.0)  # weights that are pruned are no longer the file's pages
    print(json.dumps({"imported": imported, "peak": watch.stop()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--within", default="swept")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    checkpoint, out = arguments.folder / "dense", arguments.folder / "pruned"
    if arguments.child:
        if arguments.whole:
            load_whole(checkpoint)
        else:
            prune(checkpoint, out, arguments.within)
        return
    size = make_checkpoint(checkpoint, arguments.blocks, arguments.width)
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, __file__, "--child", *sys.argv[1:]], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{'checkpoint':24} {size / 1e6:8.0f} MB, {arguments.blocks} blocks of width {arguments.width}")
    for name, value in found.items():
        memory = name in ("imported", "peak", "perplexity_peak")
        print(f"{name:24} {value / 1e6 if memory else value:8.4g}{' MB' if memory else ''}")


if __name__ == "__main__":
    main()
