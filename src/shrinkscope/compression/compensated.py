"""Pruning in which the weights that stay make up for those that go, as far as the data let them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import (
    as_fraction,
    as_integer,
    as_layers,
    check_choice,
    check_finite,
    percent,
    where,
)
from shrinkscope.compression.informed import precision_of
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.ranking import Scores
from shrinkscope.compression.removal_path import RemovalPath
from shrinkscope.compression.scope import SCOPES, Scope, removed_in_scope, selected
from shrinkscope.errors import CompressionError, LatentError
from shrinkscope.latent import Precision, Precisions
from shrinkscope.weights import LayersLike


class CompensatedPruning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Removes the weights whose loss the others make up for best, and lets them: the kept weights of least AP3.

    For the weights that stay this is the optimum in closed form, a Cholesky decomposition for each row of the weight.
    Which weights go is decided by what each would cost alone, in as many rounds as asked for, the others having made up
    for those that went before.

    Attributes:
        level: Fraction of weights to remove, in [0, 1].
        precisions: Σ⁻¹ of each layer, from ``input_moments(…).precisions()``; blocks of columns cost less.
        scope: As for ``MagnitudePruning``.
        damping: Added to the diagonal of Σ⁻¹, as a multiple of its mean; of a block that is all zero, of the mean over
            all blocks. AP3 is that of the damped Σ.
        rounds: Rounds in which the weights go. Each costs about rows · columns³ operations a layer.
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If an option is out of range.

    Examples:
        >>> from shrinkscope.latent import KroneckerPrecision
        >>> moment = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)  # the two inputs are much alike
        >>> seen = Precisions("input", {"fc.weight": KroneckerPrecision(moment[None, None], 1)}, {}, "two inputs")
        >>> method = CompensatedPruning(level=0.5, precisions=seen, damping=0.0)
        >>> pruned = method.compress({"fc.weight": torch.tensor([[2.0, 1.0]])})["fc.weight"]
        >>> [f"{value:.1f}" for value in pruned[0].tolist()]
        ['2.9', '0.0']

    Source: Hassibi & Stork (1993), optimal brain surgeon; Frantar & Alistarh (2022, 2023) for layers of today's size.
        tests/compression/test_compensated.py against least squares.
    """

    level: float
    precisions: Precisions
    scope: Scope = "layer"
    damping: float = 0.01
    rounds: int = 1
    layers: LayersLike = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "level", as_fraction("level", self.level))
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        msgspec.structs.force_setattr(self, "rounds", as_integer("rounds", self.rounds, 1))
        check_choice("scope", self.scope, SCOPES)
        _check_damping(self.damping)

    def __str__(self) -> str:
        return f"compensated {self.precisions.name} {percent(self.level)} ({self.scope}{where(self.layers)})"

    def mask(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Mask:
        """The mask that removes exactly the asked number of weights.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Not used; every method takes one.

        Returns:
            A mask of the selected layers.

        Raises:
            CompressionError: If a selected weight has NaN or infinite values or is not floating point, or its Σ⁻¹ is
                missing, couples rows, or is singular.
            SelectionError: If no layer is selected.
        """
        return self._solved(weights)[0]

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights with those outside ``mask(weights)`` at zero and the others moved; other layers unchanged."""
        return self._solved(weights)[1]

    def compressed_with_mask(self, weights: Mapping[str, Tensor]) -> tuple[Mask, dict[str, Tensor]]:
        """``mask(weights)`` and ``compress(weights)``, computed once."""
        return self._solved(weights)

    def _solved(self, weights: Mapping[str, Tensor]) -> tuple[Mask, dict[str, Tensor]]:
        chosen = selected(weights, self.layers, self.scope)

        def removed(scores: Mapping[str, Scores], share: float) -> dict[str, Tensor]:
            return removed_in_scope(scores, share * self.level, self.scope, "lowest")

        mask, moved = _in_rounds(chosen, removed, self.precisions, self.damping, self.rounds)
        return mask, {**weights, **moved}


def compensate(
    weights: Mapping[str, Tensor], mask: Mask, precisions: Precisions, *, damping: float = 0.01
) -> dict[str, Tensor]:
    """The weights of least AP3 among those that are zero where a mask removes: what is kept makes up for what goes.

    Args:
        weights: Layer → weight.
        mask: Which weights are kept, however that was decided; its layers are changed, others are the same tensors.
        precisions: Σ⁻¹ of each of its layers, from ``input_moments(…).precisions()``.
        damping: Added to the diagonal of Σ⁻¹, as a multiple of its mean.

    Returns:
        Layer → weight, exactly zero where the mask removes; types and devices as given.

    Raises:
        CompressionError: If a layer of the mask is missing or has another shape, a weight has NaN or infinite values,
            or its Σ⁻¹ is missing, couples rows, or is singular.

    Source: Hassibi & Stork (1993); tests/compression/test_compensated.py against least squares.
    """
    _check_damping(damping)
    mask.applied_to(weights)  # for its checks of names and shapes
    moved = {}
    for name, kept in mask.items():
        layer = _Layer(name, weights[name], precisions, damping)
        layer.remove(~kept.reshape(-1))
        moved[name] = layer.like(weights[name])
    return {**weights, **moved}


def compensated_to_counts(
    weights: Mapping[str, Tensor], counts: Mapping[str, int], precisions: Precisions, *, damping: float = 0.01
) -> tuple[Mask, dict[str, Tensor]]:
    """What ``CompensatedPruning`` does, with the number of weights that go given for each layer.

    They go in the order of ``compensated_path``.

    Args:
        weights: Layer → weight.
        counts: Layer → number of its weights to remove; layers that it does not name stay as they are.
        precisions: Σ⁻¹ of each layer that loses weights.
        damping: As for ``CompensatedPruning``.

    Returns:
        The mask, and all weights.

    Raises:
        CompressionError: As for ``compensate``.
    """
    _check_damping(damping)
    kept = {name: torch.ones(weights[name].shape, dtype=torch.bool) for name in counts}
    moved = {}
    for name, count in counts.items():
        if count:
            layer = _Layer(name, weights[name], precisions, damping)
            layer.remove(layer.turns() < count)
            kept[name], moved[name] = layer.kept.view(kept[name].shape), layer.like(weights[name])
    return Mask(kept), {**weights, **moved}


def compensated_path(name: str, weight: Tensor, precisions: Precisions, *, damping: float = 0.01) -> RemovalPath:
    """One layer from dense to empty, always those weights going that the others can make up for best.

    Args:
        name: The layer.
        weight: Its weight.
        precisions: Σ⁻¹ of the layers.
        damping: As for ``CompensatedPruning``.

    Returns:
        The path, with the best kept weights for every sixth of what is left.

    Raises:
        CompressionError: As for ``compensate``.
    """
    _check_damping(damping)
    layer = _Layer(name, weight, precisions, damping)
    turns, counts = layer.turns(), _ladder(weight.numel())
    rungs = dict(zip(counts, layer.along(turns, counts).to(weight.device, weight.dtype), strict=True))

    def solve(kept: Tensor) -> Tensor:
        layer.remove(~kept)
        return layer.like(weight).flatten()

    return RemovalPath(weight, turns.argsort().to(weight.device), rungs, solve)


def _ladder(size: int) -> list[int]:
    """Numbers of weights removed at which the kept ones are solved for: every sixth of what is left, down to 1 %."""
    rungs, share = [], 5 / 6
    while share > 0.01:
        rungs.append(size - round(share * size))
        share *= 5 / 6
    return sorted(set(rungs) - {0, size})


def _in_rounds(
    weights: Mapping[str, Tensor],
    removed: Callable[[Mapping[str, Scores], float], dict[str, Tensor]],
    precisions: Precisions,
    damping: float,
    rounds: int,
) -> tuple[Mask, dict[str, Tensor]]:
    """The weights that go, ever more of them up to all, and those that stay, solved for after each round."""
    layers = {name: _Layer(name, weight, precisions, damping) for name, weight in weights.items()}
    for number in range(1, rounds + 1):
        scores = {name: Scores(size=layer.kept.numel(), read=layer.costs) for name, layer in layers.items()}
        for name, gone in removed(scores, number / rounds).items():
            layers[name].remove(gone)
    kept = Mask({name: layers[name].kept.view(weight.shape) for name, weight in weights.items()})
    return kept, {name: layers[name].like(weight) for name, weight in weights.items()}


class _Layer:
    """One layer on the way: what is kept, and the best weights with it."""

    def __init__(self, name: str, weight: Tensor, precisions: Precisions, damping: float) -> None:
        check_finite(name, weight)
        self.name, self.damping = name, damping
        self.precision: Precision = precision_of(precisions, name, weight)
        self.whole = weight.detach().reshape(-1).to("cpu", torch.float64)
        self.found, self.kept = self.whole, torch.ones(weight.numel(), dtype=torch.bool)
        self._costs: Tensor | None = None

    def costs(self) -> Tensor:
        if self._costs is None:
            with _explained(self.name):
                self._costs = self.precision.removal_costs(self.found, self.kept, self.damping)
        return self._costs

    def remove(self, removed: Tensor) -> None:
        self.kept = ~removed
        with _explained(self.name):
            self.found = self.precision.nearest(self.whole, self.kept, self.damping)
        self._costs = None

    def turns(self) -> Tensor:
        """When each weight goes, from 0 on, if always the one goes that the others can make up for best."""
        with _explained(self.name):
            keys = self.precision.removal_keys(self.whole, self.damping)
        turns = torch.empty(len(keys), dtype=torch.int64)
        turns[keys.argsort(stable=True)] = torch.arange(len(keys))
        return turns

    def along(self, turns: Tensor, counts: Sequence[int]) -> Tensor:
        """The best weights, flat, after so many turns, for each of these numbers."""
        with _explained(self.name):
            return self.precision.nearest_along(self.whole, turns, counts, self.damping)

    def like(self, weight: Tensor) -> Tensor:
        """What was found, in the shape, type and place of a weight."""
        return self.found.view(weight.shape).to(weight.device, weight.dtype)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say of which layer an error of its Σ⁻¹ is."""
    try:
        yield
    except LatentError as error:
        raise CompressionError(f"{name}: {error}") from error


def _check_damping(damping: float) -> None:
    if not 0 <= damping < math.inf:
        raise CompressionError(f"damping is {damping!r}; expected a finite number, at least 0")
