"""What other tools say of the same cases, in the same run: fasterai, Torch-Pruning and weightwatcher on ResNet-20.

    uv run --group peers python benchmarks/leaderboard_peers.py --data ../shared/data --work FOLDER

Each layer alone, its lowest magnitudes removed at 20, 40, 60 and 80 %: what all of them can say something about. The
results go to FOLDER/peers.json, from which ``leaderboard.py --page`` makes a section. A tool that is not installed, or
fails, is a line that says so.
"""

# The peers are optional, and have no types.
# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportArgumentType=false, reportIndexIssue=false

import argparse
import contextlib
import copy
import io
import json
import logging
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from leaderboard_cases import LEVELS
from leaderboard_correlations import agreement, reliability
from leaderboard_measure import batched, losses
from leaderboard_rungs import measured_columns
from leaderboard_sums import INPUTS
from predictive_bound import population
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope import MagnitudePruning, compress, scan
from shrinkscope.files import atomic_path
from shrinkscope.version import version as own_version
from shrinkscope.weights import compressible

Values = dict[tuple[str, float], float]
"""(Layer, level) → what a tool says of it; higher is meant to be worse."""


class Setting:
    """The network, the images it is judged on, and 64 training images, which only fasterai needs labels of."""

    def __init__(self, folder: Path) -> None:
        self.network, images, self.labels = population("resnet20", folder)
        self.network.eval()
        self.judge = batched(images, 16)
        with np.load(folder / "cifar10_lossless_4566.npz") as archive:
            pixels = torch.from_numpy(archive["x_train"][:INPUTS]).float() / 255
            targets = archive["y_train_all"][archive["train_index"][:INPUTS]]
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        self.inputs, self.targets = (pixels - mean) / deviation, torch.from_numpy(targets.astype(np.int64))
        self.layers = list(compressible(self.network))

    def compressed(self, layer: str, level: float) -> nn.Module:
        """A copy with one layer pruned."""
        model = copy.deepcopy(self.network)
        compress(model, MagnitudePruning(level=level, layers=(layer,)))
        return model


def measured(setting: Setting) -> tuple[Values, float]:
    """The change of the mean loss on the judge's images, and the ceiling that their number sets."""
    with torch.inference_mode():
        before = losses(torch.cat([setting.network(part) for part in setting.judge]), setting.labels)
        rows: dict[tuple[str, float], dict[str, float]] = {}
        for layer in setting.layers:
            for level in LEVELS:
                model = setting.compressed(layer, level)
                after = losses(torch.cat([model(part) for part in setting.judge]), setting.labels)
                rows[layer, level] = measured_columns("losses", after - before)
    ceiling = float(np.sqrt(reliability(pd.DataFrame(rows.values()), "losses")))
    return {key: row["losses"] for key, row in rows.items()}, ceiling


def ours(setting: Setting) -> dict[str, Values]:
    """shrinkscope: one scan on 64 unlabelled images."""
    options: dict[str, Any] = {"methods": ("lowest",), "levels": LEVELS, "latents": (), "early_stop": False}
    rows = scan(setting.network, inputs=setting.inputs, **options).rows
    return {
        "mean predictive KL, 64 unlabelled images": {
            (row.layer, row.level): row.predictive_kl.value for row in rows if row.predictive_kl is not None
        }
    }


def ours_of_weights(setting: Setting) -> dict[str, Values]:
    """shrinkscope: a scan of the weights alone."""
    rows = scan(setting.network, methods=("lowest",), levels=LEVELS, latents=()).rows
    return {"relative AP2": {(row.layer, row.level): row.relative_ap2 or 0.0 for row in rows}}


def fasterai(setting: Setting) -> dict[str, Values]:
    """Its sensitivity analysis: the loss itself, on 64 labelled images."""
    from fasterai.analyze.sensitivity import SensitivityAnalyzer

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return float(cross_entropy(model(setting.inputs), setting.targets))

    analyser = SensitivityAnalyzer(
        setting.network, setting.inputs[:1], loss, higher_is_better=False, metric_name="loss"
    )
    found: Values = {}
    for level in LEVELS:
        for layer in analyser.analyze("sparsity", 100 * level, verbose=False).layers:
            found[f"{layer.name}.weight", level] = layer.delta
    return {"sensitivity analysis, loss of 64 labelled images": found}


def torch_pruning(setting: Setting) -> dict[str, Values]:
    """Importance of the channels that a structured pruning of as many would remove, added up."""
    import torch_pruning as tp

    network = copy.deepcopy(setting.network)
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=setting.inputs[:1])
    cross_entropy(network(setting.inputs), setting.targets).backward()
    kinds = {
        "magnitude importance": tp.importance.MagnitudeImportance(),
        "LAMP importance": tp.importance.LAMPImportance(),
        "Taylor importance, 64 labelled images": tp.importance.TaylorImportance(),
    }
    found: dict[str, Values] = {}
    for kind, importance in kinds.items():
        found[kind] = {}
        for name, module in network.named_modules():
            scores = _channels(tp, graph, module, importance)
            if scores is not None:
                ordered = scores.sort().values
                for level in LEVELS:
                    found[kind][f"{name}.weight", level] = float(ordered[: round(level * len(ordered))].sum())
    return found


def _channels(tp: Any, graph: Any, module: nn.Module, importance: Any) -> Tensor | None:
    if isinstance(module, nn.Conv2d):
        prune, channels = tp.prune_conv_out_channels, module.out_channels
    elif isinstance(module, nn.Linear):
        prune, channels = tp.prune_linear_in_channels, module.in_features
    else:
        return None
    try:
        return importance(graph.get_pruning_group(module, prune, idxs=list(range(channels))))
    except IndexError:  # it does not follow the zero channels that the shortcuts of this network add
        return None


def weightwatcher(setting: Setting) -> dict[str, Values]:
    """How far its spectral metrics of the layer move, and its distance between the two networks."""
    import weightwatcher as ww

    logging.getLogger("weightwatcher").setLevel(logging.ERROR)
    watcher = ww.WeightWatcher(model=setting.network)
    dense = watcher.analyze(min_evals=8).set_index("longname")
    ids = {f"{name}.weight": int(row["layer_id"]) for name, row in dense.iterrows()}
    metrics = ("alpha", "log_spectral_norm", "stable_rank")
    found: dict[str, Values] = {f"change of {metric}": {} for metric in metrics} | {"distance": {}}
    for layer in (layer for layer in setting.layers if layer in ids):
        for level in LEVELS:
            model = setting.compressed(layer, level)
            row = ww.WeightWatcher(model=model).analyze(min_evals=8, layers=[ids[layer]]).iloc[0]
            for metric in metrics:
                found[f"change of {metric}"][layer, level] = abs(row[metric] - dense.at[layer[:-7], metric])
            distance = watcher.distances(setting.network, model, layers=[ids[layer]])
            found["distance"][layer, level] = float(distance[0] if isinstance(distance, tuple) else distance)
    return found


TOOLS: dict[str, tuple[str, Callable[[Setting], dict[str, Values]]]] = {
    "shrinkscope": ("shrinkscope", ours),
    "shrinkscope, weights alone": ("shrinkscope", ours_of_weights),
    "fasterai": ("fasterai", fasterai),
    "Torch-Pruning": ("torch-pruning", torch_pruning),
    "weightwatcher": ("weightwatcher", weightwatcher),
}


def compared(folder: Path) -> list[dict[str, Any]]:
    """A row for each measure of each tool."""
    setting = Setting(folder)
    truth, ceiling = measured(setting)
    rows: list[dict[str, Any]] = []
    reference: Values = {}
    for tool, (package, run) in TOOLS.items():
        begun = time.process_time()
        try:
            number = own_version() if package == "shrinkscope" else version(package)
            with contextlib.redirect_stdout(io.StringIO()):
                said = run(setting)
        except (PackageNotFoundError, ImportError) as error:
            rows.append({"tool": tool, "failed": f"not installed or not usable: {error}"})
            continue
        except Exception as error:  # a peer may fail in any way; the page says how
            rows.append({"tool": tool, "failed": f"{type(error).__name__}: {error}"})
            continue
        seconds = time.process_time() - begun
        reference = reference or next(iter(said.values()))
        for measure, values in said.items():
            keys = [key for key in truth if key in values and np.isfinite(values[key])]
            lost = np.array([truth[key] for key in keys])
            found = agreement(np.array([values[key] for key in keys]), lost, intervals=True)
            same = agreement(np.array([reference[key] for key in keys]), lost, intervals=False)
            about = {"tool": tool, "version": number, "measure": measure, "cases": len(keys), "seconds": seconds}
            rows.append(about | found | {"ours": same["spearman"], "ceiling": ceiling})
    return rows


def main() -> None:
    """Run all of them and keep what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shrinkscope-leaderboard")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = compared(options.data)
    with atomic_path(options.work / "peers.json") as path:
        path.write_text(json.dumps(rows, indent=1))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
