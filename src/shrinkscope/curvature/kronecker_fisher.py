"""Kronecker-factored Fisher information (K-FAC) of every layer's weight, from unlabelled inputs in one pass."""

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.label_gradients import FUSED, Use, label_gradients
from shrinkscope.curvature.layer_rows import CHUNK_ENTRIES
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.second_moment import SecondMoment
from shrinkscope.curvature.snapshot import plain_copy
from shrinkscope.curvature.watched import UNSEEN, WatchedLayer, seen_outputs, watched_layers
from shrinkscope.errors import CurvatureError
from shrinkscope.latent import KroneckerPrecision, Precisions
from shrinkscope.performance.bootstrap import default_generator
from shrinkscope.performance.data import Inputs
from shrinkscope.weights import LayersLike


class KroneckerFactors(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Sums behind the two factors of one layer.

    Attributes:
        inputs: Of xxᵀ over inputs and positions.
        gradients: Of ggᵀ over inputs, positions and labels, weighted by the labels' probabilities.
        names: All names of the weight.
    """

    inputs: SecondMoment
    gradients: SecondMoment
    names: tuple[str, ...]

    def merge(self, other: "KroneckerFactors") -> "KroneckerFactors":
        """Those over the inputs of both."""
        return KroneckerFactors(
            inputs=self.inputs.merge(other.inputs), gradients=self.gradients.merge(other.gradients), names=self.names
        )


class KroneckerFisher(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Kronecker factors of the Fisher information: a partial statistic, so that workers share the inputs.

    Attributes:
        layers: Name of a weight → sums.
        absent: Name of a parameter → why it has none.
        samples: Number of the network's inputs.
        draws: Labels drawn for each input; None for the expectation over all classes.
    """

    layers: dict[str, KroneckerFactors]
    absent: dict[str, str]
    samples: int
    draws: int | None

    def merge(self, other: "KroneckerFisher") -> "KroneckerFisher":
        """Those over the inputs of both.

        Args:
            other: Of the same network, layers and number of draws, over other inputs.

        Raises:
            CurvatureError: If they do not belong together.
        """
        if self.layers.keys() != other.layers.keys() or self.draws != other.draws:
            raise CurvatureError(
                f"{len(self.layers)} layers with draws = {self.draws} and {len(other.layers)} layers with draws = "
                f"{other.draws} cannot be merged; gather both with the same layers and draws"
            )
        layers = {name: factors.merge(other.layers[name]) for name, factors in self.layers.items()}
        return msgspec.structs.replace(self, layers=layers, samples=self.samples + other.samples)

    def value(self, layer: str) -> tuple[Tensor, Tensor]:
        """A and G of a layer: F ≈ G ⊗ A, in nats per squared weight unit.

        Args:
            layer: Name of its weight.

        Returns:
            A = E[xxᵀ] over inputs and positions, shape (groups, columns, columns); G = E[Σ ggᵀ], the mean over inputs
            of the sum over positions, shape (groups, outputs, outputs); both float64.
        """
        factors = self.layers[layer]
        return factors.inputs.sums[:, 0] / factors.inputs.vectors, factors.gradients.sums[:, 0] / self.samples

    def precisions(self) -> Precisions:
        """Σ⁻¹ = G ⊗ A of each layer, for each group of its outputs, named ``kfac``."""
        layers, absent = {}, dict(self.absent)
        for name, factors in self.layers.items():
            if factors.inputs.vectors == 0:
                absent |= dict.fromkeys(factors.names, UNSEEN)
                continue
            right, left = self.value(name)
            layers |= dict.fromkeys(factors.names, KroneckerPrecision(right.unsqueeze(1), left.shape[1], left))
        labels = "expected labels" if self.draws is None else f"labels drawn for each: {self.draws}"
        return Precisions("kfac", layers, absent, f"K-FAC (expand) of {self.samples:,} inputs, {labels}")


def kronecker_fisher(
    model: nn.Module,
    inputs: Inputs,
    *,
    draws: int | None = 1,
    generator: torch.Generator | None = None,
    layers: LayersLike = None,
    batch_size: int = 64,
    memory_limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> KroneckerFisher:
    """Kronecker factors of the Fisher information of a classifier's prediction, in evaluation mode, in one pass.

    F ≈ G ⊗ A with A = E[xxᵀ] of the layer's inputs and G = E[ggᵀ] of the gradients of log p(y|x) in its outputs. Where
    a weight is shared over positions, they are taken for independent inputs (the *expand* convention): A is a mean over
    inputs and positions, G a mean over inputs of the sum over positions. Exact for a linear layer with one position
    whose inputs and gradients are independent.

    Args:
        model: The network, which returns logits of shape (inputs, classes); unchanged.
        inputs: As for ``input_moments``; no labels are looked at.
        draws: As for ``fisher_diagonal``.
        generator: Source of the labels; seed 0 when None.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor.
        memory_limit: Bytes that the factors, and the activations of a batch, may take each; what is available when
            None.
        progress: Called after each batch with the number of inputs done.

    Returns:
        The factors; merge those of workers.

    Raises:
        CurvatureError: As for ``fisher_diagonal``.
        DataError: If the inputs do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Martens & Grosse (2015); Grosse & Martens (2016) for convolutions; *expand* as named by Eschenhagen et al.
        (2023). Tested against curvlinops.
    """
    plain = plain_copy(model)
    watched, absent = seen_outputs(*watched_layers(plain, layers), FUSED)
    device = next(plain.parameters()).device
    _check_fits(watched, memory_limit, device)
    inside, outside = (
        {name: SecondMoment.empty(layer.groups, size(layer), size(layer), device) for name, layer in watched.items()}
        for size in (lambda layer: layer.columns, lambda layer: layer.outputs)
    )

    def receive(uses: dict[str, list[Use]], samples: int, first: bool) -> None:
        for name, calls in uses.items():
            for use in calls:
                for rows in use.rows(use.module, (use.inputs,), {}) if first else ():
                    inside[name] = inside[name].update(rows)
                outside[name] = outside[name].update(use.vectors())

    samples = label_gradients(
        plain,
        watched,
        inputs,
        receive,
        draws=draws,
        generator=default_generator() if generator is None else generator,
        batch_size=batch_size,
        memory_limit=memory_limit,
        progress=progress,
    )
    factors = {
        name: KroneckerFactors(inputs=inside[name], gradients=outside[name], names=layer.names)
        for name, layer in watched.items()
    }
    return KroneckerFisher(layers=factors, absent=absent, samples=samples, draws=draws)


def _check_fits(watched: dict[str, WatchedLayer], memory_limit: int | None, device: torch.device) -> None:
    sizes = [layer.groups * size**2 for layer in watched.values() for size in (layer.columns, layer.outputs)]
    check_memory(
        f"the Kronecker factors of {len(watched)} layers",
        8 * (sum(sizes) + 2 * max(sizes, default=0) + 2 * CHUNK_ENTRIES),
        memory_limit,
        device,
        "take fewer layers, or fisher_diagonal",
    )
