"""Pairs of cases: how two measures order them, counted over resamples of the cases or of clusters of cases."""

from collections.abc import Callable, Hashable, Iterator, Sequence

import msgspec
import numpy
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance.bootstrap import resample_counts

# int beside float for checkers at run time, which do not promote it.
Column = Sequence[float | int | None] | Sequence[float] | Sequence[int] | numpy.ndarray | Tensor
Labels = Sequence[Hashable] | numpy.ndarray | Tensor

# Rows of the pair matrices held at once: with 2000 resamples, 4 MB of float64 a product.
ROWS = 256


class Cases(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Cases measured twice, with what is resampled and what is compared.

    Attributes:
        x: First measure, float64, shape (cases,); NaN where it is missing.
        y: Second measure.
        units: Index of the unit that each case is resampled with: the case itself or its cluster.
        strata: Index of each case's stratum; only cases of one stratum are compared.
        clustered: Whether the units are clusters.
    """

    x: Tensor
    y: Tensor
    units: Tensor
    strata: Tensor
    clustered: bool

    @property
    def count(self) -> int:
        """Number of cases."""
        return len(self.x)

    @property
    def unit_count(self) -> int:
        """Number of units that are resampled."""
        return int(self.units.max()) + 1 if self.count else 0

    @property
    def nested(self) -> bool:
        """Whether the units are clusters and each stratum lies within one, so that no pair joins two of them."""
        if not self.clustered or not self.count:
            return False
        first = torch.zeros(int(self.strata.max()) + 1, dtype=torch.int64).scatter_(0, self.strata, self.units)
        return bool((first[self.strata] == self.units).all())

    def signs(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Return how the cases ``rows`` compare with every case in x and in y.

        Args:
            rows: Which cases.

        Returns:
            Two float32 matrices of shape (rows, cases) with entries -1, 0 and 1, and 0 between strata.
        """
        comparable = self.strata[rows, None] == self.strata[None, :]

        def signs_of(values: Tensor) -> Tensor:
            # Comparisons, not the sign of a difference: they cannot underflow or overflow.
            own, other = values[rows, None], values[None, :]
            return ((own > other).to(torch.float32) - (own < other).to(torch.float32)) * comparable

        return signs_of(self.x), signs_of(self.y)

    def weights(self, resamples: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Draw units with replacement and say how often each case is in each resample.

        Args:
            resamples: Number of resamples.
            generator: Source of randomness.

        Yields:
            Float64 counts of shape (chunk, cases).
        """
        for counts in resample_counts(self.unit_count, resamples, generator):
            yield counts[:, self.units]


def cases_of(x: Column, y: Column, clusters: Labels | None = None, strata: Labels | None = None) -> Cases:
    """Join two columns and their labels.

    Args:
        x: First measure of each case; None counts as missing.
        y: Second measure.
        clusters: Label per case of what is resampled together; None resamples cases.
        strata: Label per case of what is compared; None compares all.

    Returns:
        The cases.

    Raises:
        DataError: If the lengths differ, or a column is not one of numbers.
    """
    first, second = _values("x", x), _values("y", y)
    if len(first) != len(second):
        raise DataError(f"x has {len(first)} cases and y {len(second)}; give one value of each per case")
    cases = len(first)
    return Cases(
        x=first,
        y=second,
        units=torch.arange(cases) if clusters is None else _indices("clusters", clusters, cases),
        strata=torch.zeros(cases, dtype=torch.int64) if strata is None else _indices("strata", strata, cases),
        clustered=clusters is not None,
    )


def missing(cases: Cases) -> str | None:
    """Say which measure is missing or not finite, and where first; None when all values are there.

    Args:
        cases: The cases.

    Returns:
        One line, or None.
    """
    for name, values in (("x", cases.x), ("y", cases.y)):
        bad = (~values.isfinite()).nonzero()[:, 0]
        if len(bad):
            return f"{name} is missing or not finite in {len(bad)} of {cases.count} cases (first in case {int(bad[0])})"
    return None


def blocks(count: int) -> Iterator[slice]:
    """Divide the cases into slices small enough to compare each with all cases at once.

    Args:
        count: Number of cases.

    Yields:
        Slices in order, at least one.
    """
    for start in range(0, max(count, 1), ROWS):
        yield slice(start, min(start + ROWS, count))


def pair_sums(cases: Cases, weights: Tensor, relate: Callable[[slice], Sequence[Tensor]]) -> Tensor:
    """Sum symmetric relations over all pairs of cases, weighted by how often each pair is in each resample.

    A resample that holds case i w_i times holds the pair (i, j) w_i w_j times; two copies of one case are tied
    in everything, and no relation counts ties. Where pairs are compared within clusters only, each copy of a cluster
    is one by itself, so that a cluster drawn w times counts w times.

    Args:
        cases: The cases.
        weights: How often each case is in each resample, shape (resamples, cases).
        relate: Gives, for a slice of cases, matrices of shape (rows, cases) with entries -1, 0 and 1.

    Returns:
        Float64 sums of shape (relations, resamples); sums of integers are exact below 2**53.
    """
    if cases.nested:
        return _sums_of_units(cases, relate) @ _counts_of_units(cases, weights).T
    # No partial result exceeds this; float32 holds integers exactly below 2**24, and multiplies them twice as fast.
    largest = weights.sum(dim=1).max() * weights.max() if weights.numel() else 0
    counts = weights.to(torch.float32 if largest < 2**24 else torch.float64)
    sums = []
    for rows in blocks(cases.count):
        held = counts[:, rows]
        products = [(counts @ matrix.T.to(counts.dtype)) * held for matrix in relate(rows)]
        # Each unordered pair is met twice, as (i, j) and as (j, i).
        sums.append(torch.stack([product.sum(dim=1, dtype=torch.float64) / 2 for product in products]))
    return torch.stack(sums).sum(dim=0)


def _sums_of_units(cases: Cases, relate: Callable[[slice], Sequence[Tensor]]) -> Tensor:
    """Sums over the pairs of each unit, shape (relations, units)."""
    found: list[Tensor] = []
    for rows in blocks(cases.count):
        matrices = relate(rows)
        found = found or [torch.zeros(cases.unit_count, dtype=torch.float64) for _ in matrices]
        for total, matrix in zip(found, matrices, strict=True):
            total.index_add_(0, cases.units[rows], matrix.sum(dim=1, dtype=torch.float64) / 2)
    return torch.stack(found)


def _counts_of_units(cases: Cases, weights: Tensor) -> Tensor:
    """How often each unit is in each resample, shape (resamples, units); all cases of a unit are in it as often."""
    anyone = torch.zeros(cases.unit_count, dtype=torch.int64).scatter_(0, cases.units, torch.arange(cases.count))
    return weights[:, anyone].to(torch.float64)


def independent_pairs(cases: Cases, relate: Callable[[slice], Tensor]) -> int:
    """Count pairs that share no unit, found greedily: outcomes of such pairs are independent of each other.

    Args:
        cases: The cases.
        relate: Gives, for a slice of cases, a boolean matrix of shape (rows, cases) of the pairs allowed.

    Returns:
        The size of one set of pairs that share no unit; at least half of the largest such set.
    """
    used = torch.zeros(cases.unit_count, dtype=torch.bool)
    found = 0
    for case in range(cases.count):
        unit = cases.units[case]
        if used[unit]:
            continue
        allowed = (relate(slice(case, case + 1))[0] & ~used[cases.units]).nonzero()[:, 0]
        if len(allowed):
            # A partner of the same unit uses up one unit instead of two.
            same = allowed[cases.units[allowed] == unit]
            partner = same[0] if len(same) else allowed[0]
            used[unit] = used[cases.units[partner]] = True
            found += 1
    return found


def label_list(name: str, labels: Labels, cases: int) -> list[Hashable]:
    """Return labels as plain values, one per case.

    Args:
        name: What the labels are called, for the message.
        labels: The labels.
        cases: Number of cases.

    Returns:
        The labels.

    Raises:
        DataError: If there are not as many as cases.
    """
    plain = labels.tolist() if isinstance(labels, (numpy.ndarray, Tensor)) else list(labels)
    if len(plain) != cases:
        raise DataError(f"{name} has {len(plain)} labels for {cases} cases; give one per case")
    return plain


def _values(name: str, column: Column) -> Tensor:
    values = column.detach().cpu().numpy() if isinstance(column, Tensor) else column
    try:
        array = numpy.array(values, dtype=numpy.float64)  # None becomes NaN
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds something that is no number ({error}); give one number per case") from error
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}, expected one value per case")
    return torch.from_numpy(array)


def _indices(name: str, labels: Labels, cases: int) -> Tensor:
    known: dict[Hashable, int] = {}
    found = [known.setdefault(label, len(known)) for label in label_list(name, labels, cases)]
    return torch.tensor(found, dtype=torch.int64)
