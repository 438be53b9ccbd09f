"""Draws from torch's samplers that take no generator, made from a given one all the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shrinkscope.errors import DivergenceError


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let everything in the block that draws from torch's global generator of the CPU draw from this one instead.

    ``torch.distributions`` has no generator argument. Within the block the global generator continues the sequence of
    the given one, which in turn continues after the block where the draws have ended; the global state is afterwards
    what it was before, also after an exception. So the draws are those that the samplers would make with
    ``generator=generator``. The global generator belongs to the process: other threads must not draw meanwhile.

    Args:
        generator: A generator of the CPU; it advances.

    Raises:
        DivergenceError: If the generator belongs to another device.

    Source: derived here, tests/divergence/test_drawing.py.
    """
    if generator.device.type != "cpu":
        raise DivergenceError(f"a generator on {generator.device}; sampled divergences are drawn on the CPU")
    before = torch.get_rng_state()
    torch.set_rng_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(before)
