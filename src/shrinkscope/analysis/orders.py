"""Many measures of the same cases, held against each other in pairs: resamples are drawn and weighed once for all."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrinkscope.analysis.claims import PairedTau, from_parts, not_paired
from shrinkscope.analysis.concordance import Concordance, from_sums
from shrinkscope.analysis.pairs import Cases, Column, Labels, cases_of, missing
from shrinkscope.errors import DataError
from shrinkscope.performance.bootstrap import check_resampling, default_generator, resample_counts

_PAIRS = 1 << 16  # compared pairs; the weights of a thousand resamples of as many take half a gigabyte


class Orders:
    """How several measures order the same few cases.

    What ``concordance`` and ``paired_tau`` do for two or three columns, for all columns of a table: which pairs are
    compared, how often each is in each resample, and how each measure orders them is found once.

    Args:
        columns: Name → one value per case; at least one.
        clusters: As for ``concordance``.
        strata: As for ``concordance``.
        resamples: As for ``concordance``.
        confidence: As for ``concordance``.

    Raises:
        DataError: If columns or labels differ in length, resamples and confidence are impossible, or so many pairs are
            compared that ``concordance`` is the way.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        *,
        clusters: Labels | None = None,
        strata: Labels | None = None,
        resamples: int = 2000,
        confidence: float = 0.95,
    ) -> None:
        check_resampling(resamples, confidence)
        self._confidence = confidence
        anyone = next(iter(columns.values()))
        shared = cases_of(anyone, anyone, clusters, strata)
        self._values = {name: cases_of(anyone, column).y for name, column in columns.items()}
        self._places = {name: place for place, name in enumerate(columns)}
        self._cases = shared
        left, right = _compared(shared)
        signs = torch.stack([_signs(values[left], values[right]) for values in self._values.values()])
        self._strata = shared.strata[left]
        self._signs = signs
        self._agreement = (signs[:, None, :] * signs[None, :, :]).flatten(0, 1).T.contiguous()
        self._units = shared.units[left], shared.units[right]
        self._once = self._sums(torch.ones(1, len(left), dtype=torch.float64))
        alone = torch.eye(shared.unit_count, dtype=torch.float64)
        self._alone = self._taus(self._sums(self._weights(alone)))
        counts = [torch.empty(0, shared.unit_count, dtype=torch.float64)]
        if resamples:
            counts += resample_counts(shared.unit_count, resamples, default_generator())
        # Of three trials there are ten resamples, however many are drawn.
        distinct, self._which = torch.cat(counts).unique(dim=0, return_inverse=True)
        self._distinct = self._taus(self._sums(self._weights(distinct)))

    def concordance(self, x: str, y: str) -> Concordance:
        """What ``concordance`` says of two of the columns.

        Args:
            x: Name of one.
            y: Name of the other.
        """
        i, j = self._places[x], self._places[y]
        agreement, untied = self._once
        both = float((self._signs[i] * self._signs[j]).abs().sum())
        sums = float(agreement[0, i, j]), float(untied[0, i]), float(untied[0, j]), both
        return from_sums(
            self._of(x, y), sums, lambda: self._drawn(i, j), lambda: self._alone[:, i, j], self._confidence
        )

    def paired(self, first: str, second: str, outcome: str) -> PairedTau:
        """What ``paired_tau`` says of three of the columns.

        Args:
            first: Name of one measure.
            second: Name of the other.
            outcome: Name of what both are to order.
        """
        cases = self._of(first, outcome)
        obstacle = missing(cases) or missing(self._of(second, outcome))
        if obstacle is not None:
            return not_paired(cases, obstacle, self._confidence)
        i, j, k = (self._places[name] for name in (first, second, outcome))
        once = self._taus(self._once)[0]
        values = tuple(None if torch.isnan(once[a, b]) else float(once[a, b]) for a, b in ((i, k), (j, k), (i, j)))
        return from_parts(
            cases,
            (values[0], values[1], values[2]),
            lambda: self._drawn(i, k) - self._drawn(j, k),
            lambda: self._alone[:, i, k] - self._alone[:, j, k],
            lambda: self._leads(i, j, k),
            self._confidence,
        )

    def _drawn(self, i: int, j: int) -> Tensor:
        """Tau of two measures on every resample."""
        return self._distinct[:, i, j][self._which]

    def _of(self, x: str, y: str) -> Cases:
        own = self._cases
        return Cases(x=self._values[x], y=self._values[y], units=own.units, strata=own.strata, clustered=own.clustered)

    def _leads(self, i: int, j: int, k: int) -> Tensor:
        difference = (self._signs[i] - self._signs[j]) * self._signs[k]
        strata = int(self._cases.strata.max()) + 1
        return torch.zeros(strata, dtype=torch.float64).index_add_(0, self._strata, difference)

    def _weights(self, counts: Tensor) -> Tensor:
        """How often each pair is in each resample, shape (resamples, pairs), as ``pair_sums`` counts them."""
        left, right = self._units
        if self._cases.nested:
            return counts[:, left]
        return counts[:, left] * counts[:, right]

    def _sums(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Agreement of each two measures, (resamples, measures, measures), and pairs that differ in each."""
        measures = len(self._signs)
        return (weights @ self._agreement).view(len(weights), measures, measures), weights @ self._signs.abs().T

    @staticmethod
    def _taus(sums: tuple[Tensor, Tensor]) -> Tensor:
        agreement, untied = sums
        return agreement / (untied[:, :, None] * untied[:, None, :]).sqrt()


def _compared(cases: Cases) -> tuple[Tensor, Tensor]:
    """Both cases of every pair that is compared."""
    left, right = torch.triu_indices(cases.count, cases.count, offset=1)
    comparable = cases.strata[left] == cases.strata[right]
    found = left[comparable], right[comparable]
    if len(found[0]) > _PAIRS:
        raise DataError(f"{len(found[0]):,} pairs are compared, more than {_PAIRS:,}; give two columns to concordance")
    return found


def _signs(one: Tensor, other: Tensor) -> Tensor:
    # Comparisons, not the sign of a difference: they cannot underflow or overflow.
    return (one > other).to(torch.float64) - (one < other).to(torch.float64)
