"""Losses whose curvature in the outputs is the Fisher information of the prediction, for tokens and regressions."""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shrinkscope.performance.metrics import NO_TARGET

Reduction = Literal["mean", "none"]


class TokenCrossEntropy(nn.Module):
    """−log p of each token in nats, averaged over the positions of each sequence that have a target.

    Attributes:
        reduction: ``mean`` over the sequences, or ``none``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reduction: Reduction = "mean"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss.

        Args:
            outputs: Logits, shape (sequences, positions, vocabulary).
            targets: Tokens, shape (sequences, positions); ``NO_TARGET`` where a position does not count.
        """
        losses = cross_entropy(outputs.mT, targets, reduction="none", ignore_index=NO_TARGET)
        each = losses.sum(dim=1) / (targets != NO_TARGET).sum(dim=1)
        return each.mean() if self.reduction == "mean" else each


class GaussianLoss(nn.Module):
    """−log N(y; f(x), s²I) in nats but for its constant: ‖y − f(x)‖²/2s².

    Args:
        scale: s > 0, in the unit of the outputs.

    Attributes:
        reduction: ``mean`` over the samples, or ``none``.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.reduction: Reduction = "mean"

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss.

        Args:
            outputs: Numbers, shape (samples, …).
            targets: Numbers of the same shape.
        """
        each = (outputs - targets).square().flatten(1).sum(dim=1) / (2 * self.scale**2)
        return each.mean() if self.reduction == "mean" else each
