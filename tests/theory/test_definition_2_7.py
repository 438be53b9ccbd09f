"""Definition 2.7 and Theorem 3.6 mean two different quantities by one name."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import Isotropic
from shrinkscope.errors import TheoryError
from shrinkscope.theory import definition_2_7


def divergences(dense: float, sparse: float, iterate: float) -> dict[str, float]:
    """Of scalar Gaussians of unit variance."""
    pairs = {
        "dense_to_sparse": dense - sparse,
        "dense_to_iterate": dense - iterate,
        "sparse_to_iterate": sparse - iterate,
    }
    return {
        name: float(gaussian_kl(torch.tensor([gap], dtype=torch.float64), Isotropic(1))) for name, gap in pairs.items()
    }


def test_both_are_named_and_differ():
    found = definition_2_7.approximate_ap3(**divergences(3.0, 1.0, 0.0))
    assert found.definition.value == 2.5  # |2 − 4.5|
    assert found.theorem.value == 1.5  # |2 − 0.5|
    assert found.definition.unit == found.theorem.unit == "nats"


def test_at_the_end_of_training_the_definition_is_zero_and_the_theorem_is_not():
    # So the assumption of Theorem 3.6, that ε_t is small, fails exactly when training has converged.
    found = definition_2_7.approximate_ap3(**divergences(3.0, 1.0, 1.0))
    assert found.definition.value == 0.0
    assert found.theorem.value == 2.0


def test_the_theorems_quantity_can_vanish_on_the_way():
    assert definition_2_7.approximate_ap3(**divergences(3.0, 1.0, -1.0)).theorem.value == 0.0


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_nonsense_is_refused(value):
    with pytest.raises(TheoryError, match=r"KL\(P_ω\*‖P_ω̃\*\) is"):
        definition_2_7.as_published(dense_to_sparse=value, dense_to_iterate=1.0, sparse_to_iterate=1.0)
    for function in (definition_2_7.corrected, partial(definition_2_7.as_published, dense_to_iterate=1.0)):
        with pytest.raises(TheoryError, match=r"KL\(P_ω̃\*‖P_ω̃ᵗ\) is"):
            function(dense_to_sparse=1.0, sparse_to_iterate=value)


def test_infinite_divergences_have_no_difference():
    with pytest.raises(TheoryError, match=r"KL\(P_ω\*‖P_ω̃ᵗ\) is infinite; expected a finite divergence"):
        definition_2_7.sharpened(dense_to_sparse=1.0, dense_to_iterate=math.inf)


def test_the_printed_epsilon_does_not_bound_ap3_and_the_theorems_own_does():
    known = divergences(3.0, 1.0, 1.0)  # training is over: the definition's ε is 0, and so is what is left to go
    published = definition_2_7.as_published(**known)
    assert (published.value, published.violated(known["dense_to_sparse"])) == (0.0, True)
    right = {name: value for name, value in known.items() if name != "dense_to_iterate"}
    assert definition_2_7.corrected(**right).value == known["dense_to_sparse"] == 2.0


positions = st.floats(-30, 30)


@given(dense=positions, sparse=positions, iterate=positions)
def test_the_corrected_and_the_sharpened_form_hold_everywhere(dense, sparse, iterate):
    known = divergences(dense, sparse, iterate)
    end, now, later = known["dense_to_sparse"], known["dense_to_iterate"], known["sparse_to_iterate"]
    slack = 1e-12 * (end + now + later)  # of sums in float64
    corrected = definition_2_7.corrected(dense_to_sparse=end, sparse_to_iterate=later)
    assert not corrected.violated(end, tolerance=slack)
    assert end < later or corrected.value == pytest.approx(end, rel=1e-12)  # attained
    assert not definition_2_7.sharpened(dense_to_sparse=end, dense_to_iterate=now).violated(now, tolerance=slack)
