"""Synthetic tokens: their frequencies are those of a Markov chain, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shrinkscope.errors import DataError
from shrinkscope.performance import predictive_divergence, synthetic_tokens

SEQUENCES = 4000


class Bigram(nn.Module):
    """A Markov chain on four tokens as a language model: the scores of the next token depend on the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(4, 4).double()
        self.scores.weight.data = 1.5 * torch.randn(4, 4, generator=seeded(5), dtype=torch.float64)

    def forward(self, ids):
        return self.scores(ids)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frequencies(ids: torch.Tensor) -> np.ndarray:
    return np.stack([(ids == token).double().mean(dim=0).numpy() for token in range(4)], axis=1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sampled_tokens_are_the_markov_chain(temperature):
    model = Bigram()
    found = synthetic_tokens(model, 5, SEQUENCES, seeded(), start=2, temperature=temperature, batch_size=1500)
    weights = np.exp(model.scores.weight.detach().numpy() / temperature)
    chain = weights / weights.sum(axis=1, keepdims=True)
    expected = np.stack([np.linalg.matrix_power(chain, step)[2] for step in range(5)])
    # 16 frequencies of 4,000 sequences, each within 5 standard errors √(p(1 − p)/4000): by chance 1 in 100,000 fails.
    error = np.sqrt(expected * (1 - expected) / SEQUENCES)
    assert (np.abs(frequencies(found.inputs) - expected) <= 5 * error).all()
    assert (found.source, found.inputs.dtype, found.inputs.shape) == ("sampled tokens", torch.int64, (SEQUENCES, 5))
    assert "no sample of the data" in found.limitation


def test_uniform_tokens_need_no_pass():
    model = Bigram()
    model.forward = None
    found = synthetic_tokens(model, 3, SEQUENCES, seeded(), draw="uniform")
    assert (np.abs(frequencies(found.inputs) - 0.25) <= 5 * math.sqrt(0.25 * 0.75 / SEQUENCES)).all()
    assert found.source == "uniform tokens"
    assert int(synthetic_tokens(model, 9, 9, seeded(), draw="uniform", vocabulary=2).inputs.max()) == 1


def test_the_generator_decides_and_the_tokens_serve_a_divergence():
    model, other = Bigram(), Bigram()
    other.scores.weight.data[0] += torch.tensor([1.0, 0, 0, 0])
    first = synthetic_tokens(model, 6, 200, seeded(1), vocabulary=4).inputs
    assert torch.equal(first, synthetic_tokens(model, 6, 200, seeded(1)).inputs)
    assert not torch.equal(first, synthetic_tokens(model, 6, 200, seeded(2)).inputs)
    p, q = model.scores.weight.detach().softmax(1), other.scores.weight.detach().softmax(1)
    each = (p * (p / q).log()).sum(1)[first].mean()
    # Rounding of 1,200 terms summed in another order.
    assert predictive_divergence(model, other, first).kl.value == pytest.approx(float(each), rel=1e-12)


def classifier() -> nn.Module:
    return nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(3, 2))


def broken() -> nn.Module:
    model = Bigram()
    model.scores.weight.data[:] = math.nan
    return model


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Bigram, {"draw": "beam"}, "draw = 'beam'; expected model or uniform"),
        (Bigram, {"length": 0}, "length = 0, count = 2, batch_size = 64, temperature = 1.0; expected at least 1"),
        (Bigram, {"temperature": 0.0}, "temperature = 0.0; expected at least 1 of each, and a positive temperature"),
        (Bigram, {"start": 4}, "start = 4 in a vocabulary of 4; expected one of at least 2 token ids"),
        (lambda: nn.Linear(2, 2), {}, "the network has no embedding to take the vocabulary from"),
        (classifier, {}, r"the network returned shape \(2, 2\) for \(2, 1\) tokens; expected logits of shape"),
        (broken, {}, "the network returned NaN or infinite logits after 1 tokens; it cannot be sampled"),
    ],
)
def test_what_cannot_be_sampled_is_refused(make, options, message):
    with pytest.raises(DataError, match=message):
        synthetic_tokens(make(), **{"length": 3, "count": 2, "generator": seeded(), **options})
