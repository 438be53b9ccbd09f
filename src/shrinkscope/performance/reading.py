"""How a network's outputs are read: what they predict, which positions count, and where the scores are."""

from typing import Literal, get_args

import msgspec
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance.outputs import Outputs

Kind = Literal["classes", "tokens", "regression"]
"""What the outputs predict: one class an input, one token a position, or numbers."""

# Tokens of one forward pass: with a vocabulary of 128,000 the scores of a network take 1 GB in float32.
_TOKENS_A_BATCH = 2048


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How the outputs of two networks are to be compared.

    Attributes:
        kind: What the outputs predict. None tells from their shape: three dimensions are tokens, two are classes, or
            numbers if a scale is given.
        scale: Standard deviation s of a regression's prediction N(f(x), s²I), in the unit of the outputs.
        padding: Token id that marks positions that do not count.
        outputs: Finds the tensor of scores in what the networks return; None takes a tensor, or the one called
            ``logits``.
    """

    kind: Kind | None = None
    scale: float | None = None
    padding: int | None = None
    outputs: Outputs | None = None

    def checked(self) -> "Reading":
        """The reading itself.

        Raises:
            DataError: If there is no such kind, or a scale is given for another kind than a regression.
        """
        if self.kind is not None and self.kind not in get_args(Kind):
            raise DataError(
                f"kind = {self.kind!r}; expected classes, tokens or regression, or None to tell from the outputs"
            )
        if self.scale is not None and self.kind in ("classes", "tokens"):
            raise DataError(f"scale = {self.scale} belongs to a regression; leave it out for {self.kind}")
        return self

    @property
    def regression(self) -> bool:
        """Whether the outputs are said to be numbers."""
        return self.kind == "regression" or self.scale is not None

    def kind_of(self, scores: Tensor) -> Kind:
        """What the outputs of a network predict.

        Args:
            scores: The dense network's outputs.

        Raises:
            DataError: If nobody says so and the shape does not tell.
        """
        if self.kind is not None or self.scale is not None:
            return self.kind or "regression"
        if scores.ndim == 3:
            return "tokens"
        if scores.ndim == 2 and scores.shape[1] > 1:
            return "classes"
        raise DataError(
            f"dense returned shape {tuple(scores.shape)}, which may mean anything; say kind='regression' with scale=…, "
            "or wrap the networks so that they return (inputs, classes) or (sequences, positions, vocabulary)"
        )

    def counts(self, inputs: Tensor) -> Tensor | None:
        """Which positions of a batch of sequences count, bool on the CPU; None when all do.

        Args:
            inputs: The batch.
        """
        return None if self.padding is None else (inputs != self.padding).to("cpu")

    def inputs_a_batch(self, inputs: object, otherwise: int) -> int:
        """How many inputs a forward pass takes when nobody says so: sequences that make 2,048 tokens, or a number.

        Args:
            inputs: What goes in, one tensor or anything else.
            otherwise: The number for everything but sequences of tokens.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim < 2:
            return otherwise
        ids = inputs.ndim == 2 and not inputs.is_floating_point()
        if self.kind == "tokens" or (ids and self.kind is None):
            return max(1, _TOKENS_A_BATCH // max(inputs.shape[1], 1))
        return otherwise
