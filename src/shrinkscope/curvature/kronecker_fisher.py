"""Kronecker-factored Fisher information (K-FAC) of every layer's weight, from unlabelled inputs in one pass."""

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.fisher import check_same_labels, labels_in_words
from shrinkscope.curvature.label_gradients import Labels, label_gradients
from shrinkscope.curvature.layer_rows import CHUNK_ENTRIES
from shrinkscope.curvature.layout import in_stored_order
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.opened import opened_copy
from shrinkscope.curvature.recorder import Use
from shrinkscope.curvature.second_moment import SecondMoment
from shrinkscope.curvature.watched import UNSEEN, WatchedLayer, passed_over, watched_layers
from shrinkscope.errors import CurvatureError
from shrinkscope.latent import KroneckerPrecision, Precisions
from shrinkscope.performance.data import Inputs
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Kind, Reading
from shrinkscope.weights import LayersLike


class KroneckerFactors(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Sums behind the two factors of one layer.

    Attributes:
        inputs: Of xxᵀ over inputs and positions.
        gradients: Of ggᵀ over inputs, positions and labels, weighted by the labels' probabilities.
        names: All names of the weight.
        kernel: Kernel positions of a transposed convolution; None for every other layer.
    """

    inputs: SecondMoment
    gradients: SecondMoment
    names: tuple[str, ...]
    kernel: int | None = None

    def merge(self, other: "KroneckerFactors") -> "KroneckerFactors":
        """Those over the inputs of both."""
        inputs, gradients = self.inputs.merge(other.inputs), self.gradients.merge(other.gradients)
        return msgspec.structs.replace(self, inputs=inputs, gradients=gradients)


class KroneckerFisher(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Kronecker factors of the Fisher information: a partial statistic, so that workers share the inputs.

    Attributes:
        layers: Name of a weight → sums.
        absent: Name of a parameter → why it has none.
        samples: Number of the network's inputs.
        draws: Labels drawn for each input (each position of a sequence); None for the expectation over all labels.
        kind: What the outputs predict.
        scale: Standard deviation of a regression's prediction; None for classes and tokens.
    """

    layers: dict[str, KroneckerFactors]
    absent: dict[str, str]
    samples: int
    draws: int | None
    kind: Kind = "classes"
    scale: float | None = None

    def merge(self, other: "KroneckerFisher") -> "KroneckerFisher":
        """Those over the inputs of both.

        Args:
            other: Of the same network, layers and number of draws, over other inputs.

        Raises:
            CurvatureError: If they do not belong together.
        """
        if self.layers.keys() != other.layers.keys():
            raise CurvatureError(
                f"Kronecker factors of {len(self.layers)} layers and {len(other.layers)} layers cannot be merged; "
                "gather both with the same network and layers"
            )
        check_same_labels(self, other)
        layers = {name: factors.merge(other.layers[name]) for name, factors in self.layers.items()}
        return msgspec.structs.replace(self, layers=layers, samples=self.samples + other.samples)

    def value(self, layer: str) -> tuple[Tensor, Tensor]:
        """A and G of a layer: F ≈ G ⊗ A, in nats (per token) per squared weight unit.

        Args:
            layer: Name of its weight.

        Returns:
            A = E[xxᵀ] over inputs and positions, shape (groups, columns, columns); G = E[Σ ggᵀ], the mean over inputs
            of the sum over positions, shape (groups, outputs, outputs); both float64.
        """
        factors = self.layers[layer]
        return factors.inputs.mean()[:, 0], factors.gradients.sums[:, 0] / self.samples

    def precisions(self) -> Precisions:
        """Σ⁻¹ = G ⊗ A of each layer, for each group of its outputs, named ``kfac``."""
        layers, absent = {}, dict(self.absent)
        for name, factors in self.layers.items():
            if not any(factors.inputs.vectors):
                absent |= dict.fromkeys(factors.names, UNSEEN)
                continue
            right, left = self.value(name)
            precision = KroneckerPrecision(right.unsqueeze(1), left.shape[1], left)
            found = in_stored_order(precision, len(left), left.shape[1], factors.kernel)
            layers |= dict.fromkeys(factors.names, found)
        return Precisions("kfac", layers, absent, f"K-FAC (expand) of {self.samples:,} {labels_in_words(self)}")


def kronecker_fisher(
    model: nn.Module,
    inputs: Inputs,
    *,
    kind: Kind | None = None,
    scale: float | None = None,
    padding: int | None = None,
    outputs: Outputs | None = None,
    draws: int | None = 1,
    generator: torch.Generator | None = None,
    layers: LayersLike = None,
    batch_size: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> KroneckerFisher:
    """Kronecker factors of the Fisher information of a network's prediction, in evaluation mode, in one pass.

    F ≈ G ⊗ A with A = E[xxᵀ] of the layer's inputs and G = E[ggᵀ] of the gradients of log p(y|x) in its outputs. Where
    a weight is shared over positions, they are taken for independent inputs (the *expand* convention): A is a mean over
    inputs and positions, G a mean over inputs of the sum over positions. Exact for a linear layer with one position
    whose inputs and gradients are independent. The predictions are those of ``fisher_diagonal``. Padding is left out of
    the predictions alone: a padded position still is an input of the layers, and counts in A.

    Args:
        model: As for ``fisher_diagonal``.
        inputs: As for ``input_moments``; no labels are looked at.
        kind: As for ``fisher_diagonal``, and so the next three.
        scale: Of a regression.
        padding: Token id.
        outputs: Finds the scores.
        draws: As for ``fisher_diagonal``.
        generator: Source of the labels; seed 0 when None. Workers take different ones.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: As for ``fisher_diagonal``.
        memory_limit: Bytes that the factors, and the activations of a batch, may take each; what is available when
            None.
        progress: Called after each batch with the number of inputs done.

    Returns:
        The factors; merge those of workers.

    Raises:
        CurvatureError: As for ``fisher_diagonal``.
        DataError: If the inputs or the options do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Martens & Grosse (2015); Grosse & Martens (2016) for convolutions; *expand* as named by Eschenhagen et al.
        (2023). Tested against curvlinops.
    """
    plain = opened_copy(model)
    watched, absent = watched_layers(plain, layers)
    device = next(plain.parameters()).device
    _check_fits(watched, memory_limit, device)
    inside, outside = (
        {name: SecondMoment.empty(layer.groups, size(layer), size(layer), device) for name, layer in watched.items()}
        for size in (lambda layer: layer.columns, lambda layer: layer.outputs)
    )

    def receive(uses: dict[str, list[Use]], samples: int, first: bool) -> None:
        for name, calls in uses.items():
            for use in calls:
                for rows in use.rows() if first else ():
                    inside[name] = inside[name].update(rows, use.tap.group)
                outside[name] = outside[name].update(use.vectors(), use.tap.group)

    reading = Reading(kind=kind, scale=scale, padding=padding, outputs=outputs)
    labels = Labels(
        reading=reading,
        draws=draws,
        generator=generator,
        batch_size=batch_size,
        memory_limit=memory_limit,
        progress=progress,
    )
    samples, found = label_gradients(plain, watched, inputs, labels, receive)
    lost = passed_over(watched)
    factors = {
        name: KroneckerFactors(inputs=inside[name], gradients=outside[name], names=layer.names, kernel=layer.kernel)
        for name, layer in watched.items()
        if not lost.keys() & set(layer.names)
    }
    absent |= lost
    return KroneckerFisher(layers=factors, absent=absent, samples=samples, draws=draws, kind=found, scale=scale)


def _check_fits(watched: dict[str, WatchedLayer], memory_limit: int | None, device: torch.device) -> None:
    sizes = [layer.groups * size**2 for layer in watched.values() for size in (layer.columns, layer.outputs)]
    check_memory(
        f"the Kronecker factors of {len(watched)} layers",
        8 * (sum(sizes) + 2 * max(sizes, default=0) + 2 * CHUNK_ENTRIES),
        memory_limit,
        device,
        "take fewer layers, or fisher_diagonal",
    )
