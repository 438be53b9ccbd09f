"""Random pruning: remove weights drawn with equal probability, the baseline that knows nothing."""

from collections.abc import Mapping
from functools import partial

import msgspec
import torch
from torch import Tensor

from shrinkscope.compression.checks import as_fraction, as_layers, check_choice, check_floating, percent, where
from shrinkscope.compression.mask import Mask
from shrinkscope.compression.ranking import Scores
from shrinkscope.compression.scope import SCOPES, Scope, removed_in_scope, selected
from shrinkscope.errors import CompressionError
from shrinkscope.weights import LayersLike


class RandomPruning(
    msgspec.Struct, frozen=True, kw_only=True, tag="random", tag_field="kind", forbid_unknown_fields=True
):
    """Removes single weights at random, every subset of the exact size being equally likely.

    Attributes:
        level: Fraction of weights to remove, in [0, 1].
        scope: ``layer``: this fraction of every layer; ``global``: of all layers together; ``last``: of the last
            selected layer alone.
        layers: Which layers (globs or a LayerSelection); all of them by default.

    Raises:
        CompressionError: If an option is out of range.

    Examples:
        >>> str(RandomPruning(level=0.3, scope="last"))
        'random 30 % (last)'
    """

    level: float
    scope: Scope = "layer"
    layers: LayersLike = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "level", as_fraction("level", self.level))
        msgspec.structs.force_setattr(self, "layers", as_layers(self.layers))
        check_choice("scope", self.scope, SCOPES)

    def __str__(self) -> str:
        return f"random {percent(self.level)} ({self.scope}{where(self.layers)})"

    def mask(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Mask:
        """A random mask that removes exactly the asked number of weights.

        Args:
            weights: Layer → weight, in the order of registration.
            generator: Source of randomness, required: it alone decides the mask, on any device, and is advanced.

        Returns:
            A mask of the selected layers.

        Raises:
            CompressionError: If there is no generator, or a selected weight is not floating point.
            SelectionError: If no layer is selected.
        """
        chosen = selected(weights, self.layers, self.scope)
        for name, weight in chosen.items():
            check_floating(name, weight)
        scores = random_scores({name: weight.numel() for name, weight in chosen.items()}, generator)
        removed = removed_in_scope(scores, self.level, self.scope, "lowest")
        return Mask({name: ~removed[name].view(weight.shape) for name, weight in chosen.items()})

    def compress(self, weights: Mapping[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weights with those outside ``mask(weights)`` set to zero; layers not selected are the same tensors."""
        return self.mask(weights, generator).applied_to(weights)


def random_scores(sizes: Mapping[str, int], generator: torch.Generator | None) -> dict[str, Scores]:
    """Uniform scores for each layer, whose ranking is a random permutation.

    Args:
        sizes: Layer → number of scores.
        generator: Source of randomness; gives one seed to each layer, so that scores can be drawn again when they are
            read again instead of being held for all layers at once.

    Returns:
        Layer → scores on the CPU.

    Raises:
        CompressionError: If there is no generator.
    """
    if generator is None:
        raise CompressionError(
            "random pruning needs a generator: pass generator=torch.Generator().manual_seed(0), "
            "so that the same mask can be drawn again"
        )
    scores = {}
    for name, size in sizes.items():
        seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
        scores[name] = Scores(size=size, read=partial(_draw, size, seed))
    return scores


def _draw(size: int, seed: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
