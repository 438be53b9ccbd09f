"""Two runs of a store beside each other: which settings differ, and what that did to the numbers."""

import json
import math
from typing import Any

import msgspec
import pandas as pd

from shrinkscope.errors import StoreError
from shrinkscope.experiments.records import DENSE, NETWORK
from shrinkscope.experiments.store import Run, Store

_CELL = ["scope", "method", "level", "metric"]


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs.

    Attributes:
        first: Key of the first.
        second: Key of the second.
        settings: Settings and versions that differ: name → value in the first, value in the second.
        epoch: The epoch that the numbers are of: the last that both have.
        rows: One a cell and metric of the network: mean over trials in both, their difference, and the standard
            error of it from the spread over trials (None with fewer than two trials); None where nothing was measured.
    """

    first: str
    second: str
    settings: dict[str, tuple[Any, Any]]
    epoch: int
    rows: list[dict[str, Any]]


def compare_runs(store: Store, first: str, second: str) -> RunComparison:
    """Hold two runs against each other.

    Args:
        store: The store.
        first: Key of a run.
        second: Key of another.

    Returns:
        Their differences.

    Raises:
        StoreError: If the store holds no such run, or one of them has no finished fine-tuning.
    """
    known = {run.run: run for run in store.runs()}
    tables = [_pruned(store.records(key)) for key in (first, second)]
    for key, table in zip((first, second), tables, strict=True):
        if table.empty:
            raise StoreError(f"{store.path}: run {key} has no finished fine-tuning; run the study first")
    epoch = min(max(table["epoch"].tolist()) for table in tables)
    means = [table[table["epoch"] == epoch].groupby(_CELL, sort=True)["value"] for table in tables]
    found = pd.concat(
        [
            frame.agg(["mean", "var", "count"]).add_suffix(suffix)
            for frame, suffix in zip(means, ("_first", "_second"), strict=True)
        ],
        axis=1,
        join="inner",
    ).reset_index()
    rows = [_row(row) for row in found.to_dict("records")]
    return RunComparison(
        first=first, second=second, settings=_differences(known[first], known[second]), epoch=epoch, rows=rows
    )


def _pruned(records: pd.DataFrame) -> pd.DataFrame:
    return records.query(f"layer == {NETWORK!r} and method != {DENSE!r}")


def _row(row: dict[Any, Any]) -> dict[str, Any]:
    trials = min(row["count_first"], row["count_second"])
    error = (row["var_first"] / row["count_first"] + row["var_second"] / row["count_second"]) ** 0.5 if trials else None
    return {key: row[key] for key in _CELL} | {
        "first": _number(row["mean_first"]),
        "second": _number(row["mean_second"]),
        "difference": _number(row["mean_second"] - row["mean_first"]),
        "standard_error": error if trials > 1 else None,
    }


def _number(value: float) -> float | None:
    """What JSON has a word for."""
    return None if math.isnan(value) else value


def _differences(first: Run, second: Run) -> dict[str, tuple[Any, Any]]:
    one, other = ({**_flat(json.loads(run.config)), **_flat(json.loads(run.versions))} for run in (first, second))
    names = sorted(one.keys() | other.keys())
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _flat(found: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in found.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat
