"""The predictive bound: that it holds for any networks and labels, that its constants are the best, what it is not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.errors import TheoryError
from shrinkscope.theory import predictive
from shrinkscope.theory.confidence import betting_upper, binomial_upper

SEEDS = st.integers(0, 2**32 - 1)


def population(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions p and q of two networks on every input of a small population, and labels: near, far, sharp, flat."""
    generator = np.random.default_rng(seed)
    inputs, classes = int(generator.integers(1, 8)), int(generator.integers(2, 6))
    logits = generator.normal(size=(inputs, classes)) * generator.choice([0.1, 1.0, 10.0, 50.0])
    moved = logits + generator.normal(size=logits.shape) * generator.choice([1e-3, 0.1, 1.0, 20.0], (inputs, 1))
    p, q = (np.exp(z - z.max(1, keepdims=True)) for z in (logits, moved))
    return (
        p / p.sum(1, keepdims=True),
        q / q.sum(1, keepdims=True),
        generator.integers(classes, size=inputs),
    )


def distances(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    return np.minimum(np.abs(p - q).sum(1) / 2, 1.0), np.maximum(terms.sum(1), 0.0)


@given(SEEDS, st.floats(0.1, 100), st.floats(-50, 50))
def test_any_bounded_measure_of_the_drawn_label(seed, span, least):
    """h(x, right label, drawn label) is an arbitrary table; the expectation over the drawn label is a sum over it."""
    p, q, labels = population(seed)
    generator = np.random.default_rng(seed)
    table = least + span * generator.random((len(p), p.shape[1], p.shape[1]))
    values = table[np.arange(len(p)), labels]
    difference = abs((p * values).sum(1).mean() - (q * values).sum(1).mean())
    tv, kl = distances(p, q)
    chain = [
        predictive.measure(tv.mean(), span=span),
        predictive.measure_by_pinsker(kl, span=span),
        predictive.measure_by_jensen(kl.mean(), span=span),
    ]
    rounding = 1e-13 * (span + abs(least))
    assert not chain[0].violated(difference, tolerance=rounding)
    # Pinsker's inequality at KL near the square of the rounding of the logarithms: 1e-16 nats is 1e-8 of TV.
    assert chain[0].value <= chain[1].value + 2e-8 * span
    assert chain[1].value <= chain[2].value + rounding


def test_a_measure_that_attains_the_bound():
    p, q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.4, 0.35, 0.25]])
    h = 5.0 * (p > q)
    assert (p * h).sum() - (q * h).sum() == pytest.approx(predictive.measure(0.3, span=5.0).value, rel=1e-14)


@given(SEEDS)
def test_with_real_labels_probability_brier_score_and_accuracy(seed):
    p, q, labels = population(seed)
    rows = np.arange(len(p))
    tv, _ = distances(p, q)
    right = abs(p[rows, labels].mean() - q[rows, labels].mean())
    assert not predictive.measure(tv.mean()).violated(right, tolerance=1e-14)
    scores = [((r - np.eye(p.shape[1])[labels]) ** 2).sum(1).mean() for r in (p, q)]
    assert not predictive.brier(tv.mean()).violated(abs(scores[0] - scores[1]), tolerance=1e-14)
    differs = p.argmax(1) != q.argmax(1)
    accuracies = [(r.argmax(1) == labels).mean() for r in (p, q)]
    by_class = predictive.accuracy(float(differs.mean()))
    assert not by_class.violated(abs(accuracies[0] - accuracies[1]), tolerance=1e-15)
    top = np.sort(p, axis=1)
    margin = top[:, -1] - top[:, -2]
    assert predictive.accuracy_by_margin(tv, margin).value >= by_class.value


def test_the_accuracy_bound_is_attained():
    """The dense network is right on 12 inputs on which they differ: the difference of the accuracies is the bound."""
    labels = np.zeros(1000, dtype=int)
    compressed = np.where(np.arange(1000) < 12, 1, 0)
    bound = predictive.accuracy(float((compressed != 0).mean()))
    lost = (labels == 0).mean() - (labels == compressed).mean()
    assert bound.value == pytest.approx(lost, rel=1e-14)  # rounding of a difference of means
    assert bound.tightness(lost) == pytest.approx(1.0, rel=1e-14)


def test_half_the_margin_is_the_best_constant():
    for margin in (0.01, 0.3, 0.9):
        p = np.array([[0.5 + margin / 2, 0.5 - margin / 2]])
        tie = np.array([[0.5, 0.5]])
        assert distances(p, tie)[0] == pytest.approx(margin / 2, rel=1e-14)
        beyond = tie + np.array([[-1e-9, 1e-9]])
        assert beyond.argmax() != p.argmax()
        assert predictive.accuracy_by_margin(distances(p, beyond)[0], [margin]).value == 1.0
        assert predictive.accuracy_by_margin([margin / 2 - 1e-9], [margin]).value == 0.0


def test_four_is_the_best_constant_of_the_brier_score_and_its_span_is_not_enough():
    """p is sure of a wrong class, q a little less so: (2 − 2(1 − t)²)/t → 4."""
    step = 1e-6
    p, q = np.array([1.0, 0.0]), np.array([1 - step, step])
    scores = [((r - np.array([0.0, 1.0])) ** 2).sum() for r in (p, q)]
    assert (scores[0] - scores[1]) / step == pytest.approx(4.0, rel=1e-5)
    assert predictive.measure(step, span=2.0).violated(scores[0] - scores[1])
    assert not predictive.brier(step).violated(scores[0] - scores[1], tolerance=1e-15)
    assert predictive.brier(0.9).value == 2.0


def test_total_variation_does_not_bound_the_accuracy_of_the_argmax():
    """Two predictions at TV = 0.002 on either side of a tie: with all labels of the first class, accuracy 1 and 0."""
    p, q = np.array([[0.501, 0.499]]), np.array([[0.499, 0.501]])
    assert predictive.measure(distances(p, q)[0].mean()).violated(1.0)
    assert not predictive.accuracy(1.0).violated(1.0)


def test_the_measure_must_be_the_same_for_both_networks():
    """h = 1 where the drawn label is the network's own favourite: E h is its confidence, and each has another h."""
    p, q = np.array([[0.5, 0.5 - 1e-9, 1e-9]]), np.array([[0.4, 0.3, 0.3]])
    favourite = p.argmax()
    tv = distances(p, q)[0].mean()
    assert favourite == q.argmax() == 0
    assert not predictive.measure(tv).violated(p[0, favourite] - q[0, favourite])
    # "The network's favourite is class 1", a function of the network, jumps from 0 to 1 at any TV above 0.
    near = np.array([[0.5 - 1e-6, 0.5 + 1e-6 - 1e-9, 1e-9]])
    assert near.argmax() == 1
    assert predictive.measure(distances(p, near)[0].mean()).violated(1.0)


def test_samples_bound_the_population_through_the_confidence_bounds():
    bound = predictive.accuracy_from_sample(12, 1000, confidence=0.95)
    assert bound.value == float(binomial_upper(12, 1000, 0.95))
    assert bound.constants == {"k": 12.0, "n": 1000.0, "confidence": 0.95}
    assert bound.assumptions_hold is None
    values = np.random.default_rng(0).beta(0.2, 3.0, 300)
    tv = predictive.measure_from_sample(values, confidence=0.9, span=3.0)
    assert tv.value == 3.0 * float(betting_upper(values, 0.9))
    kl = np.append(2 * values**2, math.inf)  # √(KL/2) = TV, and one prediction without common ground
    by_kl = predictive.measure_by_pinsker_from_sample(kl, confidence=0.9)
    assert by_kl.value == pytest.approx(float(betting_upper(np.append(values, 1.0), 0.9)), rel=1e-9)
    assert by_kl.constants["mean min(1, √(KL/2))"] == pytest.approx((values.sum() + 1) / 301)


def test_more_inputs_bring_the_bound_to_the_truth():
    values = [predictive.accuracy_from_sample(n // 50, n, confidence=0.95).value for n in (50, 500, 5000, 500_000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predictive.accuracy(1.5), "the probability that the argmax differs is 1.5"),
        (lambda: predictive.accuracy_by_margin([0.1], [0.1, 0.2]), "1 values of TV and 2 margins; expected as many"),
        (lambda: predictive.accuracy_by_margin([0.1], [1.2]), "values of margin are from 1.2 to 1.2"),
        (lambda: predictive.accuracy_by_margin([], []), "values of TV are missing"),
        (lambda: predictive.measure(0.5, span=0.0), "B, the span of the measure is 0.0; expected a positive"),
        (lambda: predictive.measure(-0.1), "E TV is -0.1"),
        (lambda: predictive.brier(math.nan), "E TV is nan"),
        (lambda: predictive.measure_by_pinsker([-1.0]), "the smallest KL is -1.0; expected values of at least 0"),
        (lambda: predictive.measure_by_pinsker([]), "the smallest KL is missing"),
        (lambda: predictive.measure_by_jensen(-1.0), "E KL is -1.0"),
        (lambda: predictive.accuracy_from_sample(3, 2, confidence=0.9), "successes in 2 trials"),
        (lambda: predictive.measure_from_sample([0.5], confidence=2.0), "confidence = 2"),
        (lambda: predictive.measure_from_sample([1.5], confidence=0.9), "values of TV are from 1.5 to 1.5"),
        (lambda: predictive.measure_from_sample([0.5], confidence=0.9, span=-1.0), "B, the span of the measure is -1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(call, message):
    with pytest.raises(TheoryError, match=message):
        call()
