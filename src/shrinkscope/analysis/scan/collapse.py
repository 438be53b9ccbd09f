"""When a layer counts as collapsed under a method: its network agrees with the dense one no more than by chance."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from shrinkscope.performance import Kind, PredictiveDistances

RULES: dict[Kind, str] = {
    "classes": "collapsed: the predicted class agrees with the dense network's on at most n/c + 2√(n(1/c)(1 − 1/c)) of "
    "n inputs, what chance gives with c classes plus two standard errors; or outputs are not finite",
    "tokens": "collapsed: the predicted token agrees with the dense network's no more often than the one token that it "
    "predicts most does, up to two standard errors of the difference over the sequences; or outputs are not finite",
    "regression": "collapsed: the outputs moved, in mean square, at least as far as the dense network's outputs lie "
    "from their mean, which a constant would match as well; or outputs are not finite",
}
"""Kind of the outputs → when harsher levels are not run."""


class Chance:
    """What agreement with the dense network is worth, from its outputs.

    A vocabulary has no uniform chance: a language model that says its most frequent token everywhere agrees with the
    dense one far more often than 1 in the vocabulary, and predicts nothing. For numbers the constant is the mean.

    Args:
        kind: What the outputs predict.
        dense: The dense network's outputs on each batch.
        counts: Which positions of each batch count; None where all do.
    """

    def __init__(self, kind: Kind, dense: Sequence[Tensor], counts: Sequence[Tensor | None]) -> None:
        self._constant = _share_of_one_token(dense, counts) if kind == "tokens" else None
        self._spread = _spread(dense) if kind == "regression" else 0.0

    def reached(self, found: PredictiveDistances) -> bool:
        """Whether a candidate does no better (``RULES``).

        Args:
            found: Its distances from the dense network's predictions.
        """
        if found.scale is not None:
            moved = 2 * found.scale**2 * float(found.kl.mean())
            return 0 < self._spread <= moved
        assert found.disagreement is not None  # classes and tokens have one
        if self._constant is not None:
            gain = (1 - found.disagreement) - self._constant
            error = float(gain.std(correction=1)) / math.sqrt(len(gain)) if len(gain) > 1 else 0.0
            return float(gain.mean()) <= 2 * error
        chance, inputs = 1 / (found.classes or 1), found.samples
        agreeing = inputs - int(found.disagreement.sum())
        return agreeing <= inputs * chance + 2 * math.sqrt(inputs * chance * (1 - chance))


def _share_of_one_token(dense: Sequence[Tensor], counts: Sequence[Tensor | None]) -> Tensor:
    """The share of each sequence's positions where the dense network predicts its most frequent token."""
    predicted = [scores.argmax(dim=2) for scores in dense]
    asked = [
        torch.ones_like(tokens, dtype=torch.bool) if kept is None else kept
        for tokens, kept in zip(predicted, counts, strict=True)
    ]
    said = torch.cat([tokens[kept] for tokens, kept in zip(predicted, asked, strict=True)])
    token = said.bincount().argmax()
    shares = [
        ((tokens == token) & kept).sum(dim=1) / kept.sum(dim=1).to(torch.float64)
        for tokens, kept in zip(predicted, asked, strict=True)
    ]
    return torch.cat(shares)


def _spread(dense: Sequence[Tensor]) -> float:
    """Mean squared distance of the outputs from their mean."""
    outputs = torch.cat([batch.reshape(len(batch), -1).to(torch.float64) for batch in dense])
    return float((outputs - outputs.mean(dim=0)).square().sum(dim=1).mean())
