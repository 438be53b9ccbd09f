"""Definition 2.3 (Pinsker's inequality) and Definition 2.4 (the total variation that it bounds)."""

import math

from shrinkscope.divergence.total_variation_bounds import bretagnolle_huber, pinsker
from shrinkscope.theory.bound import Assumption, Bound, Form
from shrinkscope.theory.checks import not_negative, probability


def as_published(total_variation: float) -> Bound:
    """KL(P‖Q) ≥ 2·TV², in nats; it holds as printed, with logarithms to base e.

    Args:
        total_variation: TV(P, Q), Definition 2.4: half the L1 distance of the densities, or the largest difference of
            probabilities of an event. The definition's "finite domain" is not needed, nor does it go with its integral.

    Returns:
        A lower bound on KL(P‖Q), and on KL(Q‖P).

    Raises:
        TheoryError: If the total variation is no probability.

    Source: the paper's Definition 2.3; Pinsker (1964). tests/theory/test_definition_2_3.py.
    """
    return _bound(total_variation, 2 * probability(total_variation, "the total variation") ** 2, "published")


def corrected(total_variation: float) -> Bound:
    """The same as `as_published`, which is right; in decimal logarithms it would not be.

    Args:
        total_variation: TV(P, Q).

    Returns:
        A lower bound on KL(P‖Q) in nats.

    Raises:
        TheoryError: If the total variation is no probability.

    Source: Pinsker (1964), with Csiszár's constant; tests/theory/test_definition_2_3.py.
    """
    return _bound(total_variation, 2 * probability(total_variation, "the total variation") ** 2, "corrected")


def sharpened(total_variation: float) -> Bound:
    """The larger of 2·TV² and −log(1 − TV²), in nats: it grows without limit as TV → 1, where Pinsker's stays at 2.

    Args:
        total_variation: TV(P, Q).

    Returns:
        A lower bound on KL(P‖Q).

    Raises:
        TheoryError: If the total variation is no probability.

    Source: Bretagnolle & Huber (1979), Lemma 2.1; tests/theory/test_definition_2_3.py.
    """
    return _bound(total_variation, divergence_from(total_variation), "sharpened")


def divergence_from(total_variation: float) -> float:
    """The larger of 2·TV² and −log(1 − TV²), in nats.

    Args:
        total_variation: TV(P, Q), or a lower bound on it.

    Returns:
        A lower bound on KL(P‖Q); infinite for TV = 1.

    Raises:
        TheoryError: If the total variation is no probability.

    Source: see `sharpened`.
    """
    square = probability(total_variation, "the total variation") ** 2
    return max(2 * square, math.inf if square == 1 else -math.log1p(-square))


def total_variation_from(divergence: float) -> float:
    """The smaller of √(KL/2) and √(1 − e^(−KL)), a probability below 1 for every finite KL.

    Args:
        divergence: KL(P‖Q) in nats, or an upper bound on it.

    Returns:
        An upper bound on TV(P, Q); the inverse of `divergence_from`.

    Raises:
        TheoryError: If the divergence is negative or NaN.

    Source: Pinsker (1964), Bretagnolle & Huber (1979).
    """
    divergence = not_negative(divergence, "KL(P‖Q)")
    return min(pinsker(divergence), bretagnolle_huber(divergence))


def _bound(total_variation: float, value: float, form: Form) -> Bound:
    return Bound(
        statement="Definition 2.3",
        form=form,
        side="lower",
        quantity="KL(P‖Q)",
        value=value,
        unit="nats",
        constants={"TV": float(total_variation)},
        assumptions=(Assumption(text="the logarithm is taken to base e", holds=True),),
    )
