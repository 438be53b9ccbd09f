"""Plans that put every layer on a rung: an N:M pattern, a rank, a number of bits, or whichever of several is best."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from shrinkscope.analysis.plan.carrying import carried_out
from shrinkscope.analysis.plan.counts import Counts
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.ladder import WIDTHS, Rung, hopeful, ladder
from shrinkscope.analysis.plan.parts import PlanRow, PlanSettings
from shrinkscope.analysis.plan.pricing import (
    Separable,
    allowed,
    bit_pricing,
    number_pricing,
    operation_pricing,
    size_pricing,
)
from shrinkscope.analysis.plan.records import Plan
from shrinkscope.analysis.plan.rung_chooser import RungChooser
from shrinkscope.analysis.plan.rung_details import Said, Taken, rung_details
from shrinkscope.analysis.plan.rungs import Level, uniform_rungs
from shrinkscope.analysis.prediction import Calibration
from shrinkscope.compression.locate import locate
from shrinkscope.compression.rung_path import RungPath
from shrinkscope.errors import CompressionError, DataError
from shrinkscope.performance import Reading

ALLOCATIONS = ("joint", "additive", "uniform")
"""Those that choose rungs."""


def choices_plan(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    reading: Reading,
    settings: PlanSettings,
    methods: Sequence[str],
    calibration: Calibration | None,
    progress: Callable[[float], None] | None,
) -> Plan:
    """Choose what is done to each layer, of what the methods offer.

    Args:
        model: The dense network; left as it is.
        weights: Layer → weight.
        batches: Unlabelled inputs, each batch of at least 2; every second input judges. Empty where there are none.
        reading: How outputs are read.
        settings: What is asked for: the target, the allocation, and the budget of the search.
        methods: What may be done to a layer.
        calibration: Predicts the difference from the joint KL.
        progress: Called with the share that is done.

    Raises:
        CompressionError: If the target has no meaning for the methods, is not to be reached, or the allocation is none
            of ``ALLOCATIONS``.
        DataError: If the allocation or the target needs inputs and there are none.
    """
    _check(settings, methods)
    ladders = {name: ladder(name, w, methods, _groups(model, name)) for name, w in weights.items()}
    sizes = size_pricing(model, ladders)
    operations = _operations(model, weights, ladders, batches, needed=settings.flops is not None)
    pricing = _pricing(settings, weights, ladders, sizes, operations)
    smallest = f"{min(WIDTHS)} bits everywhere" if tuple(methods) == ("bits",) else "the smallest choice everywhere"
    numbers = sum(weight.numel() for weight in weights.values())
    total = None if settings.max_drop is not None else allowed(pricing, settings, numbers, smallest)
    levels = {name: [Level(rung.method, rung.level) for rung in rungs] for name, rungs in ladders.items()}
    if not batches:
        return _unpredicted(weights, ladders, levels, sizes, pricing, total, settings)
    paths = {name: RungPath(CarriedOut(name, weight, ladders[name])) for name, weight in weights.items()}
    halves = [[batch[at::2] for batch in batches] for at in (0, 1)]
    again = settings.reestimate
    search, judge = (
        JointDamage(model, list(weights), half, reading, paths=paths, reestimated=again) for half in halves
    )
    worth = {name: _worth(name, weight, ladders[name], methods) for name, weight in weights.items()}
    chooser = RungChooser(search, judge, levels, worth, pricing, methods, settings, progress)
    chosen = chooser.under_drop(calibration) if total is None else chooser.choose(total)
    changing = tuple(methods) != ("bits",)
    taken = Taken(
        sizes=sizes,
        operations=operations if changing else None,
        sparsity=lambda positions: _sparsity(ladders, positions),
        labels={name: [rung.level for rung in rungs] for name, rungs in ladders.items()},
    )

    def described(positions: Counts, said: Mapping[str, Said]) -> dict[str, Any]:
        rows = (row_of(name, w, ladders[name][positions[name]], **said[name]) for name, w in weights.items())
        return {"rows": tuple(rows)}

    return rung_details(chooser, taken, chosen, calibration, described)


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


def _sparsity(ladders: Mapping[str, Sequence[Rung]], positions: Counts) -> float:
    removed = sum(ladders[name][rung].removed for name, rung in positions.items())
    return removed / max(1, sum(rungs[0].numbers for rungs in ladders.values()))


class CarriedOut(Sequence[Tensor]):
    """The weights of one layer on each of its rungs, made when they are first asked for.

    Args:
        name: The layer, for messages.
        weight: Its dense weight.
        rungs: Its rungs.
    """

    def __init__(self, name: str, weight: Tensor, rungs: Sequence[Rung]) -> None:
        self._name, self._weight, self._rungs = name, weight.detach(), rungs
        self._made: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._rungs)

    def __getitem__(self, index: int, /) -> Tensor:  # type: ignore[override]
        if index not in self._made:
            self._made[index] = carried_out(self._name, self._weight, self._rungs[index])
        return self._made[index]


def _check(settings: PlanSettings, methods: Sequence[str]) -> None:
    name = ",".join(methods)
    if settings.flops is not None and tuple(methods) == ("bits",):
        raise CompressionError("bits change no flops; method='bits' expects size=…, bits=… or max_drop=…")
    if settings.sparsity is not None and "bits" in methods:
        raise CompressionError(f"bits change no sparsity; method={name!r} expects size=… or max_drop=…")
    if settings.within == "compensated":
        raise CompressionError(
            f"compensate makes up for removed weights; method={name!r} removes none, or others: leave it out"
        )
    if settings.allocation not in ALLOCATIONS:
        raise CompressionError(
            f"allocation {settings.allocation!r} chooses no {'bits' if name == 'bits' else 'such levels'}; "
            f"expected one of {', '.join(ALLOCATIONS)}"
        )


def _groups(model: nn.Module, name: str) -> int:
    groups = getattr(locate(model, name).owner, "groups", 1)
    return groups if isinstance(groups, int) else 1


def _operations(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    ladders: Mapping[str, tuple[Rung, ...]],
    batches: Sequence[Tensor],
    *,
    needed: bool,
) -> Separable | None:
    """Operations of the rungs; None where they are not needed and not known."""
    if not batches:
        if needed:
            raise DataError("flops needs inputs: give inputs=… or shape=… to make synthetic ones")
        return None
    try:
        return operation_pricing(model, weights, ladders, batches[0])
    except CompressionError:
        if needed:
            raise
        return None


def _pricing(
    settings: PlanSettings,
    weights: Mapping[str, Tensor],
    ladders: Mapping[str, tuple[Rung, ...]],
    sizes: Separable,
    operations: Separable | None,
) -> Separable:
    """Prices in the currency of the target; bytes for a drop."""
    if settings.sparsity is not None:
        return number_pricing(ladders)
    if settings.bits is not None:
        return bit_pricing(weights, ladders)
    return sizes if settings.flops is None or operations is None else operations


def _worth(name: str, weight: Tensor, rungs: Sequence[Rung], methods: Sequence[str]) -> list[int]:
    """The rungs that are worth a pass: all of one method."""
    return list(range(len(rungs))) if len(methods) == 1 else hopeful(name, weight, rungs)


def _unpredicted(
    weights: Mapping[str, Tensor],
    ladders: Mapping[str, tuple[Rung, ...]],
    levels: Mapping[str, Sequence[Level]],
    sizes: Separable,
    pricing: Separable,
    total: int | None,
    settings: PlanSettings,
) -> Plan:
    if total is None or settings.allocation != "uniform":
        what = "max_drop" if total is None else f"allocation {settings.allocation!r}"
        raise DataError(f"{what} needs inputs: give inputs=… or shape=…, or allocation='uniform' and a size")
    found = uniform_rungs(levels, pricing, total)
    if len(found) != 1:
        raise DataError(
            "no level that all layers share is within it"
            if not found
            else f"which of {', '.join(found)} is nearest needs inputs: give inputs=… or shape=…, or one method"
        )
    (positions,) = found.values()
    rows = tuple(row_of(name, weight, ladders[name][positions[name]]) for name, weight in weights.items())
    return Plan(rows=rows, settings=settings, size=sizes.others + sizes.of(positions))
