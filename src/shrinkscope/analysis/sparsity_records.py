"""What the search for the optimal sparsity returns: a curve for the network and one for each layer."""

import math
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.files import json_text
from shrinkscope.performance import PerformanceDifference
from shrinkscope.quantity import Quantity

if TYPE_CHECKING:
    import pandas as pd

NETWORK = "network"
"""Name of the curve on which all layers are compressed together."""


class SparsityPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The network with one layer, or all layers, at one level.

    Attributes:
        level: What the method was asked for, in [0, 1].
        sparsity: Fraction of zeros that it gave in the compressed layers.
        ap2: ‖Δ‖² of these layers in squared weight units.
        relative_ap2: ‖Δ‖²/‖ω‖²; None when all weights are zero.
        divergences: Column → AP3 of these layers, where it is defined.
        bound: At most so much performance is lost, in the unit of the search; None where there is no bound.
        within: Whether the bound here *and at all lower levels* stays within the tolerance.
        measured: Metric → measured difference on the data; empty without data.
    """

    level: float
    sparsity: float
    ap2: float
    relative_ap2: float | None
    divergences: dict[str, Quantity]
    bound: float | None
    within: bool
    measured: dict[str, PerformanceDifference] = {}


class SparsityCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Points of increasing level.

    Attributes:
        layer: The layer that is compressed, or ``"network"`` for all of them by the same level each.
        points: One for each level.
        reason: Why there is no bound; None where there is one.
    """

    layer: str
    points: tuple[SparsityPoint, ...]
    reason: str | None = None

    @property
    def optimal(self) -> SparsityPoint | None:
        """The last point within the tolerance; None when not even the first is."""
        passed = [point for point in self.points if point.within]
        return passed[-1] if passed else None


class OptimalSparsity(msgspec.Struct, frozen=True, kw_only=True):
    """The largest sparsity whose bound stays within a tolerance, for the network and for each layer.

    Attributes:
        tolerance: How much may be lost, in ``unit``.
        bound: ``predictive`` or ``corrected``.
        quantity: What is bounded, in words.
        unit: Its unit.
        confidence: For each curve, the probability that the optimal point really stays within the tolerance; None
            where the bound is exact on the data given.
        samples: Inputs that the bound was computed from.
        method: The compression method in words, at its first level.
        curves: The network first, then the layers in their order.
    """

    tolerance: float
    bound: str
    quantity: str
    unit: str
    confidence: float | None
    samples: int
    method: str
    curves: tuple[SparsityCurve, ...]

    def curve(self, layer: str = NETWORK) -> SparsityCurve:
        """The curve of one layer, by its name."""
        return next(curve for curve in self.curves if curve.layer == layer)

    def to_dataframe(self) -> "pd.DataFrame":
        """One row a point: layer, level, sparsity, ap2, AP3s, bound, within, optimal and the measured differences."""
        import pandas as pd

        return pd.DataFrame([_row(curve, point) for curve in self.curves for point in curve.points])

    def to_json(self) -> str:
        """Everything as JSON text; undefined numbers are null, never NaN."""
        return json_text(self)

    def summary(self) -> str:
        """The optimal sparsity of each curve in a line of plain text."""
        certainty = "" if self.confidence is None else f", {self.confidence:.4g} confidence for each line"
        head = f"{self.quantity} stays within {amount(self.tolerance, self.unit)} "
        head += f"({self.bound} bound from {self.samples:,} inputs{certainty}):"
        return "\n".join([head, *(_in_words(curve, self.unit) for curve in self.curves)])


def _row(curve: SparsityCurve, point: SparsityPoint) -> dict[str, object]:
    row: dict[str, object] = {
        "layer": curve.layer,
        "level": point.level,
        "sparsity": point.sparsity,
        "ap2": point.ap2,
        "relative_ap2": math.nan if point.relative_ap2 is None else point.relative_ap2,
    }
    row |= {column: found.value for column, found in point.divergences.items()}
    row |= {
        "bound": math.nan if point.bound is None else point.bound,
        "within": point.within,
        "optimal": point is curve.optimal,
    }
    for metric, found in point.measured.items():
        row[f"measured_{metric}"] = math.nan if found.difference is None else found.difference
    return row


def amount(value: float, unit: str) -> str:
    """A performance difference in words: fractions as percentage points.

    Args:
        value: The number.
        unit: Its unit.
    """
    return f"{100 * value:.3g} points" if unit == "fraction" else f"{value:.3g} {unit}"


def _in_words(curve: SparsityCurve, unit: str) -> str:
    if curve.reason is not None:
        return f"  {curve.layer}: no bound, {curve.reason}"
    found = curve.optimal
    if found is None or found.bound is None:
        first = curve.points[0]
        return f"  {curve.layer}: not even {first.sparsity:.0%} sparsity (bound {amount(first.bound or 0, unit)})"
    text = f"  {curve.layer}: up to {found.sparsity:.0%} sparsity (bound {amount(found.bound, unit)}"
    for metric, measured in found.measured.items():
        if measured.absolute is not None:
            text += f", measured {metric} difference {amount(measured.absolute, measured.unit)}"
    return text + ")"
