"""The inputs that a plan looks at, in batches of which every second input judges."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.parts import SYNTHETIC
from shrinkscope.errors import CompressionError, DataError
from shrinkscope.performance import synthetic_inputs
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.normalisation import layers_with_statistics

_SYNTHETIC = 128
_SYNTHETIC_STEPS = 60
_LEAST = 16  # inputs that batch norm's statistics are estimated from


class Seen(NamedTuple):
    """What a plan looks at: batches of 2 inputs or more, where they are from, and the passes that making them took.

    ``source`` is ``"given"``, ``"none"`` or what was made.
    """

    batches: list[Tensor]
    source: str
    spent: float = 0.0


def batches_of(model: nn.Module, inputs: Inputs | None, shape: Sequence[int] | None, seed: int, size: int) -> Seen:
    """The inputs in batches, and where they are from.

    Args:
        model: The network.
        inputs: What was given.
        shape: Shape of one input, to make synthetic ones of where none were given.
        seed: Of synthetic inputs.
        size: Inputs a pass; batches hold twice as many, of which every second one judges.

    Raises:
        DataError: If there are fewer than 4 inputs.
    """
    if inputs is None and shape is None:
        return Seen([], "none")
    source, spent = "given", 0.0
    if inputs is None:
        assert shape is not None  # one of them is there
        generator = torch.Generator().manual_seed(seed)
        made = synthetic_inputs(model, tuple(shape), _SYNTHETIC, generator, steps=_SYNTHETIC_STEPS)
        inputs, source = made.inputs, f"{SYNTHETIC}: {made.source}"
        if layers_with_statistics(model):
            spent = 3.0 * _SYNTHETIC * _SYNTHETIC_STEPS  # forwards and backwards, the latter counted twice
    # Twice the size, because each batch is halved into searched and judging.
    batches = [batch for batch in input_batches(inputs, 2 * size) if len(batch) > 1]
    if sum(len(batch) for batch in batches) < 4:
        raise DataError("fewer than 4 inputs in batches of 2 and more; expected at least 4, better 256")
    return Seen(batches, source, spent)


def for_statistics(model: nn.Module, batches: list[Tensor]) -> list[Tensor]:
    """The batches whose halves are large enough to estimate batch norm's statistics from.

    Args:
        model: The network.
        batches: As ``batches_of`` gives them.

    Raises:
        CompressionError: If there are no such statistics.
        DataError: If no batch is large enough.
    """
    if not layers_with_statistics(model):
        raise CompressionError("the network has no batch norm statistics to re-estimate: leave out reestimate")
    large = [batch for batch in batches if len(batch) >= 2 * _LEAST]
    if not large:
        raise DataError(f"reestimate needs batches of {2 * _LEAST} inputs or more; expected 256 inputs, better 512")
    return large
