"""Plans of bits: how many each weight of a layer gets, for a network of so many bytes or a predicted drop."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from torch import Tensor, nn

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.prices import as_bytes
from shrinkscope.analysis.plan.records import Plan, PlanPoint, PlanRow, PlanSettings, Rival, Verdict
from shrinkscope.analysis.plan.rungs import least_cost, price_of, search_rungs, uniform_rungs
from shrinkscope.analysis.plan.target import predicted_drop
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.compression.rung_path import bits_path
from shrinkscope.errors import CompressionError, DataError
from shrinkscope.performance import Reading
from shrinkscope.performance.divergence import divergence_of, mean_over_samples

WIDTHS = (8, 6, 5, 4, 3, 2)
"""Bits that a layer can get, beside being left as it is."""

ALLOCATIONS = ("joint", "additive", "uniform")
"""Those that choose bits."""

_SCALE = 4  # bytes of the step of an output channel
_HALVINGS = 8  # of the interval of sizes
_SEARCHES, _SMALLER = 3, 0.95  # searches under a drop, each of a share of the size of the last
_AROUND = (1.25, 1.1, 1.0, 0.9, 0.8)  # sizes of the curve, as shares of the choice's
_COLLAPSED = 0.5  # share of changed classes, as for plans of weights


class Sizes(NamedTuple):
    """What a network takes: ``prices`` is layer → bytes on each rung, ``others`` the bytes of everything unplanned."""

    prices: dict[str, tuple[int, ...]]
    others: int

    @property
    def dense(self) -> int:
        """Bytes of the network as it is."""
        return self.others + sum(of_layer[0] for of_layer in self.prices.values())

    def of(self, positions: Mapping[str, int]) -> int:
        """Bytes of the network with these rungs.

        Args:
            positions: Layer → rung.
        """
        return self.others + price_of(positions, self.prices)


def sizes_of(model: nn.Module, weights: Mapping[str, Tensor]) -> Sizes:
    """Bytes of a network whose weights are stored dense, or with so many bits and a step for each output channel.

    Args:
        model: The network.
        weights: Layer → weight that may be quantised.
    """
    prices = {
        name: (w.numel() * w.element_size(), *(-(-w.numel() * bits // 8) + _SCALE * len(w) for bits in WIDTHS))
        for name, w in weights.items()
    }
    stored = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    return Sizes(prices, stored - sum(of_layer[0] for of_layer in prices.values()))


def bits_plan(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    reading: Reading,
    settings: PlanSettings,
    calibration: Calibration | None,
    progress: Callable[[float], None] | None,
) -> Plan:
    """Choose how many bits the weights of each layer get.

    Args:
        model: The dense network; left as it is.
        weights: Layer → weight.
        batches: Unlabelled inputs, each batch of at least 2; every second input judges. Empty where there are none.
        reading: How outputs are read.
        settings: What is asked for: ``size`` or ``max_drop``, the allocation, and the budget of the search.
        calibration: Predicts the difference from the joint KL.
        progress: Called with the share that is done.

    Raises:
        CompressionError: If the target is a sparsity or operations, is not to be reached, or the allocation is none of
            ``ALLOCATIONS``.
        DataError: If the allocation or the target needs inputs and there are none.
    """
    _check(settings)
    sizes = sizes_of(model, weights)
    total = None if settings.size is None else _within(sizes, settings.size)
    if not batches:
        if total is None or settings.allocation != "uniform":
            what = "max_drop" if total is None else f"allocation {settings.allocation!r}"
            raise DataError(f"{what} needs inputs: give inputs=… or shape=…, or allocation='uniform' and a size")
        return _unpredicted(weights, sizes, total, settings)
    paths = {name: bits_path(name, weight.detach(), WIDTHS) for name, weight in weights.items()}
    halves = [[batch[at::2] for batch in batches] for at in (0, 1)]
    search, judge = (JointDamage(model, list(weights), half, reading, paths=paths) for half in halves)
    chooser = _Chooser(search, judge, sizes, settings, progress)
    positions, start = chooser.under_drop(calibration) if total is None else chooser.choose(total)
    return _detailed(chooser, weights, positions, start, calibration)


def _check(settings: PlanSettings) -> None:
    if settings.sparsity is not None or settings.flops is not None:
        what = "sparsity" if settings.flops is None else "flops"
        raise CompressionError(f"bits change no {what}; method='bits' expects size=… or max_drop=…")
    if settings.within == "compensated":
        raise CompressionError("compensate makes up for removed weights; method='bits' removes none: leave it out")
    if settings.allocation not in ALLOCATIONS:
        raise CompressionError(
            f"allocation {settings.allocation!r} chooses no bits; expected one of {', '.join(ALLOCATIONS)}"
        )


def _within(sizes: Sizes, size: int | str) -> int:
    """Bytes left for what is planned."""
    asked = as_bytes(size, sizes.dense)
    least = sizes.others + sum(min(of_layer) for of_layer in sizes.prices.values())
    if asked < least:
        raise CompressionError(
            f"size = {asked:,} bytes cannot be reached: with {min(WIDTHS)} bits everywhere the network takes {least:,} "
            f"of its {sizes.dense:,} bytes"
        )
    return asked - sizes.others


class _Chooser:
    """Chooses rungs for a number of bytes."""

    def __init__(
        self,
        search: JointDamage,
        judge: JointDamage,
        sizes: Sizes,
        settings: PlanSettings,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.search, self.judge, self.sizes, self.settings, self._progress = search, judge, sizes, settings, progress

    @cached_property
    def costs(self) -> dict[str, tuple[float, ...]]:
        """Layer → KL in nats on each rung, alone."""
        dense = dict.fromkeys(self.search.sizes, 0)
        self.search.distances(dense, rebase=True)
        return {
            name: tuple(float(self.search.distances(dense | {name: rung}).kl.mean()) for rung in range(last + 1))
            for name, last in self.search.sizes.items()
        }

    def starts(self, total: int) -> dict[str, Counts]:
        """Name → rungs within so many bytes."""
        prices = self.sizes.prices
        even = uniform_rungs(prices, total)
        return {"additive": least_cost(self.costs, prices, total)} | ({} if even is None else {"uniform": even})

    def plain(self, total: int) -> Counts:
        """What the allocation that was asked for chooses, or what a search for it begins from."""
        starts, asked = self.starts(total), self.settings.allocation
        if asked != "joint":
            return starts[asked]
        return min(starts.values(), key=lambda rungs: float(self.search.distances(rungs).total_variation.mean()))

    def choose(self, total: int, share: float = 1.0) -> tuple[Counts, str | None]:
        """Rungs within so many bytes, and what a search for them began from."""
        if self.settings.allocation != "joint":
            return self.plain(total), None
        budget = share * self.settings.budget
        found = search_rungs(
            self.search, self.judge, self.starts(total), self.costs, self.sizes.prices, total, budget, self._progress
        )
        return found.positions, found.start

    def under_drop(self, calibration: Calibration | None) -> tuple[Counts, str | None]:
        """The rungs of fewest bytes that the bisection, and searches below it, find within the drop."""
        max_drop, prices = self.settings.max_drop, self.sizes.prices

        def within(positions: Counts) -> bool:
            drop = predicted_drop(self.judge, positions, calibration)
            return drop is not None and max_drop is not None and drop <= max_drop

        least, high = (sum(pick(of_layer) for of_layer in prices.values()) for pick in (min, max))
        low = least
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            low, high = (low, middle) if within(self.plain(middle)) else (middle, high)
        best: tuple[Counts, str | None] = (self.plain(high), None)
        for attempt in range(_SEARCHES if self.settings.allocation == "joint" else 0):
            found = self.choose(max(least, round(high * _SMALLER**attempt)), 1 / _SEARCHES)
            if not within(found[0]):
                break
            best = found
        return best


def _detailed(
    chooser: _Chooser,
    weights: Mapping[str, Tensor],
    positions: Counts,
    start: str | None,
    calibration: Calibration | None,
) -> Plan:
    judge, settings, sizes = chooser.judge, chooser.settings, chooser.sizes
    starts = chooser.starts(price_of(positions, sizes.prices))
    curve = _curve(chooser, positions)
    found = judge.distances(positions, rebase=True)
    means = divergence_of(found)
    collapsed = means.disagreement is not None and means.disagreement.value > _COLLAPSED
    notes = ("Predicted collapse: most predictions change; ask for a larger size.",) if collapsed else ()
    vain = settings.max_drop is not None and not any(positions.values())
    if vain:
        notes += (f"No width below the dense one is predicted to stay within {settings.max_drop:g}.",)
    verdict: Verdict = "infeasible" if collapsed or vain else "reached"
    rivals = tuple(
        Rival(allocation=name, kl=divergence_of(other).kl, excess=mean_over_samples(other.kl - found.kl, "nats"))
        for name, other in ((name, judge.distances(rungs)) for name, rungs in starts.items() if rungs != positions)
        if name != settings.allocation
    )
    rows = _rows(chooser, weights, positions, float(found.kl.mean()))
    return Plan(
        rows=rows,
        settings=settings,
        start=start,
        kl=means.kl,
        disagreement=means.disagreement,
        drop=None if calibration is None else calibration.predict([means.kl.value]),
        curve=curve,
        rivals=rivals,
        forward_equivalents=round(chooser.search.spent + judge.spent, 1),
        verdict=verdict,
        notes=notes,
        size=sizes.of(positions),
    )


def _rows(chooser: _Chooser, weights: Mapping[str, Tensor], positions: Counts, total: float) -> tuple[PlanRow, ...]:
    judge = chooser.judge
    relieved = {name: max(0.0, total - float(judge.distances(positions | {name: 0}).kl.mean())) for name in positions}
    dense = dict.fromkeys(positions, 0)
    judge.distances(dense, rebase=True)
    alone = {name: float(judge.distances(dense | {name: rung}).kl.mean()) for name, rung in positions.items()}
    everything = sum(relieved.values())
    return tuple(
        PlanRow(
            layer=name,
            weights=weight.numel(),
            removed=0,
            bits=_bits(positions[name]),
            cost_alone=alone[name],
            share=relieved[name] / everything if everything > 0 else None,
        )
        for name, weight in weights.items()
    )


def _bits(position: int) -> int | None:
    return WIDTHS[position - 1] if position else None


def _curve(chooser: _Chooser, positions: Counts) -> tuple[PlanPoint, ...]:
    """The least summed costs at sizes around the choice, and the choice."""
    sizes, now = chooser.sizes, price_of(positions, chooser.sizes.prices)
    least, most = (sum(pick(of_layer) for of_layer in sizes.prices.values()) for pick in (min, max))
    totals = dict.fromkeys(round(now * share) for share in _AROUND if least <= round(now * share) <= most)
    points = []
    for total in totals:
        rungs = positions if total == now else least_cost(chooser.costs, sizes.prices, total)
        means = divergence_of(chooser.judge.distances(rungs))
        points.append(PlanPoint(sparsity=0.0, size=sizes.of(rungs), kl=means.kl, disagreement=means.disagreement))
    return tuple(points)


def _unpredicted(weights: Mapping[str, Tensor], sizes: Sizes, total: int, settings: PlanSettings) -> Plan:
    positions = uniform_rungs(sizes.prices, total)
    assert positions is not None  # the last rung fits: checked with the size
    rows = tuple(
        PlanRow(layer=name, weights=weight.numel(), removed=0, bits=_bits(positions[name]))
        for name, weight in weights.items()
    )
    return Plan(rows=rows, settings=settings, size=sizes.of(positions))
