"""Second moments E[xxᵀ] of every layer's input, from unlabelled inputs in one pass."""

from collections.abc import Callable

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.attention import unfused
from shrinkscope.curvature.label_gradients import INPUTS_A_BATCH
from shrinkscope.curvature.layer_rows import CHUNK_ENTRIES
from shrinkscope.curvature.layout import in_stored_order
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.opened import opened_copy
from shrinkscope.curvature.second_moment import SecondMoment, Structure, block_width
from shrinkscope.curvature.watched import UNSEEN, WatchedLayer, passed_over, watched_layers, watching
from shrinkscope.errors import CurvatureError
from shrinkscope.latent import KroneckerPrecision, Precisions
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import forward
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Reading
from shrinkscope.weights import LayersLike


class LayerMoment(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Second moment of one layer's input.

    Attributes:
        moment: Sums over inputs and positions.
        names: All names of the weight.
        outputs: Rows of weights in each group.
        kernel: Kernel positions of a transposed convolution; None for every other layer.
    """

    moment: SecondMoment
    names: tuple[str, ...]
    outputs: int
    kernel: int | None = None


class InputMoments(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Second moments of the inputs of layers: a partial statistic, so that workers can share the inputs.

    Attributes:
        layers: Name of a weight → its moment.
        absent: Name of a parameter → why it has none.
        samples: Number of the network's inputs.
        structure: What is kept of each moment.
    """

    layers: dict[str, LayerMoment]
    absent: dict[str, str]
    samples: int
    structure: Structure

    def merge(self, other: "InputMoments") -> "InputMoments":
        """Those over the inputs of both.

        Args:
            other: Of the same network, layers and structure, over other inputs.

        Returns:
            The same up to rounding as one pass over all inputs.

        Raises:
            CurvatureError: If they do not belong together.
        """
        if self.layers.keys() != other.layers.keys() or self.structure != other.structure:
            raise CurvatureError(
                f"{self.structure} moments of {len(self.layers)} layers and {other.structure} moments of "
                f"{len(other.layers)} layers cannot be merged; gather both with the same network, layers and structure"
            )
        layers = {
            name: msgspec.structs.replace(layer, moment=layer.moment.merge(other.layers[name].moment))
            for name, layer in self.layers.items()
        }
        return msgspec.structs.replace(self, layers=layers, samples=self.samples + other.samples)

    def value(self, layer: str) -> Tensor:
        """E[Σ xxᵀ] of a layer: mean over inputs of the sum over positions, in squared units of its input.

        Args:
            layer: Name of its weight.

        Returns:
            Float64, shape (groups, blocks, width, width).
        """
        return self.layers[layer].moment.sums / self.samples

    def precisions(self, *, diagonal: bool = False) -> Precisions:
        """Σ⁻¹ = I ⊗ E[Σ xxᵀ] of each layer: ΔᵀΣ⁻¹Δ is the expected squared error of its output, summed over positions.

        Args:
            diagonal: Whether to keep the diagonals alone, as if the columns were uncorrelated.

        Returns:
            Precisions named ``input``, ``input_block`` or ``input_diagonal``.
        """
        structure = "diagonal" if diagonal else self.structure
        layers, absent = {}, dict(self.absent)
        for layer in self.layers.values():
            moment = layer.moment.diagonal() if diagonal else layer.moment
            if not any(moment.vectors):
                absent |= dict.fromkeys(layer.names, UNSEEN)
                continue
            precision = KroneckerPrecision(moment.sums / self.samples, layer.outputs)
            found = in_stored_order(precision, len(moment.sums), layer.outputs, layer.kernel)
            layers |= dict.fromkeys(layer.names, found)
        name = "input" if structure == "full" else f"input_{structure}"
        return Precisions(name, layers, absent, f"{structure} second moments of {self.samples:,} inputs")


def input_moments(
    model: nn.Module,
    inputs: Inputs,
    *,
    structure: Structure = "full",
    layers: LayersLike = None,
    outputs: Outputs | None = None,
    batch_size: int | None = None,
    memory_limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> InputMoments:
    """Second moments of the input of every layer, in evaluation mode, in one pass over unlabelled inputs.

    Linear layers, convolutions and transposed convolutions (groups, dilation, stride, any padding), and the projections
    of ``nn.MultiheadAttention``. A weight that is used several times sums over its uses. Other parameters are absent,
    with a reason.

    Args:
        model: The network; unchanged. Masks and parametrisations are folded in.
        inputs: A tensor whose first dimension counts inputs, an iterable of batches, or data whose targets are not
            looked at. Consumed once.
        structure: ``full``: 8·columns² bytes a layer; ``block``: per input channel of a convolution, and for linear
            layers the largest divisor of the columns up to 64; ``diagonal``: per column.
        layers: Names, globs or a LayerSelection; all when None.
        outputs: Finds a tensor in what the network returns, where that is neither one nor has one called ``logits``.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor; None takes 64, or as many sequences as make
            2,048 tokens.
        memory_limit: Bytes that the moments may take; what is available when None.
        progress: Called after each batch with the number of inputs done.

    Returns:
        The moments; merge those of workers.

    Raises:
        CurvatureError: If weights are not finite, or the moments do not fit into memory.
        DataError: If the inputs do not fit the network.
        SelectionError: If no parameter is selected.

    Source: math.md, section 1; tested against running each layer with both weights.
    """
    plain = opened_copy(model)
    watched, absent = watched_layers(plain, layers)
    device = next(plain.parameters()).device
    widths = {name: block_width(structure, layer.columns, layer.block) for name, layer in watched.items()}
    _check_fits(watched, widths, structure, memory_limit, device)
    moments = {
        name: SecondMoment.empty(layer.groups, layer.columns, widths[name], device) for name, layer in watched.items()
    }

    def receive(name: str, rows: Tensor, group: int | None) -> None:
        moments[name] = moments[name].update(rows, group)

    samples, size = 0, Reading().inputs_a_batch(inputs, INPUTS_A_BATCH) if batch_size is None else batch_size
    with watching(watched, receive), unfused(), torch.no_grad():
        for batch in input_batches(inputs, size):
            forward("the network", plain, batch, outputs)
            samples += len(batch)
            if progress is not None:
                progress(samples)
    lost = passed_over(watched)
    gathered = {
        name: LayerMoment(moment=moments[name], names=layer.names, outputs=layer.outputs, kernel=layer.kernel)
        for name, layer in watched.items()
        if not lost.keys() & set(layer.names)
    }
    absent |= lost
    return InputMoments(layers=gathered, absent=absent, samples=samples, structure=structure)


def _check_fits(
    watched: dict[str, WatchedLayer],
    widths: dict[str, int],
    structure: Structure,
    memory_limit: int | None,
    device: torch.device,
) -> None:
    entries = [layer.groups * layer.columns * widths[name] for name, layer in watched.items()]
    # The largest is there three times while it is updated; vectors are there as they come and in float64, unfolded.
    needed = 8 * (sum(entries) + 2 * max(entries, default=0) + 2 * CHUNK_ENTRIES)
    check_memory(
        f"the {structure} second moments of the inputs of {len(watched)} layers",
        needed,
        memory_limit,
        device,
        "take structure='block' or 'diagonal', or fewer layers",
    )
