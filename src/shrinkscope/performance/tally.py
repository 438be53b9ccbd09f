"""Distances between two networks' predictions while the batches come in, whatever the networks predict."""

from typing import Protocol

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance.predictions import PredictionTally
from shrinkscope.performance.reading import Kind, Reading
from shrinkscope.performance.regression import gaussian_distances
from shrinkscope.performance.tokens import sequence_distances


class PredictiveDistances(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How far two networks' predictions lie apart, sample by sample; samples are inputs, or sequences of tokens.

    Attributes:
        kind: What is predicted.
        samples: Number n of samples, the units that are independent of each other.
        positions: Number of positions that counted; None unless the predictions are of tokens.
        classes: Number of classes, or of tokens in the vocabulary; None for regression.
        scale: s of a regression; None otherwise.
        kl: KL(p‖q) in nats, p the dense network's prediction and q the other's, float64, shape (n,); for tokens the
            mean over the sequence's positions.
        total_variation: TV(p, q) in [0, 1], float64, shape (n,), averaged likewise.
        disagreement: Whether the argmax differs, 0 or 1, or the share of the sequence's positions where it does,
            float64, shape (n,); None for regression.
    """

    kind: Kind
    samples: int
    positions: int | None = None
    classes: int | None = None
    scale: float | None = None
    kl: Tensor
    total_variation: Tensor
    disagreement: Tensor | None = None


class PredictiveTally:
    """Compares batch after batch: ``add`` the outputs of each, then ask for ``distances``. No outputs are kept.

    Args:
        reading: What the outputs predict; the first batch tells where it does not say.

    Raises:
        DataError: If the reading contradicts itself.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading.checked()
        self._tally: _Tally | None = None

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None = None) -> None:
        """Compare one more batch.

        Args:
            dense: Outputs of the dense network: logits (batch, classes) or (batch, positions, vocabulary), or numbers.
            compressed: Outputs of the compressed network for the same inputs, of the same shape.
            counts: Which positions of the sequences count, bool, shape (batch, positions); all when None.

        Raises:
            DataError: If the outputs are not predictions of this kind, or no such positions exist.
        """
        if self._tally is None:
            self._tally = _tally(self._reading.kind_of(dense), self._reading.scale)
        self._tally.add(dense, compressed, counts)

    def distances(self) -> PredictiveDistances:
        """What was added, together.

        Raises:
            DataError: If nothing was added, or the outputs are probabilities instead of logits.
        """
        if self._tally is None:
            raise DataError("no input; give at least one")
        return self._tally.distances()


class _Tally(Protocol):
    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None: ...

    def distances(self) -> PredictiveDistances: ...


class _Classes:
    def __init__(self) -> None:
        self._tally = PredictionTally()

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None:
        _no_positions(counts, "classes")
        self._tally.add(dense, compressed)

    def distances(self) -> PredictiveDistances:
        found = self._tally.predictions()
        return PredictiveDistances(
            kind="classes",
            samples=found.samples,
            classes=found.classes,
            kl=found.kl,
            total_variation=found.total_variation,
            disagreement=found.disagrees.to(torch.float64),
        )


class _Tokens:
    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []
        self._positions, self._vocabulary = 0, 0

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None:
        if counts is None:
            counts = torch.ones(dense.shape[:2], dtype=torch.bool)
        self._parts.append(sequence_distances(dense, compressed, counts))
        self._positions += int(counts.sum())
        if self._vocabulary not in (0, dense.shape[2]):
            raise DataError(f"dense returned a vocabulary of {self._vocabulary} before and of {dense.shape[2]} now")
        self._vocabulary = dense.shape[2]

    def distances(self) -> PredictiveDistances:
        kl, total_variation, disagreement = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        return PredictiveDistances(
            kind="tokens",
            samples=len(kl),
            positions=self._positions,
            classes=self._vocabulary,
            kl=kl,
            total_variation=total_variation,
            disagreement=disagreement,
        )


class _Regression:
    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, dense: Tensor, compressed: Tensor, counts: Tensor | None) -> None:
        _no_positions(counts, "numbers")
        self._parts.append(gaussian_distances(dense, compressed, self._scale))

    def distances(self) -> PredictiveDistances:
        kl, total_variation = (torch.cat(parts) for parts in zip(*self._parts, strict=True))
        return PredictiveDistances(
            kind="regression", samples=len(kl), scale=self._scale, kl=kl, total_variation=total_variation
        )


def _tally(kind: Kind, scale: float | None) -> _Tally:
    if kind != "regression":
        return _Classes() if kind == "classes" else _Tokens()
    if scale is None:
        raise DataError(
            "a regression needs the standard deviation of its prediction: give scale=…, for example "
            "residual_scale(dense, data).value"
        )
    return _Regression(scale)


def _no_positions(counts: Tensor | None, what: str) -> None:
    if counts is not None:
        raise DataError(f"mask and padding are about positions of sequences, and the outputs are {what}: give neither")
