"""Diagonal of the Fisher information of every layer's weight, from unlabelled inputs in one pass."""

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.label_gradients import FUSED, Use, label_gradients
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.snapshot import plain_copy
from shrinkscope.curvature.watched import UNSEEN, WatchedLayer, seen_outputs, watched_layers
from shrinkscope.errors import CurvatureError
from shrinkscope.latent import DiagonalPrecision, Precisions
from shrinkscope.performance.bootstrap import default_generator
from shrinkscope.performance.data import Inputs
from shrinkscope.weights import LayersLike


class FisherDiagonal(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Mean squares of the gradients of log p(y|x), y predicted: a partial statistic, so that workers share the inputs.

    Attributes:
        sums: Name of a weight → sum over inputs of the squares, float64, of the weight's shape.
        names: Name of a weight → all its names.
        absent: Name of a parameter → why it has none.
        samples: Number of the network's inputs.
        draws: Labels drawn for each input; None for the expectation over all classes.
    """

    sums: dict[str, Tensor]
    names: dict[str, tuple[str, ...]]
    absent: dict[str, str]
    samples: int
    draws: int | None

    def merge(self, other: "FisherDiagonal") -> "FisherDiagonal":
        """That over the inputs of both.

        Args:
            other: Of the same network, layers and number of draws, over other inputs.

        Raises:
            CurvatureError: If they do not belong together.
        """
        if {n: s.shape for n, s in self.sums.items()} != {n: s.shape for n, s in other.sums.items()}:
            raise CurvatureError("Fisher information of different layers cannot be merged; gather both with the same")
        if self.draws != other.draws:
            raise CurvatureError(f"draws = {self.draws} and {other.draws} cannot be merged; gather both with the same")
        sums = {name: total + other.sums[name] for name, total in self.sums.items()}
        # What one worker's inputs did not reach, another's may have.
        both = self.absent.keys() & other.absent.keys()
        joined = {**other.absent, **self.absent}
        absent = {name: why for name, why in joined.items() if name in both or why != UNSEEN}
        return msgspec.structs.replace(self, sums=sums, samples=self.samples + other.samples, absent=absent)

    def value(self, layer: str) -> Tensor:
        """E_x E_y (∂ log p(y|x)/∂w)² of each weight w of a layer, in nats per squared weight unit.

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
        labels = "expected labels" if self.draws is None else f"labels drawn for each: {self.draws}"
        return Precisions("fisher", layers, self.absent, f"diagonal Fisher of {self.samples:,} inputs, {labels}")


def fisher_diagonal(
    model: nn.Module,
    inputs: Inputs,
    *,
    draws: int | None = 1,
    generator: torch.Generator | None = None,
    layers: LayersLike = None,
    batch_size: int = 64,
    memory_limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> FisherDiagonal:
    """The diagonal of the Fisher information of a classifier's prediction, in evaluation mode, in one pass.

    Gradients are those of single inputs, summed over positions and over all uses of a weight, and only then squared.

    Args:
        model: The network, which returns logits of shape (inputs, classes); unchanged.
        inputs: As for ``input_moments``; no labels are looked at.
        draws: Labels drawn from the network's own predictive distribution for each input, one backward pass each; None
            for the expectation over all classes, without sampling noise, one backward pass a class.
        generator: Source of the labels; seed 0 when None.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor.
        memory_limit: Bytes that the sums, and the activations of a batch, may take each; what is available when None.
        progress: Called after each batch with the number of inputs done.

    Returns:
        The diagonal; merge those of workers.

    Raises:
        CurvatureError: If weights or outputs are not finite, the outputs are not logits, or memory does not suffice.
        DataError: If the inputs do not fit the network.
        SelectionError: If no parameter is selected.

    Source: Amari (1998); labels from the model, not from the data: Kunstner et al. (2019).
    """
    plain = plain_copy(model)
    watched, absent = seen_outputs(*watched_layers(plain, layers), FUSED)
    device = next(plain.parameters()).device
    _check_fits(watched, memory_limit, device)
    sums = {name: torch.zeros(layer.shape, dtype=torch.float64, device=device) for name, layer in watched.items()}
    unfit = dict.fromkeys(watched, UNSEEN)

    def receive(uses: dict[str, list[Use]], samples: int, first: bool) -> None:
        for name, calls in uses.items():
            if first and calls:
                _judge(unfit, name, calls, samples)
            if calls and name not in unfit:
                for sample in range(samples):
                    gradient = torch.stack([_gradient(use, sample) for use in calls]).sum(dim=0)
                    sums[name] += gradient.square_().reshape(sums[name].shape)

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
    absent |= {alias: reason for name, reason in unfit.items() for alias in watched[name].names}
    names = {name: layer.names for name, layer in watched.items()}
    return FisherDiagonal(sums=sums, names=names, absent=absent, samples=samples, draws=draws)


def _judge(unfit: dict[str, str], name: str, calls: list[Use], samples: int) -> None:
    """Say of a layer whether its calls have a row for each input."""
    wrong = next((len(use.inputs) for use in calls if len(use.inputs) != samples), None)
    if wrong is not None:
        unfit[name] = f"called with {wrong} rows for {samples} inputs: the gradients of single inputs cannot be told"
    elif unfit.get(name) == UNSEEN:
        del unfit[name]


def _gradient(use: Use, sample: int) -> Tensor:
    """Gradient of one sample's log p in the weight, float64, shape (groups, outputs, columns)."""
    one = slice(sample, sample + 1)
    rows = torch.cat([*use.rows(use.module, (use.inputs[one],), {})], dim=1)
    return use.vectors(one).to(torch.float64).mT @ rows.to(torch.float64)


def _check_fits(watched: dict[str, WatchedLayer], memory_limit: int | None, device: torch.device) -> None:
    sizes = [layer.groups * layer.outputs * layer.columns for layer in watched.values()]
    check_memory(
        f"the diagonal Fisher information of {len(watched)} layers",
        8 * (sum(sizes) + 3 * max(sizes, default=0)),
        memory_limit,
        device,
        "take fewer layers",
    )
