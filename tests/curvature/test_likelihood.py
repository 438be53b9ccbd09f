"""Fisher information of tokens and of regressions against Jacobians with every label written out."""

import copy
import itertools

import pytest
import torch
from torch import nn

from references.fisher import dense_gaussian_fisher, dense_token_fisher
from shrinkscope.curvature import fisher_diagonal, kronecker_fisher
from shrinkscope.curvature import likelihood as likelihood_module
from shrinkscope.curvature.differentiate import load_curvlinops
from shrinkscope.curvature.likelihood import cotangents
from shrinkscope.errors import CurvatureError, DataError
from shrinkscope.performance import categorical

# Sums of a few thousand float64 products in two orders.
ROUNDING = 1e-10
SCALE = 0.7


class Language(nn.Module):
    """A causal language model of one attention over a vocabulary of five."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.feed = nn.Linear(4, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).triu(1)
        hidden = hidden + self.attention(hidden, hidden, hidden, attn_mask=mask)[0]
        return self.head(torch.tanh(self.feed(hidden)))


class Wrapped(nn.Module):
    """A network that returns a tuple with the scores behind something else."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        return None, self.inner(inputs)


LAYERS = ("attention.in_proj_weight", "attention.out_proj.weight", "feed.weight", "head.weight")


@pytest.fixture(scope="module")
def language():
    torch.manual_seed(0)
    model = Language().to(torch.float64).eval()
    return model, torch.randint(1, 5, (4, 3), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def regression():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 6), nn.Unflatten(1, (2, 3))).to(torch.float64)
    return model, torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch, of vmap over attention in the reference
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_the_expectation_over_tokens_is_the_diagonal_of_the_dense_fisher(language, name, padded, monkeypatch):
    monkeypatch.setattr(categorical, "CHUNK_SCORES", 7)  # chunks of a single row
    model, tokens = language
    tokens = tokens.clone()
    counts = None
    if padded:
        tokens[0, 2] = tokens[2, 1:] = 0
        counts = tokens != 0
    found = fisher_diagonal(model, tokens, padding=0 if padded else None, draws=None, batch_size=3)
    assert (found.kind, found.scale) == ("tokens", None)
    truth = dense_token_fisher(model, name, tokens, counts).diagonal()
    torch.testing.assert_close(found.value(name).reshape(-1), truth, rtol=ROUNDING, atol=ROUNDING * float(truth.max()))


@pytest.mark.parametrize("name", ["0.weight", "2.weight"])
def test_the_expectation_over_outputs_is_the_diagonal_of_the_dense_fisher(regression, name):
    model, inputs = regression
    found = fisher_diagonal(model, inputs, kind="regression", scale=SCALE, draws=None, batch_size=2)
    assert (found.kind, found.scale) == ("regression", SCALE)
    truth = dense_gaussian_fisher(model, name, inputs, SCALE).diagonal()
    torch.testing.assert_close(found.value(name).reshape(-1), truth, rtol=ROUNDING, atol=ROUNDING * float(truth.max()))
    assert "expected labels of N(f(x), 0.7²)" in found.precisions().description


@pytest.mark.parametrize("kind", ["tokens", "regression"])
def test_drawn_labels_average_to_the_expectation(language, regression, kind):
    model, inputs = language if kind == "tokens" else regression
    name = "head.weight" if kind == "tokens" else "2.weight"
    scale = None if kind == "tokens" else SCALE
    expected = fisher_diagonal(model, inputs, kind=kind, scale=scale, draws=None, layers=name).value(name)
    runs = torch.stack(
        [
            fisher_diagonal(
                model,
                inputs,
                kind=kind,
                scale=scale,
                draws=40,
                generator=torch.Generator().manual_seed(seed),
                layers=name,
            ).value(name)
            for seed in range(20)
        ]
    )
    error = runs.std(dim=0) / 20**0.5
    # Thirty entries at most, Student's t with 19 degrees of freedom beyond 5.5: 3e-5 each, 1e-3 together; seeds fixed.
    assert bool(((runs.mean(dim=0) - expected).abs() < 5.5 * error).all())
    assert bool((expected > 10 * error).any())


def test_the_outer_products_of_drawn_token_gradients_have_the_mean_of_single_positions(language):
    """Every draw of two positions, weighted by its probability: nothing between positions is left."""
    model, tokens = language
    scores = model(tokens[:1, :2]).detach()
    probabilities = scores.softmax(dim=2)[0]
    single = cotangents(scores, "tokens", scale=None, counts=None, draws=None, generator=torch.Generator())
    truth = sum(torch.outer(one.reshape(-1), one.reshape(-1)) for one in single.each)
    total = torch.zeros(10, 10, dtype=torch.float64)
    for labels in itertools.product(range(5), repeat=2):
        score = -probabilities.clone()
        weight = 1.0
        for position, label in enumerate(labels):
            score[position, label] += 1.0
            weight *= float(probabilities[position, label])
        total += weight * torch.outer(score.reshape(-1), score.reshape(-1)) / 2
    torch.testing.assert_close(truth, total, rtol=1e-12, atol=1e-14)


def quadratics(operator, weights):
    """Quadratic form of each weight's block for a random vector."""
    generator = torch.Generator().manual_seed(4)
    found = []
    for position, weight in enumerate(weights):
        vectors = [torch.zeros_like(other).detach() for other in weights]
        vectors[position] = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        truth = sum(float((v * w).sum()) for v, w in zip(vectors, operator @ vectors, strict=True))
        found.append((vectors[position].reshape(-1), truth))
    return found


def test_factors_of_tokens_agree_with_curvlinops():
    # Where no layer mixes positions: curvlinops sends the columns of all positions back together.
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).to(torch.float64)
    inputs = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    classes_second = nn.Sequential(*model, Swapped())
    weights = [model[0].weight, model[2].weight]
    operator = load_curvlinops().KFACLinearOperator(
        classes_second,
        nn.CrossEntropyLoss(),
        weights,
        [(inputs, torch.zeros(6, 2, dtype=torch.int64))],
        fisher_type="type-2",
        kfac_approx="expand",
        num_data=6,
    )
    precisions = kronecker_fisher(model, inputs, kind="tokens", draws=None, batch_size=4).precisions()
    for name, (x, truth) in zip(("0.weight", "2.weight"), quadratics(operator, weights), strict=True):
        assert precisions[name].quadratic(x) == pytest.approx(truth, rel=ROUNDING)


class Swapped(nn.Module):
    def forward(self, scores):
        return scores.transpose(1, 2)


def test_factors_of_a_regression_agree_with_curvlinops():
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).to(torch.float64)
    inputs = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    weights = [model[0].weight, model[3].weight]
    operator = load_curvlinops().KFACLinearOperator(
        model,
        nn.MSELoss(),
        weights,
        [(inputs, torch.zeros(6, 3, dtype=torch.float64))],
        fisher_type="type-2",
        kfac_approx="expand",
        num_data=6,
    )
    precisions = kronecker_fisher(model, inputs, scale=SCALE, draws=None).precisions()
    for name, (x, truth) in zip(("0.weight", "3.weight"), quadratics(operator, weights), strict=True):
        # Theirs is the curvature 2/D of the mean of D squares, ours 1/s² of the sum of them over 2s².
        assert precisions[name].quadratic(x) == pytest.approx(truth * 3 / 2 / SCALE**2, rel=ROUNDING)


def test_outputs_finds_the_scores_and_padding_the_positions(language):
    model, tokens = language
    wrapped = Wrapped(copy.deepcopy(model))
    padded = torch.cat([tokens, torch.zeros(4, 2, dtype=torch.int64)], dim=1)
    found = fisher_diagonal(wrapped, padded, padding=0, outputs=lambda returned: returned[1], draws=None)
    truth = fisher_diagonal(model, tokens, draws=None)
    for name in LAYERS:  # a causal model: what stands behind is not seen
        torch.testing.assert_close(found.value(f"inner.{name}"), truth.value(name), rtol=1e-9, atol=1e-14)
    assert found.precisions().description == "diagonal Fisher of 4 sequences, expected labels"
    factors = kronecker_fisher(wrapped, padded, padding=0, outputs=lambda returned: returned[1], draws=None)
    assert (factors.kind, factors.samples) == ("tokens", 4)


def test_excluded_tokens_cost_nothing(language):
    model, tokens = language

    class Excluding(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, inputs):
            scores = self.inner(inputs)
            return torch.cat([scores, torch.full_like(scores[..., :1], -torch.inf)], dim=-1)

    found = fisher_diagonal(Excluding(model), tokens, draws=None, layers="*.weight").value("inner.head.weight")
    truth = fisher_diagonal(model, tokens, draws=None).value("head.weight")
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=0)


def test_what_is_refused(language, regression, monkeypatch):
    model, tokens = language
    numbers, inputs = regression
    with pytest.raises(DataError, match="a regression needs the standard deviation of its prediction"):
        fisher_diagonal(numbers, inputs, kind="regression")
    with pytest.raises(DataError, match="scale = 0.0; expected a positive standard deviation"):
        kronecker_fisher(numbers, inputs, scale=0.0)
    with pytest.raises(DataError, match=r"scale = 1.0 belongs to a regression"):
        fisher_diagonal(model, tokens, kind="tokens", scale=1.0)
    with pytest.raises(DataError, match="kind = 'class'; expected classes, tokens or regression"):
        fisher_diagonal(model, tokens, kind="class")
    with pytest.raises(DataError, match="padding is about positions of sequences, and the outputs are regression"):
        fisher_diagonal(numbers, inputs, scale=1.0, padding=0)
    with pytest.raises(DataError, match="sequence 1 of a batch has no position that counts"):
        fisher_diagonal(model, torch.tensor([[1, 2], [0, 0]]), padding=0)
    with pytest.raises(DataError, match=r"inputs of \(2, 3\) tokens gave outputs at \(2, 2\)"):
        fisher_diagonal(Shorter(model), torch.ones(2, 3, dtype=torch.int64), padding=0)
    with pytest.raises(CurvatureError, match=r"expected logits of shape \(inputs, classes\) with at least 2 classes"):
        fisher_diagonal(model, tokens, kind="classes")
    with pytest.raises(CurvatureError, match=r"\(sequences, positions, vocabulary\) with at least 2 tokens"):
        fisher_diagonal(numbers[:3], inputs, kind="tokens")
    with pytest.raises(CurvatureError, match="NaN or infinite numbers"):
        fisher_diagonal(numbers, inputs * torch.inf, scale=1.0)
    monkeypatch.setattr(likelihood_module, "MOST_PASSES", 14)
    with pytest.raises(CurvatureError, match=r"takes 15 backward passes a batch \(3 positions and 5 classes\)"):
        fisher_diagonal(model, tokens, draws=None)
    monkeypatch.setattr(likelihood_module, "MOST_PASSES", 5)
    with pytest.raises(CurvatureError, match=r"takes 6 backward passes a batch \(6 outputs\); draw labels instead"):
        fisher_diagonal(numbers, inputs, scale=1.0, draws=None)
    one = fisher_diagonal(numbers, inputs, scale=1.0)
    with pytest.raises(CurvatureError, match=r"scale = 1.0 and 2.0 cannot be merged"):
        one.merge(fisher_diagonal(numbers, inputs, scale=2.0))
    flat = nn.Sequential(*numbers[:3])
    with pytest.raises(CurvatureError, match="kind = regression and classes cannot be merged"):
        kronecker_fisher(flat, inputs, scale=1.0).merge(kronecker_fisher(flat, inputs))


class Shorter(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        return self.inner(inputs)[:, 1:]
