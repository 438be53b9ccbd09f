"""AP3 of the predictive latent: its value and standard error for each kind of output, and what is refused."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from shrinkscope.errors import DataError
from shrinkscope.performance import predictions, predictive_divergence
from shrinkscope.performance.regression import gaussian_distances
from shrinkscope.performance.tokens import sequence_distances


def dense_layer(seed: int, incoming: int, outgoing: int) -> nn.Linear:
    layer = nn.Linear(incoming, outgoing).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


class Language(nn.Module):
    """Next-token scores from the running mean of embeddings: causal, so that padding on the right changes nothing."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6).double(), dense_layer(seed, 6, 11)
        table = torch.randn(11, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.embedding.weight.data = table

    def forward(self, ids):
        hidden = self.embedding(ids).cumsum(1) / torch.arange(1, ids.shape[1] + 1, dtype=torch.float64)[:, None]
        return self.head(hidden)


class Output(NamedTuple):
    loss: None
    logits: torch.Tensor


class Returning(nn.Module):
    def __init__(self, inner, wrap):
        super().__init__()
        self.inner, self.wrap = inner, wrap

    def forward(self, inputs):
        return self.wrap(self.inner(inputs))


def rows(count: int = 50) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def ids(count: int = 20, positions: int = 7) -> torch.Tensor:
    return torch.randint(1, 11, (count, positions), generator=torch.Generator().manual_seed(8))


def standard_error(values: torch.Tensor) -> float:
    return float(np.std(values.numpy(), ddof=1) / np.sqrt(len(values)))


def test_classes_have_the_means_of_their_predictions():
    dense, compressed = dense_layer(0, 4, 3), dense_layer(1, 4, 3)
    found, each = predictive_divergence(dense, compressed, rows()), predictions(dense, compressed, rows())
    assert (found.kind, found.samples, found.classes, found.positions, found.scale) == ("classes", 50, 3, None, None)
    for quantity, values in (
        (found.kl, each.kl),
        (found.total_variation, each.total_variation),
        (found.disagreement, each.disagrees.double()),
    ):
        assert quantity.value == pytest.approx(float(values.mean()), rel=1e-14)
        assert quantity.standard_error == pytest.approx(standard_error(values), rel=1e-12)
        assert quantity.status == "estimate"


def test_tokens_are_averaged_a_sequence_and_padding_does_not_count():
    dense, compressed, x = Language(0), Language(1), ids()
    x[::2, 4:] = 0
    with torch.no_grad():
        each = sequence_distances(dense(x), compressed(x), x != 0)
    done = []
    found = predictive_divergence(dense, compressed, x, padding=0, batch_size=6, progress=done.append)
    assert (found.kind, found.samples, found.classes, found.positions) == ("tokens", 20, 11, 10 * 4 + 10 * 7)
    assert done == [6, 12, 18, 20]
    # Sums of twenty values in another order.
    assert found.kl.value == pytest.approx(float(each.kl.mean()), rel=1e-13)
    assert found.kl.standard_error == pytest.approx(standard_error(each.kl), rel=1e-11)
    assert found.total_variation.value == pytest.approx(float(each.total_variation.mean()), rel=1e-13)
    assert found.disagreement.value == pytest.approx(float(each.disagreement.mean()), rel=1e-13)
    masked = predictive_divergence(dense, compressed, x, mask=x != 0)
    assert masked.kl.value == pytest.approx(found.kl.value, rel=1e-13)
    short = predictive_divergence(dense, compressed, x[::2, :4])
    assert short.kl.value == pytest.approx(float(each.kl[::2].mean()), rel=1e-13)


def test_the_standard_error_covers_the_population_over_sequences():
    # 300 samples of 40 sequences, each of one repeated token: taken over tokens the error would be √7 too small.
    dense, compressed = Language(0), Language(1)
    repeated = torch.arange(11)[:, None].expand(11, 7)
    with torch.no_grad():
        values = sequence_distances(dense(repeated), compressed(repeated), torch.ones(11, 7, dtype=torch.bool)).kl
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(300):
        found = predictive_divergence(dense, compressed, repeated[torch.randint(11, (40,), generator=generator)])
        hits += abs(found.kl.value - float(values.mean())) <= 2 * found.kl.standard_error
    # 95.4 % for a normal mean, a little less from 40 of a skewed law; with a coverage of 93 %, below 0.87 is 4 standard
    # errors √(0.93·0.07/300) = 0.015 away. An error too small by √7 would cover 55 %.
    assert 0.87 <= hits / 300 <= 1.0


def test_regressions_are_gaussian_predictions():
    dense, compressed, x = dense_layer(0, 4, 2), dense_layer(1, 4, 2), rows()
    found = predictive_divergence(dense, compressed, x, scale=0.8, batch_size=7)
    each = gaussian_distances(dense(x).detach(), compressed(x).detach(), 0.8)
    assert (found.kind, found.scale, found.classes, found.disagreement) == ("regression", 0.8, None, None)
    assert found.kl.value == pytest.approx(float(each.kl.mean()), rel=1e-13)
    assert found.total_variation.standard_error == pytest.approx(standard_error(each.total_variation), rel=1e-11)
    assert predictive_divergence(dense, compressed, x[:1], scale=0.8).kl.standard_error is None


@pytest.mark.parametrize(
    ("wrap", "outputs"),
    [
        (lambda scores: {"logits": scores}, None),
        (lambda scores: Output(None, scores), None),
        (lambda scores: (None, scores), lambda returned: returned[1]),
    ],
)
def test_scores_are_found_in_what_a_network_returns(wrap, outputs):
    dense, compressed = Language(0), Language(1)
    wrapped = [Returning(network, wrap) for network in (dense, compressed)]
    found = predictive_divergence(*wrapped, ids(), outputs=outputs)
    assert found == predictive_divergence(dense, compressed, ids())


X = rows(3)


@pytest.mark.parametrize(
    ("make", "inputs", "options", "message"),
    [
        (lambda: Returning(dense_layer(0, 4, 3), lambda s: (s,)), X, {}, "dense returned a tuple, .* called logits"),
        (
            lambda: Returning(dense_layer(0, 4, 3), lambda s: {"y": s}),
            X,
            {},
            "dense returned a dict, expected a tensor",
        ),
        (lambda: dense_layer(0, 4, 3), X, {"outputs": lambda s: None}, "outputs= found a NoneType in what dense"),
        (lambda: dense_layer(0, 4, 1), X, {}, r"dense returned shape \(3, 1\), which may mean anything; say kind="),
        (lambda: dense_layer(0, 4, 1), X, {"kind": "regression"}, "a regression needs the standard deviation"),
        (
            lambda: dense_layer(0, 4, 3),
            X,
            {"kind": "labels"},
            "kind = 'labels'; expected classes, tokens or regression",
        ),
        (lambda: dense_layer(0, 4, 3), X, {"kind": "classes", "scale": 1.0}, "scale = 1.0 belongs to a regression"),
        (lambda: dense_layer(0, 4, 3), X, {"padding": 0}, "outputs are classes: give neither"),
        (lambda: dense_layer(0, 4, 3), X, {"padding": 0, "scale": 1.0}, "outputs are numbers: give neither"),
        (lambda: Language(0), ids(), {"padding": 0, "mask": ids() > 0}, "mask and padding both say"),
        (lambda: Language(0), ids(), {"mask": ids()[:2] > 0}, r"mask has shape \(2, 7\) and inputs is of shape"),
        (lambda: Language(0), [ids()], {"mask": ids() > 0}, "inputs is a list; expected one tensor"),
        (lambda: Language(0), ids(), {"batch_size": 0}, "batch_size = 0, expected at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, inputs, options, message):
    with pytest.raises(DataError, match=message):
        predictive_divergence(make(), make(), inputs, **options)


def test_the_vocabulary_does_not_change_between_batches():
    growing = Returning(Language(0), lambda scores: scores)
    sizes = iter((11, 11, 10, 10))
    growing.wrap = lambda scores: scores[..., : next(sizes)]
    with pytest.raises(DataError, match="dense returned a vocabulary of 11 before and of 10 now"):
        predictive_divergence(growing, growing, ids(), batch_size=10)
