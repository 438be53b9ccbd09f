"""Plans that say how many single weights of each layer go."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from torch import Tensor, nn

from shrinkscope.analysis.plan.allocations import DATA_FREE, Allocations
from shrinkscope.analysis.plan.chooser import Chooser
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.details import details
from shrinkscope.analysis.plan.parts import PlanRow, PlanSettings
from shrinkscope.analysis.plan.prices import Budget, byte_budget, flop_budget, in_units
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.target import largest_within
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.compression import compensated_path
from shrinkscope.compression.removal_path import RemovalPath
from shrinkscope.curvature import input_moments
from shrinkscope.errors import DataError
from shrinkscope.performance import Reading


def unstructured_plan(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    reading: Reading,
    settings: PlanSettings,
    calibration: Calibration | None,
    progress: Callable[[float], None] | None,
) -> Plan:
    """Choose how many weights of each layer go.

    Args:
        model: The dense network; left as it is.
        weights: Layer → weight.
        batches: Unlabelled inputs, each batch of at least 2; every second input judges. Empty where there are none.
        reading: How outputs are read.
        settings: What is asked for: the target, the allocation, and the budget of the search.
        calibration: Predicts the difference from the joint KL.
        progress: Called with the share that is done.

    Raises:
        CompressionError: If the target is out of reach.
        DataError: If what is asked for needs inputs and there are none.
    """
    target = _target(model, weights, settings, batches)
    if not batches:
        return _unpredicted(model, weights, target, settings)
    prices = None if target is None else target.prices
    damping = settings.damping
    paths = None if damping is None else _paths(model, weights, batches, damping)
    search, judge = (
        JointDamage(
            model,
            list(weights),
            [batch[half::2] for batch in batches],
            reading,
            paths=paths,
            prices=prices,
            reestimated=settings.reestimate,
        )
        for half in (0, 1)
    )
    search.spent += settings.inputs if paths else 0
    offered = Allocations(model, weights, search, prices)
    chooser = Chooser(
        offered,
        search,
        judge,
        settings.allocation,  # type: ignore[arg-type]  # one of the names, as plan checks
        settings.budget,
        settings.seed,
        progress,
    )
    if target is not None:
        choice, notes = chooser.choose(target.total), ()
        counts = in_units(target.met(choice.counts, {name: weight.numel() for name, weight in weights.items()}), prices)
        choice = msgspec.structs.replace(choice, counts=counts)
    else:
        assert settings.max_drop is not None  # one target is there, as plan checks
        choice, notes = largest_within(chooser, settings.max_drop, calibration)
    # So far the kept weights of most counts were read off between two solutions; those that were chosen are solved for.
    for damage in (search, judge):
        damage.settle(choice.counts)
    return details(chooser, choice, settings, calibration, notes)


def _paths(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Tensor], damping: float
) -> dict[str, RemovalPath]:
    precisions = input_moments(model, iter(batches), layers=list(weights)).precisions()
    return {name: compensated_path(name, weight, precisions, damping=damping) for name, weight in weights.items()}


def _target(
    model: nn.Module, weights: Mapping[str, Tensor], settings: PlanSettings, batches: Sequence[Tensor]
) -> Budget | None:
    """What has to go; None where the drop decides."""
    if settings.sparsity is not None:
        numbers = [weight.numel() for weight in weights.values()]
        return Budget(prices=dict.fromkeys(weights, 1), total=round(settings.sparsity * sum(numbers)))
    if settings.size is not None:
        return byte_budget(model, weights, settings.size)
    if settings.flops is None:
        return None
    if not batches:
        raise DataError("flops needs inputs: give inputs=… or shape=… to make synthetic ones")
    return flop_budget(model, weights, settings.flops, batches[0])


def _unpredicted(
    model: nn.Module, weights: Mapping[str, Tensor], target: Budget | None, settings: PlanSettings
) -> Plan:
    if settings.damping is not None:
        raise DataError("compensate needs inputs: give inputs=… or shape=… to make synthetic ones")
    if settings.allocation not in DATA_FREE or target is None:
        what = "max_drop" if target is None else f"allocation {settings.allocation!r}"
        raise DataError(
            f"{what} needs inputs: give inputs=… or shape=… to make synthetic ones, "
            f"or take one of {', '.join(DATA_FREE)}"
        )
    sizes = {name: weight.numel() for name, weight in weights.items()}
    chosen = Allocations(model, weights, None, target.prices).counts(settings.allocation, target.total)
    return Plan(rows=_plain_rows(target.met(chosen, sizes), sizes), settings=settings)


def _plain_rows(counts: Counts, sizes: Counts) -> tuple[PlanRow, ...]:
    """Rows without predictions."""
    return tuple(PlanRow(layer=name, weights=size, removed=counts[name]) for name, size in sizes.items())
