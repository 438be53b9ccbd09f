"""Definition 2.7: how far a sparse network in training is from AP3, in two versions that are not the same."""

import math

import msgspec

from shrinkscope.errors import TheoryError
from shrinkscope.quantity import Quantity
from shrinkscope.theory.bound import Bound, Form
from shrinkscope.theory.checks import not_negative

_END = "KL(P_ω*‖P_ω̃*)"
_FROM_DENSE = "KL(P_ω*‖P_ω̃ᵗ)"
_FROM_END = "KL(P_ω̃*‖P_ω̃ᵗ)"


class ApproximateAP3(msgspec.Struct, frozen=True, kw_only=True):
    """ε_t of one iteration t, in both versions, in nats.

    Attributes:
        definition: |KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)|, of Definition 2.7. It tends to 0 as ω̃ᵗ → ω̃*.
        theorem: |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, of Theorem 3.6. It tends to KL(P_ω*‖P_ω̃*), not to 0.
    """

    definition: Quantity
    theorem: Quantity


def as_published(*, dense_to_sparse: float, dense_to_iterate: float, sparse_to_iterate: float) -> Bound:
    """KL(P_ω*‖P_ω̃*) ≤ ε_t + KL(P_ω̃*‖P_ω̃ᵗ) nats with ε_t of Eq. (6): what Theorem 3.6 takes from Definition 2.7.

    Args:
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        dense_to_iterate: KL(P_ω*‖P_ω̃ᵗ), in nats.
        sparse_to_iterate: KL(P_ω̃*‖P_ω̃ᵗ), in nats.

    Returns:
        A bound on AP3 that does not hold: at the end of training both terms are 0.

    Raises:
        TheoryError: If a divergence is negative, infinite or NaN.

    Source: the paper's Eq. (6) and the proof of Theorem 3.6; tests/theory/test_definition_2_7.py violates it.
    """
    epsilon = _difference(dense_to_sparse, dense_to_iterate, _FROM_DENSE)
    return _bound(dense_to_sparse, epsilon, sparse_to_iterate, "published", {_FROM_DENSE: float(dense_to_iterate)})


def corrected(*, dense_to_sparse: float, sparse_to_iterate: float) -> Bound:
    """KL(P_ω*‖P_ω̃*) ≤ ε_t + KL(P_ω̃*‖P_ω̃ᵗ) nats with ε_t = |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, which the proof needs.

    Args:
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        sparse_to_iterate: KL(P_ω̃*‖P_ω̃ᵗ), in nats.

    Returns:
        A bound on AP3, attained while AP3 is the larger of the two.

    Raises:
        TheoryError: If a divergence is negative, infinite or NaN.

    Source: the ε_t that the paper's Theorem 3.6 writes out; tests/theory/test_definition_2_7.py.
    """
    epsilon = _difference(dense_to_sparse, sparse_to_iterate, _FROM_END)
    return _bound(dense_to_sparse, epsilon, sparse_to_iterate, "corrected", {})


def sharpened(*, dense_to_sparse: float, dense_to_iterate: float) -> Bound:
    """KL(P_ω*‖P_ω̃ᵗ) ≤ ε_t + KL(P_ω*‖P_ω̃*) nats with ε_t of Eq. (6): what Definition 2.7 does say, of the iterate.

    Args:
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        dense_to_iterate: KL(P_ω*‖P_ω̃ᵗ), in nats.

    Returns:
        A bound on the divergence at iteration t, from which `theorem_3_6.sharpened_gaussian` follows.

    Raises:
        TheoryError: If a divergence is negative, infinite or NaN.

    Source: derived here; tests/theory/test_definition_2_7.py.
    """
    epsilon = _difference(dense_to_sparse, dense_to_iterate, _FROM_DENSE)
    return Bound(
        statement="Definition 2.7",
        form="sharpened",
        side="upper",
        quantity=f"{_FROM_DENSE}, the divergence at iteration t",
        value=epsilon + dense_to_sparse,
        unit="nats",
        constants={"ε_t": epsilon, _END: float(dense_to_sparse)},
        assumptions=(),
    )


def approximate_ap3(*, dense_to_sparse: float, dense_to_iterate: float, sparse_to_iterate: float) -> ApproximateAP3:
    """Both versions of ε_t for one iteration, in nats.

    Args:
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        dense_to_iterate: KL(P_ω*‖P_ω̃ᵗ), in nats.
        sparse_to_iterate: KL(P_ω̃*‖P_ω̃ᵗ), in nats.

    Returns:
        The two, named.

    Raises:
        TheoryError: If a divergence is negative, infinite or NaN.

    Source: the paper's Eq. (6) and Theorem 3.6; tests/theory/test_definition_2_7.py.
    """
    return ApproximateAP3(
        definition=Quantity(value=_difference(dense_to_sparse, dense_to_iterate, _FROM_DENSE), unit="nats"),
        theorem=Quantity(value=_difference(dense_to_sparse, sparse_to_iterate, _FROM_END), unit="nats"),
    )


def _bound(dense_to_sparse: float, epsilon: float, later: float, form: Form, extra: dict[str, float]) -> Bound:
    rest = not_negative(later, _FROM_END)
    return Bound(
        statement="Definition 2.7",
        form=form,
        side="upper",
        quantity=f"{_END}, AP3",
        value=epsilon + rest,
        unit="nats",
        constants={"ε_t": epsilon, _END: float(dense_to_sparse), _FROM_END: rest} | extra,
        assumptions=(),
    )


def _difference(dense_to_sparse: float, other: float, name: str) -> float:
    for value, what in ((dense_to_sparse, _END), (other, name)):
        if math.isinf(not_negative(value, what)):
            raise TheoryError(f"{what} is infinite; expected a finite divergence, whose difference has a meaning")
    return abs(dense_to_sparse - other)
