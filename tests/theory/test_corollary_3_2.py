"""Corollary 3.2: the missing square, and random models on which the corrected form never fails."""

import math

import pytest
import torch

from references.covariances import between, generator, positive_definite
from references.losses import families
from shrinkscope.divergence import gaussian_kl
from shrinkscope.divergence.covariance import Dense
from shrinkscope.errors import TheoryError
from shrinkscope.theory import corollary_3_2
from shrinkscope.theory.constants import inverse_extremes

COUNT = 350
SLACK = 1e-6  # of the bound: curvature is taken at quadrature nodes (references/losses.py)


def test_the_example_that_violates_the_printed_form():
    # ℓ(ω) = ½ω², Σ = 1, Δ = 2: ε = 2, the loss differs by 2, and the printed bound is 1. The corrected one is attained.
    published = corollary_3_2.as_published(
        epsilon=2.0, inverse_min=1.0, largest_eigenvalue=1.0, target_mass=1.0, gradient_norm=0.0
    )
    corrected = corollary_3_2.corrected(
        epsilon=2.0, inverse_min=1.0, gradient_norm=0.0, curvature=1.0, target_mass=1.0, over_segment=True
    )
    assert (published.value, corrected.value) == (1.0, 2.0)
    assert published.violated(2.0)
    assert not corrected.violated(2.0)


@pytest.mark.parametrize("ratio", [0.51, 1.0, 100.0])
def test_the_printed_form_fails_exactly_where_epsilon_over_lambda_min_exceeds_a_half(ratio):
    for epsilon, inverse_min in ((ratio, 1.0), (10 * ratio, 10.0)):
        difference = epsilon / inverse_min  # ½Δ² with ½·λ_min·Δ² = ε
        arguments = {"inverse_min": inverse_min, "largest_eigenvalue": 1.0, "target_mass": 1.0}
        assert corollary_3_2.as_published(epsilon=epsilon, **arguments).violated(difference)
        below = epsilon / ratio / 2  # at a half the two meet
        assert not corollary_3_2.as_published(epsilon=below, **arguments).violated(below / inverse_min)


def test_the_corrected_and_the_sharpened_form_hold_on_thousands_of_models():
    rng, printed_violations = generator(3), 0
    for models in families(COUNT, rng):
        slopes, bends, tops = models.gradient_norm("dense"), models.curvature, models.largest_eigenvalue
        for i, difference in enumerate(models.difference):
            delta, scale = models.delta[i], 10 ** float(between(-2, 2, 1, rng=rng))
            matrix = scale * positive_definite(len(delta), rng)
            covariance = Dense(matrix)
            smallest = inverse_extremes(covariance)[0]
            epsilon = float(gaussian_kl(delta, covariance))
            corrected = corollary_3_2.corrected(
                epsilon=epsilon, inverse_min=smallest, gradient_norm=slopes[i], curvature=bends[i], target_mass=1.0
            )
            root = torch.linalg.cholesky(matrix)
            whitened = torch.linalg.eigvalsh(root.mT @ models.hessians[i] @ root).abs().max()
            sharpened = corollary_3_2.sharpened(
                epsilon=epsilon,
                whitened_gradient=float((root.mT @ models.gradient_dense[i]).norm()),
                whitened_curvature=float(whitened),
                target_mass=1.0,
            )
            printed = corollary_3_2.as_published(
                epsilon=epsilon, inverse_min=smallest, largest_eigenvalue=tops[i], target_mass=1.0
            )
            assert not corrected.violated(difference, tolerance=SLACK * difference + 1e-12)
            assert not sharpened.violated(difference, tolerance=SLACK * difference + 1e-12)
            assert sharpened.value <= corrected.value * (1 + 1e-9)
            printed_violations += printed.violated(difference)
    assert printed_violations > COUNT / 4


def test_the_curvature_as_inverse_covariance_makes_the_sharpened_form_an_equation():
    # A quadratic at its minimum with Σ⁻¹ = its Hessian: the divergence *is* the loss difference.
    hessian = positive_definite(5, generator(4))
    delta = torch.ones(5, dtype=torch.float64)
    epsilon = float(gaussian_kl(delta, Dense(torch.linalg.inv(hessian))))
    bound = corollary_3_2.sharpened(epsilon=epsilon, whitened_gradient=0.0, whitened_curvature=1.0, target_mass=1.0)
    assert bound.value == pytest.approx(float(delta @ hessian @ delta) / 2, rel=1e-12)


def test_it_speaks_for_every_epsilon():
    arguments = {"inverse_min": 1.0, "gradient_norm": 1.0, "curvature": 1.0, "target_mass": 1.0}
    assert corollary_3_2.corrected(epsilon=1e6, **arguments).value == pytest.approx(1e6 + math.sqrt(2e6))
    assert corollary_3_2.corrected(epsilon=math.inf, **arguments).value == math.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -1.0}, "ε, the divergence .* is -1.0"),
        ({"inverse_min": 0.0}, "λ_min, the smallest eigenvalue of Σ⁻¹ is 0.0; expected a positive"),
        ({"gradient_norm": math.nan}, "norm of the gradient is nan"),
        ({"curvature": -1.0}, "curvature .* is -1.0"),
        ({"target_mass": -1.0}, "mean absolute target is -1.0"),
    ],
)
def test_nonsense_is_refused(change, message):
    arguments = {"epsilon": 1.0, "inverse_min": 1.0, "gradient_norm": 0.0, "curvature": 1.0, "target_mass": 1.0}
    with pytest.raises(TheoryError, match=message):
        corollary_3_2.corrected(**arguments | change)


def test_nonsense_in_the_other_forms_is_refused():
    arguments = {"epsilon": 1.0, "inverse_min": 1.0, "largest_eigenvalue": math.inf, "target_mass": 1.0}
    with pytest.raises(TheoryError, match="λ_max, the largest eigenvalue of the Hessian is inf"):
        corollary_3_2.as_published(**arguments)
    with pytest.raises(TheoryError, match="λ_min, the smallest eigenvalue of Σ⁻¹ is -1.0"):
        corollary_3_2.as_published(**arguments | {"inverse_min": -1.0})
    with pytest.raises(TheoryError, match="ε, the divergence .* is nan"):
        corollary_3_2.sharpened(epsilon=math.nan, whitened_gradient=0.0, whitened_curvature=1.0, target_mass=1.0)
