"""Gradients of log p(y|x) in the outputs of layers, for labels y that the network itself predicts."""

from collections.abc import Callable, Iterator

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.curvature.attention import unfused
from shrinkscope.curvature.likelihood import cotangents
from shrinkscope.curvature.memory import check_memory
from shrinkscope.curvature.recorder import Recorder, Use
from shrinkscope.curvature.watched import WatchedLayer
from shrinkscope.errors import CurvatureError
from shrinkscope.performance.bootstrap import default_generator
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import forward
from shrinkscope.performance.outputs import scores_of
from shrinkscope.performance.reading import Kind, Reading

INPUTS_A_BATCH = 64
"""Inputs of a forward pass when nobody says how many, and they are not tokens."""

Receive = Callable[[dict[str, list[Use]], int, bool], None]
"""Called with the uses of each layer, the number of inputs in the batch, and whether these uses are its first."""


class Labels(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Where labels come from, and how a pass over the inputs is made.

    Attributes:
        reading: How the outputs are read.
        draws: Labels drawn for each input (each position of a sequence); None for the expectation over all labels.
        generator: Source of the labels; seed 0 when None.
        batch_size: Inputs a forward pass; None for 64, or as many sequences as make 2,048 tokens.
        memory_limit: Bytes that a batch's activations may take; what is available when None.
        progress: Called after each batch with the number of inputs done.
    """

    reading: Reading
    draws: int | None
    generator: torch.Generator | None
    batch_size: int | None
    memory_limit: int | None
    progress: Callable[[int], None] | None

    def checked(self) -> "Labels":
        """These, if there is at least one draw and such a kind of outputs.

        Raises:
            CurvatureError: If there is no draw.
            DataError: If there is no such kind.
        """
        self.reading.checked()
        if self.draws is not None and self.draws < 1:
            raise CurvatureError(
                f"draws = {self.draws}; expected at least 1, or None for the expectation over all labels"
            )
        return self

    def batches(self, inputs: Inputs) -> Iterator[Tensor]:
        """The inputs a batch at a time."""
        size = self.reading.inputs_a_batch(inputs, INPUTS_A_BATCH) if self.batch_size is None else self.batch_size
        return input_batches(inputs, size)


def label_gradients(
    plain: nn.Module, watched: dict[str, WatchedLayer], inputs: Inputs, labels: Labels, receive: Receive
) -> tuple[int, Kind]:
    """Hand on the gradients of log p(y|x) for labels of the network's own, batch by batch.

    Args:
        plain: A plain copy of the network, its attention taken apart.
        watched: Layers of it.
        inputs: Unlabelled inputs, read once.
        labels: Where the labels come from.
        receive: Takes the gradients; for each batch once a draw, or once a label.

    Returns:
        Number of inputs, and what the outputs predict.

    Raises:
        CurvatureError: If draws is not positive, the outputs are not predictions, or a batch does not fit.
        DataError: If the inputs or the options do not fit the network.
    """
    labels.checked()
    generator = default_generator() if labels.generator is None else labels.generator
    reading, kind, samples = labels.reading, None, 0
    shapes = _Shapes(plain, watched, labels)
    for batch in labels.batches(inputs):
        single = shapes.of(batch)
        with unfused(), Recorder(plain, watched) as recorder, torch.enable_grad():
            forward("the network", plain, batch, reading.outputs)
        scores = scores_of("the network", recorder.outputs[-1], reading.outputs)
        kind = reading.kind_of(scores) if kind is None else kind
        found = cotangents(
            scores,
            kind,
            scale=reading.scale,
            counts=reading.counts(batch),
            draws=labels.draws,
            generator=generator,
        )
        if not scores.requires_grad:
            raise CurvatureError("no watched layer has an influence on the outputs; select layers that have")
        for index, cotangent in enumerate(found.each):
            uses = recorder.uses(scores, cotangent, single, len(batch), retain=index < found.number - 1)
            receive(uses, len(batch), index == 0)
        samples += len(batch)
        if labels.progress is not None:
            labels.progress(samples)
    assert kind is not None  # there is at least one batch
    return samples, kind


class _Shapes:
    """What the layers are called with for a single input, which tells the dimension that counts inputs.

    Args:
        plain, watched, labels: As for ``label_gradients``.
    """

    def __init__(self, plain: nn.Module, watched: dict[str, WatchedLayer], labels: Labels) -> None:
        self.plain, self.watched, self.labels = plain, watched, labels
        self.largest = 0
        self.known: dict[tuple[int, ...], tuple[list[tuple[int, ...]], int]] = {}

    def of(self, batch: Tensor) -> list[tuple[int, ...]]:
        """Shapes of the layers' inputs for one input of this batch, call by call, after the memory has been checked.

        Raises:
            CurvatureError: If the activations of the batch do not fit.
        """
        own = tuple(batch.shape[1:])
        if own not in self.known:
            self.known = {own: self._probe(batch[:1])}  # the last alone: sequences may be of any length
        shapes, activations = self.known[own]
        needed = activations * len(batch)
        if needed > self.largest:
            self.largest = needed
            # Each layer's input and output are kept, copied, and a gradient is made of each; see
            # NetworkCurvature.workspace.
            check_memory(
                f"the gradients of a batch of {len(batch)} inputs",
                6 * needed,
                self.labels.memory_limit,
                next(self.plain.parameters()).device,
                "take smaller batches",
            )
        return shapes

    def _probe(self, one: Tensor) -> tuple[list[tuple[int, ...]], int]:
        sizes: list[int] = []

        def add(module: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor) and next(module.children(), None) is None:
                sizes.append(output.numel() * output.element_size())

        handles = [module.register_forward_hook(add) for module in self.plain.modules()]
        try:
            with unfused(), torch.no_grad(), Recorder(self.plain, self.watched, keep=False) as recorder:
                forward("the network", self.plain, one, self.labels.reading.outputs)
        finally:
            for handle in handles:
                handle.remove()
        return [call.shape for call in recorder.calls], sum(sizes)
