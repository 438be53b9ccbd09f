"""A choice of rungs, with everything that is said of it."""

from collections.abc import Callable, Mapping

from torch import Tensor

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.ladder import Rung
from shrinkscope.analysis.plan.parts import PlanPoint, PlanRow, Rival, Verdict
from shrinkscope.analysis.plan.pricing import Separable
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.rung_chooser import Chosen, RungChooser
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.performance.divergence import divergence_of, mean_over_samples

_AROUND = (1.25, 1.1, 1.0, 0.9, 0.8)  # prices of the curve, as shares of the choice's
_COLLAPSED = 0.5  # share of changed classes, as for plans of weights


class Taken:
    """What a choice takes, in all that can be counted.

    Args:
        ladders: Layer → its rungs.
        sizes: In bytes.
        operations: In operations; None where they are not known or never change.
    """

    def __init__(self, ladders: Mapping[str, tuple[Rung, ...]], sizes: Separable, operations: Separable | None) -> None:
        self.ladders, self.sizes, self._operations = ladders, sizes, operations

    def size(self, positions: Counts) -> int:
        """Bytes of the network.

        Args:
            positions: Layer → rung.
        """
        return self.sizes.others + self.sizes.of(positions)

    def operations(self, positions: Counts) -> int | None:
        """Operations of a pass over one input; None where they are not known or never change.

        Args:
            positions: Layer → rung.
        """
        return None if self._operations is None else self._operations.others + self._operations.of(positions)

    def sparsity(self, positions: Counts) -> float:
        """Fraction of the planned weights removed.

        Args:
            positions: Layer → rung.
        """
        removed = sum(self.ladders[name][rung].removed for name, rung in positions.items())
        return removed / max(1, sum(rungs[0].numbers for rungs in self.ladders.values()))


def row_of(name: str, weight: Tensor, rung: Rung, **said: object) -> PlanRow:
    """A row of a plan.

    Args:
        name: The layer.
        weight: Its dense weight.
        rung: What is done to it.
        said: Predictions, as for ``PlanRow``.
    """
    return PlanRow(
        layer=name,
        weights=weight.numel(),
        removed=rung.removed,
        bits=rung.bits,
        pattern=rung.pattern,
        rank=rung.rank,
        **said,  # type: ignore[arg-type]
    )


def rung_details(
    chooser: RungChooser,
    weights: Mapping[str, Tensor],
    taken: Taken,
    chosen: Chosen,
    calibration: Calibration | None,
) -> Plan:
    """Measure a choice on the inputs that were not searched on, layer by layer and against its rivals.

    Args:
        chooser: What chose it.
        weights: Layer → dense weight.
        taken: What choices take.
        chosen: Its rungs.
        calibration: Predicts the difference from the joint KL.
    """
    positions, judge, settings = chosen.positions, chooser.judge, chooser.settings
    others = _others(chooser, chosen)
    curve = _curve(chooser, taken, positions)
    found = judge.distances(positions, rebase=True)
    means = divergence_of(found)
    collapsed = means.disagreement is not None and means.disagreement.value > _COLLAPSED
    vain = settings.max_drop is not None and not any(positions.values())
    verdict: Verdict = "infeasible" if collapsed or vain else "reached"
    rivals = tuple(
        Rival(allocation=name, kl=divergence_of(other).kl, excess=mean_over_samples(other.kl - found.kl, "nats"))
        for name, other in ((name, judge.distances(rungs)) for name, rungs in others.items())
    )
    rows = _rows(chooser, weights, taken, positions, float(found.kl.mean()), means.kl.standard_error or 0.0)
    return Plan(
        rows=rows,
        settings=settings,
        start=chosen.start,
        kl=means.kl,
        disagreement=means.disagreement,
        drop=None if calibration is None else calibration.predict([means.kl.value]),
        curve=curve,
        rivals=rivals,
        forward_equivalents=round(chooser.search.spent + judge.spent, 1),
        verdict=verdict,
        notes=_notes(chooser, chosen, collapsed=collapsed, vain=vain),
        size=taken.size(positions),
        operations=taken.operations(positions),
    )


def _others(chooser: RungChooser, chosen: Chosen) -> dict[str, Counts]:
    """The rivals: the other allocations of the same price, and each method alone."""
    starts = chooser.starts(chooser.pricing.of(chosen.positions))
    named = {name: rungs for name, rungs in starts.items() if name != chooser.settings.allocation}
    named |= {f"{method} alone": rungs for method, rungs in chosen.singles.items()}
    return {name: rungs for name, rungs in named.items() if rungs != chosen.positions}


def _notes(chooser: RungChooser, chosen: Chosen, *, collapsed: bool, vain: bool) -> tuple[str, ...]:
    settings, bits = chooser.settings, tuple(chooser.methods) == ("bits",)
    notes = []
    if collapsed:
        what = "a lower sparsity" if settings.sparsity is not None else f"more {'flops' if settings.flops else 'bits'}"
        what = "a larger size" if settings.size is not None or settings.max_drop is not None else what
        notes.append(f"Predicted collapse: most predictions change; ask for {what}.")
    if vain:
        what = "No width below the dense one" if bits else "Nothing smaller than the dense network"
        notes.append(f"{what} is predicted to stay within {settings.max_drop:g}.")
    if len(chooser.methods) > 1 and any(chosen.positions.values()):
        missing = [method for method in chooser.methods if method not in chosen.singles]
        notes += [f"No plan of {method} alone is as small." for method in missing]
    return tuple(notes)


def _rows(
    chooser: RungChooser, weights: Mapping[str, Tensor], taken: Taken, positions: Counts, total: float, error: float
) -> tuple[PlanRow, ...]:
    judge = chooser.judge

    def kl(moves: Mapping[str, int]) -> float:
        return float(judge.distances({**positions, **moves}).kl.mean())

    relieved = {name: max(0.0, total - kl({name: 0})) for name in positions}
    near = _near(chooser, taken, positions, lambda moves: abs(kl(moves) - total) < error)
    dense = dict.fromkeys(positions, 0)
    judge.distances(dense, rebase=True)
    alone = {name: float(judge.distances(dense | {name: rung}).kl.mean()) for name, rung in positions.items()}
    everything = sum(relieved.values())
    return tuple(
        row_of(
            name,
            weight,
            taken.ladders[name][positions[name]],
            cost_alone=alone[name],
            share=relieved[name] / everything if everything > 0 else None,
            near=near[name],
        )
        for name, weight in weights.items()
    )


def _near(
    chooser: RungChooser, taken: Taken, positions: Counts, same: Callable[[Mapping[str, int]], bool]
) -> dict[str, tuple[str, ...]]:
    """The next milder and the next harsher rung of each layer, where they may as well be taken."""
    if tuple(chooser.methods) == ("bits",):
        return dict.fromkeys(positions, ())
    found = {}
    for name, position in positions.items():
        beside = chooser.beside(name, position)
        found[name] = tuple(taken.ladders[name][rung].level for rung in beside if same({name: rung}))
    return found


def _curve(chooser: RungChooser, taken: Taken, positions: Counts) -> tuple[PlanPoint, ...]:
    """The least summed costs at prices around the choice's, and the choice."""
    pricing = chooser.pricing
    now = pricing.of(positions)
    most = max(pricing.of(dict.fromkeys(positions, 0)), pricing.least)
    totals = dict.fromkeys(round(now * share) for share in _AROUND if pricing.least <= round(now * share) <= most)
    points = []
    for total in totals:
        rungs = positions if total == now else chooser.additive(total)
        means = divergence_of(chooser.judge.distances(rungs))
        points.append(
            PlanPoint(
                sparsity=taken.sparsity(rungs),
                size=taken.size(rungs),
                operations=taken.operations(rungs),
                kl=means.kl,
                disagreement=means.disagreement,
            )
        )
    return tuple(points)
