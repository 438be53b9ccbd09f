"""The long table of records as curves: a metric over fine-tuning epochs, mean and range over trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from shrinkscope.errors import StoreError
from shrinkscope.report.vocabulary import SCOPES, ordered_methods

COLUMNS = ("trial", "scope", "method", "level", "epoch", "layer", "metric", "value")
DENSE = "dense"  # the method of the rows that describe the network before compression
NETWORK = ""  # the layer of the rows that describe the network as a whole
_KEYS = ["metric", "layer", "scope", "method", "level"]

Key = tuple[str, str, str, str, float]


@dataclass(frozen=True)
class Curve:
    """One metric of one configuration over the epochs of fine-tuning.

    Attributes:
        epochs: Epochs, ascending; 0 is just after compression.
        values: A row an epoch, a column a trial; NaN where nothing was measured.
    """

    epochs: np.ndarray
    values: np.ndarray

    @cached_property
    def measured(self) -> np.ndarray:
        """Number of trials that were measured, for each epoch."""
        return np.isfinite(self.values).sum(axis=1)

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean over the measured trials, for each epoch; NaN where there is none."""
        total = np.where(np.isfinite(self.values), self.values, 0.0).sum(axis=1)
        return np.divide(total, self.measured, out=np.full(len(total), np.nan), where=self.measured > 0)

    @cached_property
    def low(self) -> np.ndarray:
        """Smallest value over the trials, for each epoch."""
        return np.where(self.measured > 0, np.fmin.reduce(self.values, axis=1, initial=np.inf), np.nan)

    @cached_property
    def high(self) -> np.ndarray:
        """Largest value over the trials, for each epoch."""
        return np.where(self.measured > 0, np.fmax.reduce(self.values, axis=1, initial=-np.inf), np.nan)

    def at(self, epoch: int) -> np.ndarray:
        """Give the measured values of the trials at one epoch; empty when there is none."""
        row = self.values[self.epochs == epoch].ravel()
        return row[np.isfinite(row)]


_EMPTY = Curve(np.empty(0), np.empty((0, 0)))


class Curves:
    """Records grouped once, so that every table and figure takes its numbers from the same place.

    Attributes:
        records: The long table, without the rows of the dense network.
        dense: The rows of the dense network.
        scopes: Scopes present, in the order of presentation.
        methods: Methods present, from gentle to harsh.
        levels: Levels present, ascending.
        trials: Number of trials.
        last_epoch: The last epoch of fine-tuning.

    Raises:
        StoreError: If columns are missing, there is no row, or one value is recorded twice.
    """

    def __init__(self, records: pd.DataFrame) -> None:
        missing = [column for column in COLUMNS if column not in records.columns]
        if missing:
            raise StoreError(f"the table of records lacks the columns {', '.join(missing)}; export it from the store")
        is_dense = (records["method"] == DENSE).to_numpy()
        self.dense = records.loc[is_dense]
        self.records = records.loc[~is_dense]
        if self.records.empty:
            raise StoreError("the table of records has no row of a compressed network; run the experiment first")
        _require_unique(self.records)
        present = self._distinct("scope")
        self.scopes = [scope for scope in SCOPES if scope in present] + sorted(present.difference(SCOPES))
        self.methods = ordered_methods(self._distinct("method"))
        self.levels = sorted(float(level) for level in self._distinct("level"))
        self.trials = len(self._distinct("trial"))
        self.last_epoch = int(max(self._distinct("epoch")))

    def _distinct(self, column: str) -> set:
        return set(self.records[column])

    def metrics_of(self, *layers: str) -> set[str]:
        """Give the metrics that were measured at least once for any of the layers."""
        found = self._measured_metrics
        return set().union(*(found.get(layer, set()) for layer in layers))

    @cached_property
    def _measured_metrics(self) -> dict[str, set[str]]:
        pairs = self.records.dropna(subset=["value"])[["layer", "metric"]].drop_duplicates()
        found: dict[str, set[str]] = {}
        for layer, metric in pairs.itertuples(index=False):
            found.setdefault(layer, set()).add(metric)
        return found

    @cached_property
    def layers(self) -> list[str]:
        """Names of the layers in the order of the records, which is the order of the network."""
        return [layer for layer in dict.fromkeys(self.records["layer"]) if layer != NETWORK]

    def curve(self, metric: str, scope: str, method: str, level: float, layer: str = NETWORK) -> Curve:
        """Give one metric of one configuration over the epochs; a curve without epochs when it was not recorded."""
        return self._curves.get((metric, layer, scope, method, level), _EMPTY)

    def reason(self, metric: str, scope: str, method: str, level: float, epoch: int, layer: str = NETWORK) -> str:
        """Say why a value is missing at one epoch, as far as the records know; an empty text when they do not."""
        return self._reasons.get((metric, layer, scope, method, level, epoch), "")

    @cached_property
    def _reasons(self) -> Mapping[tuple, str]:
        if "reason" not in self.records.columns:
            return {}
        without = self.records.loc[self.records["value"].isna().to_numpy()].dropna(subset=["reason"])
        keys = without[[*_KEYS, "epoch"]].itertuples(index=False, name=None)
        return dict(zip(keys, without["reason"], strict=True))

    @cached_property
    def _curves(self) -> Mapping[Key, Curve]:
        wide = self.records.set_index([*_KEYS, "epoch", "trial"])["value"].astype(float).unstack("trial").sort_index()
        keys = wide.index.droplevel("epoch")
        epochs, values = wide.index.get_level_values("epoch").to_numpy(), wide.to_numpy()
        starts = np.flatnonzero(~keys.duplicated())
        stops = [*starts[1:], len(keys)]
        return {keys[a]: Curve(epochs[a:b], values[a:b]) for a, b in zip(starts, stops, strict=True)}


def _require_unique(records: pd.DataFrame) -> None:
    twice = records[records.duplicated([*_KEYS, "epoch", "trial"])]
    if not twice.empty:
        row = twice.iloc[0]
        raise StoreError(
            f"{len(twice)} values are recorded twice, first {row['metric']} of trial {row['trial']}, {row['method']} "
            f"{row['level']}, epoch {row['epoch']}; select the records of one run"
        )
