"""Drawing through torch's global generator without touching it."""

import pytest
import torch

from shrinkscope.divergence.drawing import drawing_from
from shrinkscope.errors import DivergenceError


def test_the_draws_are_those_of_the_generator():
    ours, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    with drawing_from(ours):
        first = torch.randn(7, dtype=torch.float64)
    second = torch.rand(5, generator=ours)
    assert torch.equal(first, torch.randn(7, dtype=torch.float64, generator=other))
    assert torch.equal(second, torch.rand(5, generator=other))


def test_the_global_generator_is_left_as_it_was_even_after_an_exception():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    start = generator.get_state()
    with pytest.raises(ZeroDivisionError), drawing_from(generator):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(generator.get_state(), start)


def test_a_generator_of_another_device_is_refused():
    class Elsewhere(torch.Generator):
        """A generator that says it is on an accelerator, for machines without one."""

        device = torch.device("cuda", 0)

    with (
        pytest.raises(DivergenceError, match="a generator on cuda:0; sampled divergences are drawn on the CPU"),
        drawing_from(Elsewhere()),
    ):
        pass
