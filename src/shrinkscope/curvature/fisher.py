"""Diagonal of the Fisher information of every layer's weight, from unlabelled inputs in one pass."""

from collections.abc import Callable
from typing import Protocol

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.label_gradients import Labels, label_gradients
from shrinkscope.curvature.layout import stored
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.opened import opened_copy
from shrinkscope.curvature.recorder import Use
from shrinkscope.curvature.watched import UNSEEN, WatchedLayer, passed_over, watched_layers
from shrinkscope.errors import CurvatureError
from shrinkscope.latent import DiagonalPrecision, Precisions
from shrinkscope.performance.data import Inputs
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Kind, Reading
from shrinkscope.weights import LayersLike


class FisherDiagonal(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Mean squares of the gradients of log p(y|x), y predicted: a partial statistic, so that workers share the inputs.

    Attributes:
        sums: Name of a weight → sum over inputs of the squares, float64, of the weight's shape.
        names: Name of a weight → all its names.
        absent: Name of a parameter → why it has none.
        samples: Number of the network's inputs.
        draws: Labels drawn for each input (each position of a sequence); None for the expectation over all labels.
        kind: What the outputs predict.
        scale: Standard deviation of a regression's prediction; None for classes and tokens.
    """

    sums: dict[str, Tensor]
    names: dict[str, tuple[str, ...]]
    absent: dict[str, str]
    samples: int
    draws: int | None
    kind: Kind = "classes"
    scale: float | None = None

    def merge(self, other: "FisherDiagonal") -> "FisherDiagonal":
        """That over the inputs of both.

        Args:
            other: Of the same network, layers and number of draws, over other inputs.

        Raises:
            CurvatureError: If they do not belong together.
        """
        if {n: s.shape for n, s in self.sums.items()} != {n: s.shape for n, s in other.sums.items()}:
            raise CurvatureError("Fisher information of different layers cannot be merged; gather both with the same")
        check_same_labels(self, other)
        sums = {name: total + other.sums[name] for name, total in self.sums.items()}
        # What one worker's inputs did not reach, another's may have.
        both = self.absent.keys() & other.absent.keys()
        joined = {**other.absent, **self.absent}
        absent = {name: why for name, why in joined.items() if name in both or why != UNSEEN}
        return msgspec.structs.replace(self, sums=sums, samples=self.samples + other.samples, absent=absent)

    def value(self, layer: str) -> Tensor:
        """E_x E_y (∂ log p(y|x)/∂w)² of each weight w of a layer, in nats (per token) per squared weight unit.

        Args:
            layer: Name of its weight.
        """
        return self.sums[layer] / self.samples

    def precisions(self) -> Precisions:
        """Σ⁻¹ = the diagonal Fisher information of one input's prediction, named ``fisher``."""
        layers = {
            alias: DiagonalPrecision(self.value(name))
            for name in self.sums
            if name not in self.absent
            for alias in self.names[name]
        }
        return Precisions("fisher", layers, self.absent, f"diagonal Fisher of {self.samples:,} {labels_in_words(self)}")


class Labelled(Protocol):
    """A statistic over labels that a network predicts."""

    @property
    def draws(self) -> int | None:
        """Labels drawn for each input."""
        ...

    @property
    def kind(self) -> Kind:
        """What the outputs predict."""
        ...

    @property
    def scale(self) -> float | None:
        """Standard deviation of a regression's prediction."""
        ...


def check_same_labels(one: Labelled, other: Labelled) -> None:
    """Refuse to merge statistics over labels of different kinds.

    Args:
        one: A statistic.
        other: Another.

    Raises:
        CurvatureError: If the draws, the kind or the scale differ.
    """
    for name in ("draws", "kind", "scale"):
        own, others = getattr(one, name), getattr(other, name)
        if own != others:
            raise CurvatureError(f"{name} = {own} and {others} cannot be merged; gather both with the same")


def labels_in_words(statistic: Labelled) -> str:
    """What the labels are, after a number: ``"inputs, expected labels"``."""
    inputs = {"classes": "inputs", "tokens": "sequences", "regression": "inputs"}[statistic.kind]
    spread = "" if statistic.scale is None else f" of N(f(x), {statistic.scale:g}²)"
    if statistic.draws is None:
        return f"{inputs}, expected labels{spread}"
    return f"{inputs}, labels{spread} drawn for each: {statistic.draws}"


def fisher_diagonal(
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
) -> FisherDiagonal:
    """The diagonal of the Fisher information of a network's prediction, in evaluation mode, in one pass.

    Gradients are those of single inputs, summed over positions and over all uses of a weight, and only then squared.
    The prediction is p(class|x), or N(f(x), s²I) of a regression. For tokens it is that of one position, the mean over
    the positions of a sequence: half the quadratic form is in nats per token, like ``predictive_divergence``.

    Args:
        model: The network; unchanged. ``nn.MultiheadAttention`` is taken apart in a copy, so that its projections have
            values too.
        inputs: As for ``input_moments``; no labels are looked at.
        kind: What the outputs predict: ``classes``, ``tokens`` or ``regression``. None tells from their shape: three
            dimensions are tokens, two are classes, or numbers if a scale is given.
        scale: s of a regression, in the unit of the outputs: ``residual_scale(model, data)`` estimates it.
        padding: Token id that marks positions that do not count.
        outputs: Finds the tensor of scores in what the network returns; None takes a tensor, or the one called
            ``logits``.
        draws: Labels drawn from the network's own predictive distribution for each input (and position), one backward
            pass each; None for the expectation over all labels, without sampling noise: a backward pass a class, an
            output of a regression, or a position and token.
        generator: Source of the labels; seed 0 when None. Workers take different ones.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor; None takes 64, or as many sequences as make
            2,048 tokens.
        memory_limit: Bytes that the sums, and the activations of a batch, may take each; what is available when None.
        progress: Called after each batch with the number of inputs done.

    Returns:
        The diagonal; merge those of workers.

    Raises:
        CurvatureError: If weights or outputs are not finite, the outputs are no predictions of that kind, or memory
            does not suffice.
        DataError: If the inputs or the options do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Amari (1998); labels from the model, not from the data: Kunstner et al. (2019).
    """
    plain = opened_copy(model)
    watched, absent = watched_layers(plain, layers)
    device = next(plain.parameters()).device
    _check_fits(watched, memory_limit, device)
    sums = {name: torch.zeros(layer.shape, dtype=torch.float64, device=device) for name, layer in watched.items()}
    unfit = dict.fromkeys(watched, UNSEEN)

    def receive(uses: dict[str, list[Use]], samples: int, first: bool) -> None:
        for name, calls in uses.items():
            if first and calls:
                _judge(unfit, name, calls)
            if calls and name not in unfit:
                for sample in range(samples):
                    gradient = _gradient(watched[name], [use.single(sample) for use in calls])
                    sums[name] += stored(gradient.square_(), watched[name].kernel).reshape(sums[name].shape)

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
    absent |= {alias: reason for name, reason in unfit.items() for alias in watched[name].names} | passed_over(watched)
    names = {name: layer.names for name, layer in watched.items()}
    return FisherDiagonal(sums=sums, names=names, absent=absent, samples=samples, draws=draws, kind=found, scale=scale)


def _judge(unfit: dict[str, str], name: str, calls: list[Use]) -> None:
    """Say of a layer whether one can tell which part of its calls belongs to which input."""
    wrong = next((use for use in calls if use.axis is None), None)
    if wrong is not None:
        unfit[name] = (
            f"called with {len(wrong.inputs)} rows for {wrong.samples} inputs: the gradients of single inputs cannot "
            "be told"
        )
    elif unfit.get(name) == UNSEEN:
        del unfit[name]


def _gradient(layer: WatchedLayer, calls: list[Use]) -> Tensor:
    """Gradient of one sample's log p in the matrix of a layer, float64, shape (groups, outputs, columns)."""
    device = calls[0].gradient.device
    total = torch.zeros(layer.groups, layer.outputs, layer.columns, dtype=torch.float64, device=device)
    for use in calls:
        rows = torch.cat(use.rows(), dim=1).to(torch.float64)
        own = total if use.tap.group is None else total[use.tap.group : use.tap.group + 1]
        own += use.vectors().to(torch.float64).mT @ rows
    return total


def _check_fits(watched: dict[str, WatchedLayer], memory_limit: int | None, device: torch.device) -> None:
    sizes = [layer.groups * layer.outputs * layer.columns for layer in watched.values()]
    check_memory(
        f"the diagonal Fisher information of {len(watched)} layers",
        8 * (sum(sizes) + 3 * max(sizes, default=0)),
        memory_limit,
        device,
        "take fewer layers",
    )
