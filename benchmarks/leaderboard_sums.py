"""Sums of what each layer does alone: a table of one-layer predictive divergences, looked up for every layer."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from leaderboard_cases import Settings
from leaderboard_networks import Subject
from torch import Tensor

from shrinkscope import scan
from shrinkscope.compression import CompressionMethod, LowRank, MagnitudePruning, RandomPruning, UniformQuantisation
from shrinkscope.files import atomic_path

INPUTS = 64
LEVELS = {
    "lowest": (0.1, 0.3, 0.5, 0.7, 0.9),
    "random": (0.02, 0.06, 0.15),
    "quantise": (4, 6, 8),
    "low_rank": (0.9, 0.7, 0.5),
}

Table = dict[str, dict[str, list[tuple[float, float]]]]
"""Layer → method → the points (position, log KL) between which is interpolated."""


def one_layer_tables(folder: Path, subject: Subject) -> None:
    """Scan the layers one at a time on the first unlabelled inputs and on synthetic ones, unless that is done."""
    for name in ("real", "none"):
        if not (folder / f"table-{name}.json").exists():
            _scan_layers(folder / f"table-{name}.json", subject, subject.inputs[name][:INPUTS])


def scanned(folder: Path) -> bool:
    """Whether ``one_layer_tables`` has been here."""
    return all((folder / f"table-{name}.json").exists() for name in ("real", "none"))


def table_of(folder: Path, name: str) -> dict:
    """What ``one_layer_tables`` kept: ``table``, ``forwards`` over the inputs, and ``seconds``."""
    return json.loads((folder / f"table-{name}.json").read_text())


def _scan_layers(path: Path, subject: Subject, inputs: Tensor) -> None:
    found = scan(
        subject.network,
        inputs=inputs,
        methods=tuple(LEVELS),
        levels=LEVELS,
        latents=(),
        early_stop=False,
        batch_size=16,
    )
    table: Table = {}
    for row in found.rows:
        if row.predictive_kl is not None and row.predictive_kl.value > 0:
            points = table.setdefault(row.layer, {}).setdefault(row.method, [])
            points.append((_position(row.method, row.level), math.log(row.predictive_kl.value)))
    content = {"forwards": found.cost.forward_equivalents, "seconds": found.cost.seconds, "table": table}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content))


def sums(
    table: Mapping[str, Mapping[str, list[tuple[float, float]]]], settings: Settings, end: str
) -> dict[str, float]:
    """Σ KL_l, and (Σ √KL_l)², which adds the interaction that errors in one direction have.

    Args:
        table: From ``one_layer_tables``.
        settings: Layer → method.
        end: Of the names.
    """
    alone = np.array([_value(table.get(name, {}), method) for name, method in settings.items()])
    return {f"sum_of_kl{end}": float(alone.sum()), f"sum_of_roots{end}": float(np.sqrt(alone).sum() ** 2)}


def _value(points: Mapping[str, list[tuple[float, float]]], method: CompressionMethod) -> float:
    name, level = _named(method)
    if name not in points:  # the layer changes nothing at all by this method
        return 0.0
    known = sorted(points[name])
    at, logs = np.array([x for x, _ in known]), np.array([y for _, y in known])
    position = _position(name, level)
    if len(at) == 1:
        return float(np.exp(logs[0]))
    # The first or last piece goes on outside of the table.
    piece = int(np.clip(np.searchsorted(at, position) - 1, 0, len(at) - 2))
    slope = (logs[piece + 1] - logs[piece]) / (at[piece + 1] - at[piece])
    return float(np.exp(min(logs[piece] + slope * (position - at[piece]), logs.max() + 1)))


def _named(method: CompressionMethod) -> tuple[str, float]:
    if isinstance(method, MagnitudePruning) and method.order == "lowest":
        return "lowest", method.level
    if isinstance(method, RandomPruning):
        return "random", method.level
    if isinstance(method, UniformQuantisation):
        return "quantise", method.bits
    assert isinstance(method, LowRank)
    assert method.ratio is not None
    return "low_rank", method.ratio


def _position(method: str, level: float) -> float:
    """Where a level lies: divergences go as a power of the fraction removed, and exponentially with bits."""
    if method == "quantise":
        return -level
    return math.log(level if method != "low_rank" else 1 - level)
