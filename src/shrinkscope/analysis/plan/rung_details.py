"""A choice of rungs, with everything that is said of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.parts import PlanPoint, Rival, Verdict
from shrinkscope.analysis.plan.pricing import Pricing
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.rung_chooser import Chosen, RungChooser
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.performance.divergence import divergence_of, mean_over_samples

_AROUND = (1.25, 1.1, 1.0, 0.9, 0.8)  # prices of the curve, as shares of the choice's
_COLLAPSED = 0.5  # share of changed classes, as for plans of weights


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a choice takes, in all that can be counted.

    Attributes:
        sizes: In bytes.
        operations: In operations; None where they are not known or never change.
        sparsity: Fraction of the planned weights that is gone.
        labels: Layer or group → what its rungs are called.
    """

    sizes: Pricing
    operations: Pricing | None
    sparsity: Callable[[Counts], float]
    labels: Mapping[str, Sequence[str]]

    def size(self, positions: Counts) -> int:
        """Bytes of the network.

        Args:
            positions: Layer → rung.
        """
        return self.sizes.others + self.sizes.of(positions)

    def operations_of(self, positions: Counts) -> int | None:
        """Operations of a pass over one input; None where they are not known or never change.

        Args:
            positions: Layer → rung.
        """
        return None if self.operations is None else self.operations.others + self.operations.of(positions)


class Said(TypedDict):
    """What is predicted of one layer or group: as in ``PlanRow``."""

    cost_alone: float
    share: float | None
    near: tuple[str, ...]


Described = Callable[[Counts, Mapping[str, Said]], dict[str, Any]]
"""From rungs, and what is predicted of each, to the fields of a plan that say what is done."""


def rung_details(
    chooser: RungChooser,
    taken: Taken,
    chosen: Chosen,
    calibration: Calibration | None,
    described: Described,
) -> Plan:
    """Measure a choice on the inputs that were not searched on, layer by layer and against its rivals.

    Args:
        chooser: What chose it.
        taken: What choices take.
        chosen: Its rungs.
        calibration: Predicts the difference from the joint KL.
        described: Makes the plan's rows.
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
    said = _said(chooser, taken, positions, float(found.kl.mean()), means.kl.standard_error or 0.0)
    return Plan(
        **described(positions, said),
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
        operations=taken.operations_of(positions),
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


def _said(chooser: RungChooser, taken: Taken, positions: Counts, total: float, error: float) -> dict[str, Said]:
    judge = chooser.judge

    def kl(moves: Mapping[str, int]) -> float:
        return float(judge.distances({**positions, **moves}).kl.mean())

    relieved = {name: max(0.0, total - kl({name: 0})) for name in positions}
    near = _near(chooser, taken, positions, lambda moves: abs(kl(moves) - total) < error)
    dense = dict.fromkeys(positions, 0)
    judge.distances(dense, rebase=True)
    alone = {name: float(judge.distances(dense | {name: rung}).kl.mean()) for name, rung in positions.items()}
    everything = sum(relieved.values())
    return {
        name: Said(
            cost_alone=alone[name],
            share=relieved[name] / everything if everything > 0 else None,
            near=near[name],
        )
        for name in positions
    }


def _near(
    chooser: RungChooser, taken: Taken, positions: Counts, same: Callable[[Mapping[str, int]], bool]
) -> dict[str, tuple[str, ...]]:
    """The next milder and the next harsher rung of each layer, where they may as well be taken."""
    found = {}
    for name, position in positions.items():
        beside = chooser.beside(name, position)
        found[name] = tuple(taken.labels[name][rung] for rung in beside if same({name: rung}))
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
                operations=taken.operations_of(rungs),
                kl=means.kl,
                disagreement=means.disagreement,
            )
        )
    return tuple(points)
