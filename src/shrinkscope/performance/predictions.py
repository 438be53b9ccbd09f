"""Two networks' predictive distributions on the same unlabelled inputs: how far apart they are, input by input."""

from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.categorical import Distances, distances, like_probabilities
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.forward import evaluation_mode, forward


class Predictions(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How far the predictions of two networks lie apart; p is the dense network's softmax, q the compressed one's.

    Attributes:
        samples: Number of inputs n.
        classes: Number of classes.
        disagrees: Whether the two argmax classes differ, bool, shape (n,).
        total_variation: TV(p, q) = ½ Σ_c |p_c − q_c| of each input, float64 in [0, 1], shape (n,).
        kl: KL(p‖q) of each input in nats, float64, non-negative, shape (n,).
        margin: Difference of the two largest probabilities of p, float64 in [0, 1], shape (n,).
    """

    samples: int
    classes: int
    disagrees: Tensor
    total_variation: Tensor
    kl: Tensor
    margin: Tensor


class PredictionTally:
    """Predictions while the batches come in: ``add`` the outputs of each, then ask for ``predictions``.

    Four numbers are kept for each input, never the outputs.
    """

    def __init__(self) -> None:
        self._parts: list[Distances] = []
        self._classes = 0
        self._samples = 0
        self._like_probabilities = [True, True]

    def add(self, dense: Tensor, compressed: Tensor) -> None:
        """Compare one more batch.

        Args:
            dense: Logits of the dense network, shape (batch, classes); log-probabilities are logits, too.
            compressed: Logits of the compressed network on the same inputs.

        Raises:
            DataError: If the outputs are not finite scores of the same two or more classes.
        """
        for name, outputs in (("dense", dense), ("compressed", compressed)):
            self._check(name, outputs)
        if dense.shape != compressed.shape:
            raise DataError(
                f"dense has {dense.shape[1]} classes and compressed {compressed.shape[1]}; expected as many of both"
            )
        for index, outputs in enumerate((dense, compressed)):
            self._like_probabilities[index] &= like_probabilities(outputs)
        self._parts.append(distances(dense, compressed))
        self._classes = dense.shape[1]
        self._samples += len(dense)

    def predictions(self) -> Predictions:
        """What was added, together.

        Raises:
            DataError: If nothing was added, or the outputs of a network are probabilities instead of logits.
        """
        if not self._parts:
            raise DataError("no input; give at least one")
        for name, suspicious in zip(("dense", "compressed"), self._like_probabilities, strict=True):
            if suspicious:
                raise DataError(
                    f"every output of {name} is a row of probabilities (in [0, 1], with sum 1), expected logits; "
                    "leave the softmax out, or take its logarithm"
                )
        disagrees, total_variation, kl, margin = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        return Predictions(
            samples=self._samples,
            classes=self._classes,
            disagrees=disagrees,
            total_variation=total_variation,
            kl=kl,
            margin=margin,
        )

    def _check(self, name: str, outputs: Tensor) -> None:
        if outputs.ndim != 2 or outputs.shape[1] < 2 or not outputs.is_floating_point():
            raise DataError(
                f"{name} returned shape {tuple(outputs.shape)} of type {outputs.dtype}; predictions are compared "
                "between classifiers: expected logits of shape (inputs, classes) with at least 2 classes, not the "
                "outputs of a regression"
            )
        broken = int((~outputs.isfinite()).any(dim=1).sum())
        if broken:
            raise DataError(
                f"{name} returned NaN or infinite logits for {broken} of the inputs "
                f"{self._samples} to {self._samples + len(outputs) - 1}; such a network predicts nothing there"
            )
        if self._parts and outputs.shape[1] != self._classes:
            raise DataError(f"{name} returned {self._classes} classes before and {outputs.shape[1]} now")


def predictions(
    dense: nn.Module,
    compressed: nn.Module,
    inputs: Inputs,
    batch_size: int = 512,
    *,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Compare the predictions of two classifiers on the same unlabelled inputs, in one pass and evaluation mode.

    What follows about a population needs the inputs to be an independent sample of it: no duplicates, no augmented
    copies, no consecutive frames, and none that the networks were trained, compressed or calibrated on.

    Args:
        dense: The network before compression; it must return one tensor of logits, shape (inputs, classes).
        compressed: The network after compression, with as many classes.
        inputs: A tensor whose first dimension counts inputs, an iterable of such batches, or data as for ``evaluate``,
            whose targets are not looked at. Consumed once.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor.
        progress: Called after each batch with the number of inputs done.

    Returns:
        Disagreement, total variation, KL divergence in nats and margin of every input.

    Raises:
        DataError: If the inputs or the outputs are not what is needed.

    Source: derived here (docs/theory.md, the predictive bound); tests/performance/test_predictions.py compares with
        SciPy.
    """
    tally, done = PredictionTally(), 0
    with ExitStack() as stack, torch.no_grad():
        for model in (dense, compressed):
            stack.enter_context(evaluation_mode(model))
        for batch in input_batches(inputs, batch_size):
            tally.add(forward("dense", dense, batch), forward("compressed", compressed, batch))
            done += len(batch)
            if progress is not None:
                progress(done)
    return tally.predictions()
