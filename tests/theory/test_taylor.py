"""Taylor's formula as an inequality: it holds on every model, from both ends, and each part of it is needed."""

import math

import pytest
import torch

from references.covariances import generator
from references.losses import families
from shrinkscope.errors import TheoryError
from shrinkscope.theory.taylor import published_assumptions, second_order, second_order_assumptions

# Gauss–Legendre nodes stand for the segment (see references/losses.py); their error is the only thing to allow for.
SLACK = 1 + 1e-6


@pytest.mark.parametrize("end", ["dense", "compressed"])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_holds_on_thousands_of_models_from_both_ends(seed, end):
    for models in families(700, generator(seed)):
        squares = models.delta.square().sum(-1).tolist()
        rows = zip(squares, models.gradient_norm(end), models.curvature, models.difference, strict=True)
        for square, slope, bend, difference in rows:
            assert difference <= second_order(square, gradient_norm=slope, curvature=bend) * SLACK + 1e-12


def test_only_the_coordinates_that_differ_count():
    for models in families(200, generator(2)):
        for i, (delta, difference) in enumerate(zip(models.delta, models.difference, strict=True)):
            at = delta.nonzero().squeeze(-1)
            slope = float(models.gradient_dense[i, at].norm())
            bend = float(torch.linalg.eigvalsh(models.hessians[i][:, at][:, :, at]).abs().max())
            bound = second_order(float(delta.square().sum()), gradient_norm=slope, curvature=bend)
            assert difference <= bound * SLACK + 1e-12


def test_it_is_attained_by_a_linear_and_by_a_quadratic_loss():
    assert second_order(9.0, gradient_norm=2.0, curvature=0.0) == 6.0  # 2·ω between 0 and 3
    assert second_order(9.0, gradient_norm=0.0, curvature=2.0) == 9.0  # ω² between 0 and 3


def test_a_constant_loss_does_not_differ_however_far_the_weights_are():
    assert second_order(math.inf, gradient_norm=0.0, curvature=0.0) == 0.0
    assert second_order(math.inf, gradient_norm=0.0, curvature=1e-9) == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 0.0, 0.0), "squared distance of the weights is -1.0; expected a number of at least 0"),
        ((1.0, math.nan, 0.0), "norm of the gradient is nan"),
        ((1.0, 0.0, -2.0), "curvature .* is -2.0"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    square, slope, bend = arguments
    with pytest.raises(TheoryError, match=message):
        second_order(square, gradient_norm=slope, curvature=bend)


@pytest.mark.parametrize(("norm", "holds"), [(None, None), (0.0, True), (1e-9, False)])
def test_a_gradient_that_is_given_is_checked(norm, holds):
    assert published_assumptions(norm)[0].holds is holds
    assert [a.holds for a in second_order_assumptions(True, False)] == [True, False]
    with pytest.raises(TheoryError, match="norm of the gradient is -1"):
        published_assumptions(-1.0)
