"""What a configuration will cost, from its rung values and a handful of measured configurations, with an interval."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from shrinkscope.analysis.monotone import MonotoneCurve, fit_monotone
from shrinkscope.errors import DataError

Direction = Literal["rising", "falling"]
"""Whether the measured difference rises with damage, as a loss does, or falls, as an accuracy does."""

Matrix = NDArray[np.float64]


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A predicted performance difference.

    Attributes:
        value: The difference, compressed − dense, in ``unit``; None out of range.
        lower: Lower end of its interval; None out of range.
        upper: Upper end.
        confidence: Probability that the interval aims at.
        unit: Unit of the difference.
        in_range: Whether every rung value lies where configurations were measured; elsewhere there is no number.
        reason: Which value does not; None in range.
        status: Always "estimate".
    """

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    confidence: float
    unit: str
    in_range: bool
    reason: str | None = None
    status: Literal["estimate"] = "estimate"


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Measured configurations of one network, and what follows from them for others.

    Attributes:
        rungs: Names of the rungs.
        values: Rung values of each measured configuration.
        measured: Measured difference of each.
        weights: Exponents with which the rungs are multiplied into one score.
        direction: Whether the difference rises or falls with damage.
        unit: Unit of the difference.
        confidence: Probability that intervals aim at.
    """

    rungs: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    measured: tuple[float, ...]
    weights: tuple[float, ...]
    direction: Direction
    unit: str
    confidence: float

    @property
    def inner(self) -> int:
        """Measured configurations that are not at an end of a rung's range: those that the interval is taken from."""
        return int(_inner(_with_score(np.array(self.values), self.weights)).sum())

    @property
    def guarantee(self) -> float:
        """Coverage that is proved for configurations in range: 1 − 2(1 − confidence), and at least 0."""
        return max(0.0, 1 - 2 * (1 - self.confidence))

    @property
    def expected(self) -> float:
        """Coverage to be expected when leaving a configuration out hardly moves the curve: rank/(inner + 1)."""
        return _rank(self.inner, self.confidence) / (self.inner + 1)

    def predict(self, values: ArrayLike) -> Prediction:
        """Predict the difference of one configuration.

        Args:
            values: Its rung values, in the order of ``rungs``; a number if there is one rung.

        Returns:
            The difference with its interval, or *out of range*.

        Raises:
            DataError: As for ``predict_all``.
        """
        return self.predict_all(np.asarray(values, dtype=np.float64).reshape(1, -1))[0]

    def predict_all(self, values: ArrayLike) -> list[Prediction]:
        """Predict the differences of several configurations at once.

        Args:
            values: Their rung values, shape (configurations, rungs), or (configurations,) if there is one rung.

        Returns:
            A prediction each.

        Raises:
            DataError: If the values do not fit the rungs, or one is NaN, infinite or negative.
        """
        new = _with_score(_checked(values, self.rungs, "a configuration"), self.weights)
        old = _with_score(np.array(self.values), self.weights)
        centres, lowers, uppers = self._intervals(old, new[:, -1])
        found = []
        for row, centre, lower, upper in zip(new, centres, lowers, uppers, strict=True):
            reason = _out_of_range(row, old, (*self.rungs, "the product of the rungs"))
            value, low, high = (None, None, None) if reason else (float(centre), float(lower), float(upper))
            found.append(
                Prediction(
                    value=value,
                    lower=low,
                    upper=high,
                    confidence=self.confidence,
                    unit=self.unit,
                    in_range=reason is None,
                    reason=reason,
                )
            )
        return found

    def _intervals(self, old: Matrix, score: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        sign = 1.0 if self.direction == "rising" else -1.0
        measured = sign * np.array(self.measured)
        inner = _inner(old)
        rank = _rank(int(inner.sum()), self.confidence)
        ends = [fold.ends(score) for fold in _folds(old[:, -1], measured, inner)]
        # Jackknife+: order statistics of the ends that each fold proposes, counted from the outside.
        lower = np.sort([low for low, _ in ends], axis=0)[-rank]
        upper = np.sort([high for _, high in ends], axis=0)[rank - 1]
        centre = np.clip(fit_monotone(old[:, -1], measured).at(score), lower, upper)
        return (centre, lower, upper) if sign > 0 else (-centre, -upper, -lower)


def calibrate(
    rung_values: ArrayLike,
    measured: ArrayLike,
    *,
    confidence: float = 0.9,
    direction: Direction = "rising",
    rungs: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    unit: str = "nats",
) -> Calibration:
    """Learn from measured configurations what a rung value costs: a monotone curve with a conformal interval.

    The interval is jackknife+, normalised by the height of the curve, over the configurations that are not at an end of
    a rung's range. Those at an end stay in every fold, so no fold extrapolates, and of configurations that are drawn
    alike, those in range are exchangeable given the ends: the probability that the measured difference of a new
    configuration *in range* lies in its interval is at least 1 − 2(1 − confidence), ties aside, whatever the network.
    For 90 % that is 80 % proved; what is to be expected is rank/(inner + 1): 93 % with 16 configurations and one rung.
    Both are over the drawing of all configurations: one unlucky calibration covers less. Configurations chosen by
    another rule than the measured ones, for example by an optimiser, are not covered.

    Args:
        rung_values: Rung values of the measured configurations, shape (configurations, rungs), or (configurations,) of
            one rung; non-negative, larger where there is more damage.
        measured: Their measured differences, compressed − dense.
        confidence: Probability that the intervals aim at, in (0, 1).
        direction: ``"rising"`` for a loss, ``"falling"`` for an accuracy.
        rungs: Names of the rungs, for messages.
        weights: Exponents, at least 0, that make one score Π valueʷ of several rungs; all 1 by default. They must not
            be fitted to these configurations, or the interval is too narrow: learn them on other networks.
        unit: Unit of the measured differences.

    Returns:
        The calibration, whose ``predict`` gives a number with an interval, or *out of range*.

    Raises:
        DataError: If there are too few configurations for this confidence, a rung is constant, or a number is NaN or
            infinite.

    Source: Barber, Candès, Ramdas & Tibshirani (2021), Theorem 1, for jackknife+; the conditioning on the ends is
        derived here. tests/analysis/test_prediction.py measures the coverage on a network.
    """
    if not 0 < confidence < 1:
        raise DataError(f"confidence = {confidence}; expected a probability between 0 and 1")
    if direction not in ("rising", "falling"):
        raise DataError(f"direction = {direction!r}; expected rising (a loss) or falling (an accuracy)")
    table = np.asarray(rung_values, dtype=np.float64)
    columns = table.shape[1] if table.ndim == 2 else 1
    names = tuple(rungs) if rungs is not None else tuple(f"rung {index + 1}" for index in range(columns))
    table = _checked(table, names, "a measured configuration")
    targets = _checked_targets(measured, len(table))
    exponents = _checked_weights(weights, names)
    for name, column in zip(names, table.T, strict=True):
        if column.min() == column.max():
            raise DataError(f"{name} is {column[0]:.6g} in all measured configurations; it tells nothing apart")
    calibration = Calibration(
        rungs=names,
        values=tuple(map(tuple, table.tolist())),
        measured=tuple(targets.tolist()),
        weights=exponents,
        direction=direction,
        unit=unit,
        confidence=confidence,
    )
    _check_number(calibration)
    return calibration


class _Fold(NamedTuple):
    """The curve without one configuration, and that configuration's error in units of the curve's spread."""

    curve: MonotoneCurve
    error: float

    def ends(self, score: Matrix) -> tuple[Matrix, Matrix]:
        centre, reach = self.curve.at(score), self.error * self.curve.spread(score)
        return centre - reach, centre + reach


def _folds(score: Matrix, measured: Matrix, inner: NDArray[np.bool_]) -> Iterator[_Fold]:
    for index in np.flatnonzero(inner):
        others = np.arange(len(score)) != index
        curve = fit_monotone(score[others], measured[others])
        here = score[index : index + 1]
        yield _Fold(curve, float(abs(measured[index] - curve.at(here)[0]) / curve.spread(here)[0]))


def _rank(inner: int, confidence: float) -> int:
    # The rounding of (1 − α)(m + 1) must not push an integer up: 0.9 · 10 is 9.
    return math.ceil(confidence * (inner + 1) - 1e-9)


def _with_score(values: Matrix, weights: tuple[float, ...]) -> Matrix:
    """The rungs, and their product as the last column, which for one rung is that rung with weight 1."""
    return np.column_stack([values, np.prod(values ** np.array(weights), axis=1)])


def _inner(table: Matrix) -> NDArray[np.bool_]:
    return ((table > table.min(axis=0)) & (table < table.max(axis=0))).all(axis=1)


def _out_of_range(row: Matrix, old: Matrix, names: tuple[str, ...]) -> str | None:
    for name, value, low, high in zip(names, row, old.min(axis=0), old.max(axis=0), strict=True):
        if not low <= value <= high:
            side = "below" if value < low else "above"
            return (
                f"{name} = {value:.4g} lies {side} the calibrated {low:.4g} to {high:.4g}; "
                "measure configurations there and calibrate again"
            )
    return None


def _checked(values: ArrayLike, names: tuple[str, ...], what: str) -> Matrix:
    table = np.asarray(values, dtype=np.float64)
    table = table.reshape(-1, 1) if table.ndim == 1 and len(names) == 1 else table
    if table.ndim != 2 or table.shape[1] != len(names) or len(table) == 0:
        raise DataError(
            f"rung values of shape {np.shape(values)} for {len(names)} rungs ({', '.join(names)}); expected a row for "
            "each configuration, at least one, and a column for each rung"
        )
    broken = np.argwhere(~(np.isfinite(table) & (table >= 0)))
    if len(broken):
        row, column = broken[0]
        raise DataError(
            f"{names[column]} of {what} (number {row}) is {table[row, column]}; expected a finite number of at least 0"
        )
    return table


def _checked_targets(measured: ArrayLike, count: int) -> Matrix:
    targets = np.asarray(measured, dtype=np.float64)
    if targets.shape != (count,):
        raise DataError(f"{count} configurations and measured differences of shape {targets.shape}; expected one each")
    if not np.isfinite(targets).all():
        first = int(np.argmin(np.isfinite(targets)))
        raise DataError(f"the measured difference of configuration {first} is not finite; leave the configuration out")
    return targets


def _checked_weights(weights: Sequence[float] | None, names: tuple[str, ...]) -> tuple[float, ...]:
    exponents = (1.0,) * len(names) if weights is None else tuple(map(float, weights))
    usable = all(math.isfinite(weight) and weight >= 0 for weight in exponents) and sum(exponents) > 0
    if len(exponents) != len(names) or not usable:
        raise DataError(
            f"weights = {exponents} for {len(names)} rungs; expected one each, at least 0 and not all of them 0"
        )
    return exponents


def _check_number(calibration: Calibration) -> None:
    count, inner = len(calibration.measured), calibration.inner
    if _rank(inner, calibration.confidence) <= inner:
        return
    needed = math.ceil(calibration.confidence / (1 - calibration.confidence) - 1e-9)
    raise DataError(
        f"{count} measured configurations, {inner} of them between the ends of the rungs; an interval at "
        f"{calibration.confidence:.0%} needs {needed} between the ends: measure {needed - inner} more, or ask for less"
    )
