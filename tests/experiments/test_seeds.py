"""Streams of randomness."""

import torch

from shrinkscope.experiments.seeds import derived_generator, derived_seed


def test_a_purpose_has_one_seed_and_another_purpose_another():
    assert derived_seed(1, "order", 2) == derived_seed(1, "order", 2)
    seeds = {derived_seed(seed, purpose, trial) for seed in (1, 2) for purpose in ("order", "mask") for trial in (1, 2)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_on_every_machine():
    # SHA-256 of "1/order/2", its first 8 bytes, halved: worked out with sha256sum.
    assert derived_seed(1, "order", 2) == int("297308b6d0a2f729", 16) >> 1


def test_generators_are_independent_of_the_global_one():
    torch.manual_seed(0)
    first = torch.rand(3, generator=derived_generator(1, "x"))
    torch.manual_seed(1)
    assert torch.equal(first, torch.rand(3, generator=derived_generator(1, "x")))
    assert not torch.equal(first, torch.rand(3, generator=derived_generator(1, "y")))
