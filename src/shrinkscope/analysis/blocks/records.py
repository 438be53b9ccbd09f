"""What pruning a network block by block did, as records."""

import math

import msgspec

from shrinkscope.quantity import Quantity


class BlockReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One block.

    Attributes:
        block: Its number, from 0.
        weights: Weights of its planned layers.
        removed: How many of them went.
        error: ‖pruned − dense‖ / ‖dense‖ of the hidden states after the block, over all sequences: what this block and
            those before it did.
        seconds: What it took.
    """

    block: int
    weights: int
    removed: int
    error: float
    seconds: float


class PrunedBlocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network that was pruned block by block.

    Attributes:
        blocks: A report a block.
        within: Which weights of a layer went.
        sequences: How many the input moments and errors are of.
        resumed: Blocks that an interrupted run before this one had done.
    """

    blocks: tuple[BlockReport, ...]
    within: str
    sequences: int
    resumed: int = 0

    @property
    def weights(self) -> int:
        """Number of planned weights."""
        return sum(block.weights for block in self.blocks)

    @property
    def removed(self) -> int:
        """Number of weights removed."""
        return sum(block.removed for block in self.blocks)


class Perplexity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well a language model predicts sequences.

    Attributes:
        losses: Mean negative log-likelihood a token of each sequence, in nats.
        tokens: Predicted tokens of each sequence.
    """

    losses: tuple[float, ...]
    tokens: int

    @property
    def loss(self) -> Quantity:
        """Mean negative log-likelihood a token, in nats; the standard error is over sequences."""
        mean = sum(self.losses) / len(self.losses)
        return Quantity(value=mean, unit="nats", status="estimate", standard_error=_error_of_mean(self.losses))

    @property
    def perplexity(self) -> Quantity:
        """The exponential of the loss, with its standard error to first order."""
        loss = self.loss
        value = math.exp(loss.value)
        return Quantity(
            value=value, unit="tokens", status="estimate", standard_error=value * (loss.standard_error or 0.0)
        )

    def less(self, other: "Perplexity") -> Quantity:
        """Loss minus that of another network on the same sequences, in nats; the standard error is of the differences.

        Args:
            other: On the same sequences.
        """
        differences = [mine - its for mine, its in zip(self.losses, other.losses, strict=True)]
        mean = sum(differences) / len(differences)
        return Quantity(value=mean, unit="nats", status="estimate", standard_error=_error_of_mean(differences))


def _error_of_mean(values: tuple[float, ...] | list[float]) -> float:
    """Standard error of a mean; infinite for one value, which says nothing of it."""
    count = len(values)
    if count < 2:
        return math.inf
    mean = sum(values) / count
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
