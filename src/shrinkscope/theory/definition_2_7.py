"""Definition 2.7: how far a sparse network in training is from AP3, in two versions that are not the same."""

import math

import msgspec

from shrinkscope.errors import TheoryError
from shrinkscope.quantity import Quantity
from shrinkscope.theory.checks import not_negative


class ApproximateAP3(msgspec.Struct, frozen=True, kw_only=True):
    """ε_t of one iteration t, in both versions, in nats.

    Attributes:
        definition: |KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)|, of Definition 2.7. It tends to 0 as ω̃ᵗ → ω̃*.
        theorem: |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, of Theorem 3.6. It tends to KL(P_ω*‖P_ω̃*), not to 0.
    """

    definition: Quantity
    theorem: Quantity


def as_published(*, dense_to_sparse: float, dense_to_iterate: float) -> Quantity:
    """ε_t = |KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)| in nats: the quantity of Definition 2.7.

    Args:
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        dense_to_iterate: KL(P_ω*‖P_ω̃ᵗ), in nats.

    Returns:
        ε_t, exact if the divergences are.

    Raises:
        TheoryError: If a divergence is negative, infinite or NaN.

    Source: the paper's Eq. (6); tests/theory/test_definition_2_7.py.
    """
    return _difference(dense_to_sparse, dense_to_iterate, "KL(P_ω*‖P_ω̃ᵗ)")


def as_in_theorem(*, dense_to_sparse: float, sparse_to_iterate: float) -> Quantity:
    """ε_t = |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)| in nats: what Theorem 3.6 calls by the same name.

    Args:
        dense_to_sparse: KL(P_ω*‖P_ω̃*), in nats.
        sparse_to_iterate: KL(P_ω̃*‖P_ω̃ᵗ), in nats.

    Returns:
        ε_t, exact if the divergences are. At ω̃ᵗ = ω̃* it is KL(P_ω*‖P_ω̃*).

    Raises:
        TheoryError: If a divergence is negative, infinite or NaN.

    Source: the paper's Theorem 3.6; tests/theory/test_definition_2_7.py.
    """
    return _difference(dense_to_sparse, sparse_to_iterate, "KL(P_ω̃*‖P_ω̃ᵗ)")


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

    Source: `as_published` and `as_in_theorem`.
    """
    return ApproximateAP3(
        definition=as_published(dense_to_sparse=dense_to_sparse, dense_to_iterate=dense_to_iterate),
        theorem=as_in_theorem(dense_to_sparse=dense_to_sparse, sparse_to_iterate=sparse_to_iterate),
    )


def _difference(dense_to_sparse: float, other: float, name: str) -> Quantity:
    for value, what in ((dense_to_sparse, "KL(P_ω*‖P_ω̃*)"), (other, name)):
        if math.isinf(not_negative(value, what)):
            raise TheoryError(f"{what} is infinite; expected a finite divergence, whose difference has a meaning")
    return Quantity(value=abs(dense_to_sparse - other), unit="nats")
