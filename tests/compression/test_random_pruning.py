"""Random pruning: exact counts, reproducible, every weight equally likely."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.pruning import count
from shrinkscope.compression import RandomPruning
from shrinkscope.errors import CompressionError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4), level=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_counts_are_exact_in_every_scope(sizes: list[int], level: float, seed: int) -> None:
    weights = {str(i): torch.zeros(n) for i, n in enumerate(sizes)}
    by_layer = RandomPruning(level=level).mask(weights, seeded(seed))
    assert [by_layer.removed(name) for name in by_layer] == [count(level, n) for n in sizes]
    assert RandomPruning(level=level, scope="global").mask(weights, seeded(seed)).removed() == count(level, sum(sizes))
    last = RandomPruning(level=level, scope="last").mask(weights, seeded(seed))
    assert (len(last), last.removed()) == (1, count(level, sizes[-1]))


def test_the_generator_alone_decides() -> None:
    weights = {"a": torch.randn(50, generator=seeded(1)), "b": torch.randn(50, generator=seeded(2))}
    method = RandomPruning(level=0.5)
    first = method.mask(weights, seeded(7))
    torch.manual_seed(0)
    assert method.mask(weights, seeded(7)) == first
    assert method.mask({name: w * 3 for name, w in weights.items()}, seeded(7)) == first
    assert method.mask(weights, seeded(8)) != first
    assert not torch.equal(first["a"], first["b"])


def test_the_generator_moves_on() -> None:
    weights, generator = {"a": torch.zeros(50)}, seeded(7)
    method = RandomPruning(level=0.5)
    assert method.mask(weights, generator) != method.mask(weights, generator)


def test_the_global_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    RandomPruning(level=0.5).mask({"a": torch.zeros(50)}, seeded(7))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_every_weight_is_equally_likely(scope) -> None:
    # Each of 30 weights is removed in a Binomial(draws, level) number of 2000 draws; the seed is fixed. Five standard
    # errors: a correct implementation would fail for 30 × 6e-7, about one seed in 60,000.
    draws, level, generator = 2000, 0.3, seeded(11)
    weights = {"a": torch.zeros(10), "b": torch.zeros(20)}
    removed = torch.zeros(30)
    for _ in range(draws):
        mask = RandomPruning(level=level, scope=scope).mask(weights, generator)
        removed += torch.cat([~mask["a"], ~mask["b"]])
    standard_error = math.sqrt(level * (1 - level) / draws)
    assert (removed / draws - level).abs().max() <= 5 * standard_error


def test_pairs_are_drawn_without_replacement_and_evenly() -> None:
    # All 10 pairs of 5 weights are equally likely: counts are Binomial(3000, 1/10); five standard errors as above.
    draws, generator = 3000, seeded(12)
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        mask = RandomPruning(level=0.4).mask({"a": torch.zeros(5)}, generator)
        pair = tuple((~mask["a"]).nonzero().flatten().tolist())
        seen[pair] = seen.get(pair, 0) + 1
    assert len(seen) == 10
    assert max(abs(n / draws - 0.1) for n in seen.values()) <= 5 * math.sqrt(0.1 * 0.9 / draws)


def test_weights_need_not_be_finite() -> None:
    new = RandomPruning(level=1.0).compress({"a": torch.tensor([math.nan, math.inf])}, seeded(0))
    assert new["a"].tolist() == [0.0, 0.0]


def test_a_missing_generator() -> None:
    with pytest.raises(CompressionError, match=r"random pruning needs a generator: pass generator=torch\.Generator"):
        RandomPruning(level=0.5).mask({"a": torch.zeros(3)})
