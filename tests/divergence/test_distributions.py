"""The distributions as values: moments against torch, and what they refuse."""

import dataclasses
import math

import pytest
import torch

from references.covariances import generator, normal, positive_definite
from shrinkscope.divergence import MultivariateGaussian, MultivariateStudentT, UniformBox
from shrinkscope.divergence.covariance import Dense, Isotropic
from shrinkscope.errors import DivergenceError

ZERO = torch.zeros(2, dtype=torch.float64)


def test_a_gaussian_has_the_moments_of_torch():
    rng = generator(0)
    location, matrix = normal(4, rng=rng), positive_definite(4, rng)
    ours, theirs = (
        MultivariateGaussian(location, Dense(matrix)),
        torch.distributions.MultivariateNormal(location, matrix),
    )
    assert ours.dim == 4
    assert torch.equal(ours.mean(), theirs.mean)
    assert ours.total_variance() == pytest.approx(float(theirs.variance.sum()), rel=1e-14)


@pytest.mark.parametrize("df", [2.5, 4.0, 100.0])
def test_a_student_t_law_has_the_variance_of_torch(df):
    ours = MultivariateStudentT(ZERO, Isotropic(2, 1.7), df)
    theirs = torch.distributions.StudentT(torch.tensor(df, dtype=torch.float64), scale=math.sqrt(1.7))
    assert torch.equal(ours.mean(), ZERO)
    assert ours.total_variance() == pytest.approx(2 * float(theirs.variance), rel=1e-14)


def test_a_box_has_the_variance_of_torch():
    half = torch.tensor([0.5, 3.0], dtype=torch.float64)
    theirs = torch.distributions.Uniform(1 - half, 1 + half)
    box = UniformBox(torch.ones(2), half)
    assert (box.dim, box.mean().tolist()) == (2, [1.0, 1.0])
    assert box.total_variance() == pytest.approx(float(theirs.variance.sum()), rel=1e-14)
    assert UniformBox(ZERO, 0.5).half_widths().tolist() == [0.5, 0.5]


def test_parameters_are_float64_without_a_graph_and_cannot_be_assigned():
    law = MultivariateGaussian(torch.zeros(2, requires_grad=True), Isotropic(2))
    assert law.location.dtype == torch.float64
    assert not law.location.requires_grad
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.location = ZERO  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("df", [0.5, 1.0])
def test_heavy_tails_have_no_mean(df):
    with pytest.raises(DivergenceError, match=f"df {df:g} has no mean; expected df > 1"):
        MultivariateStudentT(ZERO, Isotropic(2), df).mean()


@pytest.mark.parametrize("df", [0.5, 2.0])
def test_heavy_tails_have_no_variance(df):
    with pytest.raises(DivergenceError, match=f"df {df:g} has no finite variance; expected df > 2"):
        MultivariateStudentT(ZERO, Isotropic(2), df).total_variance()


@pytest.mark.parametrize("df", [0.0, -1.0, math.inf, math.nan])
def test_degrees_of_freedom_must_be_positive_and_finite(df):
    with pytest.raises(DivergenceError, match=f"df is {df}; expected a positive finite number"):
        MultivariateStudentT(ZERO, Isotropic(2), df)


@pytest.mark.parametrize("location", [torch.zeros(3), torch.zeros(1, 2)])
def test_the_location_must_fit_the_covariance(location):
    with pytest.raises(
        DivergenceError, match=r"a location of shape .* does not fit Isotropic\(dim=2\); expected \(2,\)"
    ):
        MultivariateGaussian(location, Isotropic(2))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_the_location_must_be_finite(wrong):
    with pytest.raises(DivergenceError, match="the location has infinite or NaN entries"):
        MultivariateStudentT(torch.tensor([0.0, wrong]), Isotropic(2), 4.0)


@pytest.mark.parametrize("centre", [torch.zeros(0), torch.zeros(1, 2), torch.tensor([0.0, math.nan])])
def test_the_centre_of_a_box_must_be_a_finite_vector(centre):
    with pytest.raises(DivergenceError, match="the centre of a box has shape .*; expected a vector of finite numbers"):
        UniformBox(centre, 1.0)


def test_half_widths_must_fit_the_centre():
    with pytest.raises(DivergenceError, match=r"half-widths of shape \(3,\) do not fit a centre of 2 coordinates"):
        UniformBox(ZERO, torch.ones(3))


@pytest.mark.parametrize("half", [0.0, -1.0, math.nan])
def test_half_widths_must_be_positive(half):
    with pytest.raises(DivergenceError, match="the smallest half-width of a box is .*; expected finite positive"):
        UniformBox(ZERO, half)
