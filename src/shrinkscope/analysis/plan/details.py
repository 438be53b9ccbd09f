"""A choice, with everything that is said of it."""

from collections.abc import Mapping

from torch import Tensor

from shrinkscope.analysis.plan.chooser import Choice, Chooser
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.parts import PlanPoint, PlanRow, PlanSettings, Rival, Verdict
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.performance import PredictiveDistances
from shrinkscope.performance.divergence import divergence_of, mean_over_samples

_AROUND = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1)  # sparsities of the curve, from the choice
_COLLAPSED = 0.5  # share of changed classes: more are wrong than right, as far as the dense network is right


def details(
    chooser: Chooser,
    choice: Choice,
    settings: PlanSettings,
    calibration: Calibration | None,
    notes: tuple[str, ...],
) -> Plan:
    """Measure a choice on the inputs that were not searched on, layer by layer and against the other allocations.

    Args:
        chooser: What chose it.
        choice: Its counts.
        settings: What was asked for.
        calibration: Predicts the difference from the joint KL.
        notes: What was found on the way.
    """
    counts, judge = choice.counts, chooser.judge
    found = judge.distances(counts, rebase=True)
    means = divergence_of(found)
    error = means.kl.standard_error or 0.0
    curve = _curve(chooser, counts)
    collapsed = means.disagreement is not None and means.disagreement.value > _COLLAPSED
    if collapsed:
        fine = [point.sparsity for point in curve if point.disagreement and point.disagreement.value <= _COLLAPSED]
        milder = f"{100 * max(fine):.0f} % is predicted to keep most" if fine else "no sparsity near it keeps most"
        notes = (*notes, f"Predicted collapse: most predictions change; {milder}.")
    verdict: Verdict = (
        "infeasible" if collapsed or (settings.max_drop is not None and not sum(counts.values())) else "reached"
    )
    rows = _rows(chooser, counts, found, error)
    rivals = tuple(
        _rival(name, judge.distances(other), found)
        for name, other in choice.starts.items()
        if other != counts and name != settings.allocation
    )
    return Plan(
        rows=rows,
        settings=settings,
        start=choice.start,
        kl=means.kl,
        disagreement=means.disagreement,
        drop=None if calibration is None else calibration.predict([means.kl.value]),
        curve=curve,
        rivals=rivals,
        forward_equivalents=round(chooser.spent, 1),
        verdict=verdict,
        notes=notes,
    )


def _rows(chooser: Chooser, counts: Counts, found: PredictiveDistances, error: float) -> tuple[PlanRow, ...]:
    judge = chooser.judge
    numbers, sizes = judge.weights(counts), judge.weights(chooser.sizes)
    total = float(found.kl.mean())
    relieved = {name: max(0.0, total - float(judge.distances(counts | {name: 0}).kl.mean())) for name in counts}
    slopes = judge.slopes(counts)
    judge.distances(dict.fromkeys(counts, 0), rebase=True)
    dense = dict.fromkeys(counts, 0)
    alone = {name: float(judge.distances(dense | {name: number}).kl.mean()) for name, number in counts.items()}
    all_relieved = sum(relieved.values())
    rows = []
    for name, size in sizes.items():
        lower, upper = _indifferent(slopes[name].change, numbers[name], error)
        rows.append(
            PlanRow(
                layer=name,
                weights=size,
                removed=numbers[name],
                cost_alone=alone[name],
                share=relieved[name] / all_relieved if all_relieved > 0 else None,
                lower=lower / max(size, 1),
                upper=upper / max(size, 1),
            )
        )
    return tuple(rows)


def _indifferent(slope: Tensor, count: int, error: float) -> tuple[int, int]:
    """The widest run of counts around a count that moves the divergence by no more than an error, to first order."""
    beyond = (slope - slope[count]).abs() > error
    below, above = beyond[:count].nonzero().flatten(), beyond[count:].nonzero().flatten()
    lower = int(below[-1]) + 1 if len(below) else 0
    upper = count + int(above[0]) - 1 if len(above) else len(slope) - 1
    return lower, upper


def _curve(chooser: Chooser, counts: Counts) -> tuple[PlanPoint, ...]:
    now = sum(counts.values()) / chooser.weights
    points: Mapping[int, None] = {
        round((now + step) * chooser.weights): None for step in _AROUND if 0 <= now + step < 1
    }
    curve, whole = [], sum(chooser.judge.weights(chooser.sizes).values())
    for total in points:
        moved = chooser.moved(counts, total)
        means = divergence_of(chooser.judge.distances(moved))
        sparsity = sum(chooser.judge.weights(moved).values()) / whole
        curve.append(PlanPoint(sparsity=sparsity, kl=means.kl, disagreement=means.disagreement))
    return tuple(curve)


def _rival(name: str, found: PredictiveDistances, ours: PredictiveDistances) -> Rival:
    return Rival(
        allocation=name,
        kl=divergence_of(found).kl,
        excess=mean_over_samples(found.kl - ours.kl, "nats"),
    )
