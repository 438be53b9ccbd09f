"""The predictive bound: how much performance can differ between two networks, from their predictions on inputs alone.

P_ω is the law of (x, y) with x from the data and y drawn from the network's own predictive distribution p_ω(·|x).
Proofs are in docs/theory.md.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shrinkscope.errors import TheoryError
from shrinkscope.theory.bound import Assumption, Bound
from shrinkscope.theory.checks import not_negative, positive, probability
from shrinkscope.theory.confidence import betting_upper, binomial_upper

STATEMENT = "predictive bound"

ACCURACY = "|accuracy(ω) − accuracy(ω̃)| of the argmax class"
MEASURE = "|E h(ω) − E h(ω̃)| for a measure h of span B under the label that each network draws"
BRIER = "|Brier score(ω) − Brier score(ω̃)|"

SAMPLED = Assumption(text="the inputs are an independent sample of the population that is meant")
FRESH = Assumption(text="neither network was trained, compressed or calibrated on these inputs")
SAME_LAW = Assumption(text="the expectations were taken over the population that is meant")


def accuracy(disagreement: float) -> Bound:
    """The accuracies of the argmax differ by at most P(argmax differs), as fractions, whatever the labels are.

    Args:
        disagreement: Probability that the two networks' argmax classes differ.

    Returns:
        An upper bound, attained if one of the networks is right wherever they differ.

    Raises:
        TheoryError: If the probability is none.

    Source: derived here (docs/theory.md); tests/theory/test_predictive.py.
    """
    share = probability(disagreement, "the probability that the argmax differs")
    return _bound(ACCURACY, share, "fraction", {"P(argmax differs)": share}, (SAME_LAW,))


def accuracy_by_margin(total_variation: ArrayLike, margin: ArrayLike) -> Bound:
    """The accuracies differ by at most P(TV ≥ ½ margin), as fractions: elsewhere the argmax cannot differ.

    Never below the share of disagreements; of use where the distances are known and the classes are not.

    Args:
        total_variation: TV(p, q) of every input of the population, in [0, 1].
        margin: Difference of the two largest probabilities of p, of the same inputs. ½ is the best constant:
            p = (½ + m/2, ½ − m/2) and q = (½, ½) are at TV = m/2, and q is tied.

    Returns:
        An upper bound.

    Raises:
        TheoryError: If there are not as many margins as distances, or a number is not in [0, 1].

    Source: derived here (docs/theory.md); tests/theory/test_predictive.py.
    """
    distance, gap = _fractions(total_variation, "TV"), _fractions(margin, "margin")
    if distance.shape != gap.shape:
        raise TheoryError(f"{distance.size} values of TV and {gap.size} margins; expected as many of both")
    # Both carry rounding of a few ulp of 1; an input so near its half margin is counted as one that may change.
    share = float(np.mean(distance >= gap / 2 - 1e-14))
    return _bound(ACCURACY, share, "fraction", {"P(TV ≥ margin/2)": share}, (SAME_LAW,))


def measure(mean_total_variation: float, *, span: float = 1.0) -> Bound:
    """|E h(ω) − E h(ω̃)| ≤ B·E TV(p_ω, p_ω̃), in the unit of h.

    h is any function of x, of the label that the network draws from its prediction, and of anything that does not
    depend on the network, such as the right label: the probability that the network gives to the right label has h = 1
    where the drawn label is right, and B = 1. The accuracy of the argmax is no such measure, nor is anything that is
    not linear in p.

    Args:
        mean_total_variation: E TV(p_ω(·|x), p_ω̃(·|x)), in [0, 1].
        span: B, the largest value of h minus the smallest one.

    Returns:
        An upper bound.

    Raises:
        TheoryError: If the mean is not in [0, 1], or the span is not positive.

    Source: derived here (docs/theory.md); tests/theory/test_predictive.py.
    """
    mean = probability(mean_total_variation, "E TV")
    width = positive(span, "B, the span of the measure")
    return _bound(MEASURE, width * mean, "units of h", {"E TV": mean, "B": width}, (SAME_LAW,))


def measure_by_pinsker(kl: ArrayLike, *, span: float = 1.0) -> Bound:
    """|E h(ω) − E h(ω̃)| ≤ B·E min(1, √(KL/2)), in the unit of h; never below ``measure``.

    Args:
        kl: KL(p_ω‖p_ω̃) of every input of the population, in nats.
        span: As for ``measure``.

    Returns:
        An upper bound.

    Raises:
        TheoryError: If there is no value, one is negative or NaN, or the span is not positive.

    Source: derived here (docs/theory.md), by Pinsker's inequality at each input.
    """
    width, mean = positive(span, "B, the span of the measure"), float(_by_pinsker(kl).mean())
    return _bound(MEASURE, width * mean, "units of h", {"E min(1, √(KL/2))": mean, "B": width}, (SAME_LAW,))


def measure_by_jensen(mean_kl: float, *, span: float = 1.0) -> Bound:
    """|E h(ω) − E h(ω̃)| ≤ B·√(½ E KL), in the unit of h; never below ``measure_by_pinsker``.

    E KL is KL(P_ω‖P_ω̃), so that this is what Lemma 3.1 aims at, without a Hessian and for every ε.

    Args:
        mean_kl: E KL(p_ω‖p_ω̃) over the population, in nats.
        span: As for ``measure``.

    Returns:
        An upper bound.

    Raises:
        TheoryError: If the divergence is negative or NaN, or the span is not positive.

    Source: derived here (docs/theory.md), by Jensen's inequality.
    """
    width, mean = positive(span, "B, the span of the measure"), not_negative(mean_kl, "E KL")
    return _bound(MEASURE, width * (mean / 2) ** 0.5, "units of h", {"E KL": mean, "B": width}, (SAME_LAW,))


def brier(mean_total_variation: float) -> Bound:
    """|Brier score(ω) − Brier score(ω̃)| ≤ min(2, 4·E TV), for the sum over classes of (p_c − 1[c = y])².

    The score is quadratic in p: B·E TV with B = 2, its span, does not bound it. 4 is the best constant.

    Args:
        mean_total_variation: E TV, in [0, 1].

    Returns:
        An upper bound, whatever the labels are.

    Raises:
        TheoryError: If the mean is not in [0, 1].

    Source: derived here (docs/theory.md); tests/theory/test_predictive.py has a pair that attains 4 in the limit.
    """
    mean = probability(mean_total_variation, "E TV")
    return _bound(BRIER, min(2.0, 4 * mean), "squared probability", {"E TV": mean}, (SAME_LAW,))


def accuracy_from_sample(disagreements: int, samples: int, *, confidence: float) -> Bound:
    """``accuracy`` with the probability bounded from a sample: |accuracy(ω) − accuracy(ω̃)| ≤ Clopper–Pearson(k, n).

    Args:
        disagreements: Inputs k on which the argmax classes differ.
        samples: Inputs n, drawn independently from the population.
        confidence: Probability, over the drawing of the inputs, that the bound holds.

    Returns:
        An upper bound, as a fraction, on the difference over the population.

    Raises:
        TheoryError: If the counts or the confidence are impossible.

    Source: ``accuracy`` and ``confidence.binomial_upper``; tests/analysis/test_predictive.py measures its coverage.
    """
    value = float(binomial_upper(disagreements, samples, confidence))
    constants = {"k": float(disagreements), "n": float(samples), "confidence": confidence}
    return _bound(ACCURACY, value, "fraction", constants, (SAMPLED, FRESH))


def accuracy_from_shares(shares: ArrayLike, *, confidence: float) -> Bound:
    """``accuracy`` for sequences: the accuracies per position differ by at most E[share of positions that differ].

    Positions of a sequence are not independent of each other: the sequences are the sample, and the mean of their
    shares is bounded by betting, which needs nothing but that they lie in [0, 1].

    Args:
        shares: Of each sequence, the share of its positions where the argmax differs.
        confidence: Probability, over the drawing of the sequences, that the bound holds.

    Returns:
        An upper bound, as a fraction, on the difference over the population of the mean over sequences of the share of
        positions that are right.

    Raises:
        TheoryError: If a share is not in [0, 1], there is none, or the confidence is impossible.

    Source: ``accuracy`` at each position, and ``confidence.betting_upper``; tests/analysis/test_predictive.py measures
        its coverage.
    """
    differing = _fractions(shares, "the share of positions that differ")
    constants = {"mean share": float(differing.mean()), "n": float(differing.size), "confidence": confidence}
    return _bound(ACCURACY, float(betting_upper(differing, confidence)), "fraction", constants, (SAMPLED, FRESH))


def measure_from_sample(total_variation: ArrayLike, *, confidence: float, span: float = 1.0) -> Bound:
    """``measure`` with E TV bounded from a sample by betting.

    Args:
        total_variation: TV(p, q) of each of the inputs, drawn independently from the population.
        confidence: Probability, over the drawing of the inputs, that the bound holds.
        span: As for ``measure``.

    Returns:
        An upper bound, in the unit of h, on the difference over the population.

    Raises:
        TheoryError: If a value is not in [0, 1], there is none, or confidence or span are impossible.

    Source: ``measure`` and ``confidence.betting_upper``; tests/analysis/test_predictive.py measures its coverage.
    """
    distances = _fractions(total_variation, "TV")
    return _measure_from_sample(distances, "mean TV", confidence, span)


def measure_by_pinsker_from_sample(kl: ArrayLike, *, confidence: float, span: float = 1.0) -> Bound:
    """``measure_by_pinsker`` with E min(1, √(KL/2)) bounded from a sample by betting.

    There is no such bound on E KL itself: a divergence has no upper limit, so that inputs too rare to be in the sample
    could make its mean as large as one likes. What goes in here is capped at 1.

    Args:
        kl: KL(p‖q) of each of the inputs, in nats; infinite values count as 1 after the cap.
        confidence: As for ``measure_from_sample``.
        span: As for ``measure``.

    Returns:
        An upper bound, in the unit of h, on the difference over the population.

    Raises:
        TheoryError: As for ``measure_from_sample``.

    Source: ``measure_by_pinsker`` and ``confidence.betting_upper``.
    """
    return _measure_from_sample(_by_pinsker(kl), "mean min(1, √(KL/2))", confidence, span)


def _measure_from_sample(values: NDArray[np.float64], name: str, confidence: float, span: float) -> Bound:
    width = positive(span, "B, the span of the measure")
    value = width * float(betting_upper(values, confidence))
    constants = {name: float(values.mean()), "n": float(values.size), "B": width, "confidence": confidence}
    return _bound(MEASURE, value, "units of h", constants, (SAMPLED, FRESH))


def _by_pinsker(kl: ArrayLike) -> NDArray[np.float64]:
    divergences = np.asarray(kl, dtype=np.float64)
    if divergences.size == 0 or not (divergences >= 0).all():
        smallest = divergences.min() if divergences.size else "missing"
        raise TheoryError(f"the smallest KL is {smallest}; expected values of at least 0, at least one")
    return np.minimum(1.0, np.sqrt(divergences / 2))


def _fractions(values: ArrayLike, what: str) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not ((numbers >= 0) & (numbers <= 1)).all():
        found = f"from {numbers.min()} to {numbers.max()}" if numbers.size else "missing"
        raise TheoryError(f"values of {what} are {found}; expected numbers from 0 to 1, at least one")
    return numbers


def _bound(
    quantity: str, value: float, unit: str, constants: dict[str, float], assumptions: tuple[Assumption, ...]
) -> Bound:
    return Bound(
        statement=STATEMENT,
        form="sharpened",
        side="upper",
        quantity=quantity,
        value=value,
        unit=unit,
        constants=constants,
        assumptions=assumptions,
    )
