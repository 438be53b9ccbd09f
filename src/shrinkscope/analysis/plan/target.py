"""The sparsest plan whose predicted drop stays within a tolerance."""

from shrinkscope.analysis.plan.chooser import Choice, Chooser
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.errors import DataError

_HALVINGS = 7  # of the interval of sparsities: down to 1 %
_SEARCHES = 3  # each with a share of the budget
_STEP = 0.06  # of sparsity, between the searches


def largest_within(
    chooser: Chooser, max_drop: float, calibration: Calibration | None
) -> tuple[Choice, tuple[str, ...]]:
    """Bisect with the best start of each size, then search there and go on while the drop allows it.

    Args:
        chooser: Chooses counts for a size.
        max_drop: The tolerance.
        calibration: Predicts the drop from the joint KL; the share of changed classes serves without one.

    Returns:
        The choice, of nothing to remove if no size is within, and what to say of it.

    Raises:
        DataError: If there is neither a calibration nor a class.
    """

    def within(counts: Counts) -> bool:
        found = predicted_drop(chooser.judge, counts, calibration)
        return found is not None and found <= max_drop

    def start_of(total: int) -> Counts:
        starts = chooser.others(total)
        if chooser.allocation != "joint":
            return starts[chooser.allocation]
        return min(starts.values(), key=lambda counts: float(chooser.search.distances(counts).kl.mean()))

    low, high = 0, chooser.weights
    for _ in range(_HALVINGS):
        middle = (low + high) // 2
        low, high = (middle, high) if within(start_of(middle)) else (low, middle)
    if chooser.allocation != "joint":
        return Choice(counts=start_of(low), start=None, starts=chooser.others(low)), _infeasible(low, max_drop)
    best, step, total = None, _STEP, low
    for _ in range(_SEARCHES):
        near = None if best is None else best.counts
        choice = chooser.choose(min(total, chooser.weights), near=near, share=1 / _SEARCHES)
        if within(choice.counts):
            best, low = choice, sum(choice.counts.values())
        else:
            step /= 2
        total = low + round(step * chooser.weights)
    best = best or Choice(counts=start_of(low), start=None, starts=chooser.others(low))
    return best, _infeasible(sum(best.counts.values()), max_drop)


def predicted_drop(judge: JointDamage, counts: Counts, calibration: Calibration | None) -> float | None:
    """The predicted drop on the inputs that were not searched on; None out of the calibration's range.

    Args:
        judge: Of these inputs.
        counts: Layer → number to remove, or rung.
        calibration: Predicts the drop from the joint KL.

    Raises:
        DataError: If there is neither a calibration nor a class.
    """
    found = judge.distances(counts)
    if calibration is not None:
        value = calibration.predict([float(found.kl.mean())]).value
        return None if value is None else abs(value)
    if found.disagreement is None:
        raise DataError("max_drop of a regression needs calibration=…, because there is no class that could change")
    return float(found.disagreement.mean())


def _infeasible(total: int, max_drop: float) -> tuple[str, ...]:
    return () if total else (f"No sparsity above 1 % is predicted to stay within {max_drop:g}.",)
