"""The optimal sparsity as the paper means it: as much as the bound on the performance difference allows."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import torch
from torch import nn

from shrinkscope.analysis.compare import compare
from shrinkscope.analysis.sparsity_bounds import BoundName, Judge, judge
from shrinkscope.analysis.sparsity_records import NETWORK, OptimalSparsity, SparsityCurve, SparsityPoint
from shrinkscope.compression import MagnitudePruning, PruningMethod, prune
from shrinkscope.compression.scope import selected
from shrinkscope.errors import TheoryError
from shrinkscope.latent import DEFAULT, Latent
from shrinkscope.performance import Evaluation, PerformanceDifference, difference_between, evaluate
from shrinkscope.performance.data import Data, Inputs
from shrinkscope.weights import LayerSelection, LayersLike, compressible

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def optimal_sparsity(
    model: nn.Module,
    *,
    tolerance: float,
    inputs: Inputs | None = None,
    data: Data | None = None,
    bound: BoundName = "predictive",
    method: PruningMethod | None = None,
    levels: Sequence[float] = LEVELS,
    layers: LayersLike = None,
    latents: Iterable[Latent | str] = DEFAULT,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> OptimalSparsity:
    """Find the largest sparsity at which a bound on the loss of performance stays within a tolerance.

    Levels are tried from the lowest on, and the optimal one is the last before the first whose bound exceeds the
    tolerance. With the predictive bound that keeps the confidence although many levels are tried on the same inputs: to
    pass a level that really exceeds the tolerance, the first such level has to pass, which has a chance of at most
    1 − confidence.

    Args:
        model: The dense network, a classifier; it is not changed.
        tolerance: How much may be lost: a fraction of accuracy (predictive) or nats of loss (corrected), positive.
        inputs: Unlabelled inputs for the predictive bound, an independent sample of those that the network will see;
            a tensor or an iterable of batches that can be read again. Those of ``data`` when None.
        data: (inputs, targets) to measure the difference on, and to compute the corrected bound from.
        bound: ``predictive``: the upper confidence bound on P(argmax differs), which no accuracy difference exceeds.
            ``corrected``: Corollary 3.2 corrected, on the loss over ``data``; certified for a linear last layer only.
        method: Pruning method, of which level and layers are replaced; lowest magnitude in each layer by default.
        levels: Levels to try, increasing, in [0, 1].
        layers: Which layers; every convolution and linear layer by default.
        latents: Latent distributions of the AP3 columns of the curve.
        confidence: For each curve, of the predictive bound.
        seed: Of methods that draw: the same scores at every level, so that a higher one removes what a lower one does.
        progress: Called with the number of networks done and of all.

    Returns:
        A curve for the network and one for each layer, each with its optimal point.

    Raises:
        TheoryError: If tolerance, levels or the name of the bound are not usable.
        DataError: If inputs or data are missing, or not what is needed.
        SelectionError: If no layer is selected.
        CompressionError: If a layer cannot be pruned.

    Source: the paper's §3 (optimal sparsity) with the bounds of docs/theory.md; fixed-sequence testing: Bauer (1991).
    """
    levels = _checked(tolerance, levels, bound, confidence)
    names = list(selected(compressible(model), layers))
    found = judge(model, inputs, data, bound, confidence)
    search = _Search(model, method, tuple(levels), tolerance, found, tuple(latents), seed, data)
    scopes = [(NETWORK, names), *((name, [name]) for name in names if len(names) > 1)]
    tried = _Counter(len(scopes) * len(levels), progress)
    curves = []
    for label, chosen in scopes:
        points = tuple(tried.counting(search.points(chosen)))
        curves.append(SparsityCurve(layer=label, points=points, reason=found.refusal(chosen)))
    return OptimalSparsity(
        tolerance=tolerance,
        bound=bound,
        quantity=found.quantity,
        unit=found.unit,
        confidence=found.confidence,
        samples=found.samples,
        method=str(search.at(levels[0], names)),
        curves=tuple(curves),
    )


@dataclass(frozen=True)
class _Search:
    """What all curves of one call share."""

    model: nn.Module
    method: PruningMethod | None
    levels: tuple[float, ...]
    tolerance: float
    judge: Judge
    latents: tuple[Latent | str, ...]
    seed: int
    data: Data | None

    def points(self, layers: Sequence[str]) -> Iterator[SparsityPoint]:
        """The points of one curve, from the lowest level on."""
        within = bounded = self.judge.refusal(layers) is None
        for level in self.levels:
            pruned = copy.deepcopy(self.model)
            prune(pruned, self.at(level, layers), generator=torch.Generator().manual_seed(self.seed))
            total = compare(self.model, pruned, latents=self.latents, layers=_exactly(layers)).total
            bound = self.judge.bound(pruned) if bounded else None
            within = within and bound is not None and bound <= self.tolerance
            yield SparsityPoint(
                level=level,
                sparsity=0.0 if total.sparsity is None else total.sparsity,
                ap2=total.ap2,
                relative_ap2=total.relative_ap2,
                divergences=total.divergences,
                bound=bound,
                within=within,
                measured=self._measured(pruned),
            )

    def at(self, level: float, layers: Sequence[str]) -> PruningMethod:
        """The method at a level, on these layers."""
        if self.method is None:
            return MagnitudePruning(level=level, layers=_exactly(layers))
        return msgspec.structs.replace(self.method, level=level, layers=_exactly(layers))

    @cached_property
    def _dense(self) -> Evaluation | None:
        return None if self.data is None else evaluate(self.model, self.data)

    def _measured(self, pruned: nn.Module) -> dict[str, PerformanceDifference]:
        if self.data is None or self._dense is None:
            return {}
        return difference_between(self._dense, evaluate(pruned, self.data), resamples=0)


def _exactly(names: Sequence[str]) -> LayerSelection:
    """The selection of these names and no others."""
    return LayerSelection.of([_literal(name) for name in names])


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _checked(tolerance: float, levels: Sequence[float], bound: str, confidence: float) -> list[float]:
    found = list(levels)
    if not tolerance > 0:
        raise TheoryError(f"tolerance is {tolerance}; expected a positive number, for example 0.02")
    if not found or any(not 0 <= level <= 1 for level in found) or sorted(set(found)) != found:
        raise TheoryError(f"levels are {found}; expected increasing numbers in [0, 1]")
    if bound not in ("predictive", "corrected"):
        raise TheoryError(f"bound is {bound!r}; expected 'predictive' or 'corrected'")
    if not 0 < confidence < 1:
        raise TheoryError(f"confidence is {confidence}; expected a number between 0 and 1")
    return found


class _Counter:
    """Tells how many networks are done."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def counting(self, points: Iterator[SparsityPoint]) -> Iterator[SparsityPoint]:
        for point in points:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)
            yield point
