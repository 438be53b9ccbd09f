"""Formulas by a pair of types: which one answers, and what is said when none does."""

from dataclasses import dataclass

import pytest
import torch

from shrinkscope.divergence import Distribution, Divergence, MultivariateGaussian, UniformBox, kl
from shrinkscope.divergence.covariance import Isotropic
from shrinkscope.errors import DivergenceError
from shrinkscope.quantity import Quantity


@dataclass(frozen=True, eq=False)
class Point(Distribution):
    """All mass at one place."""

    place: float

    @property
    def dim(self) -> int:
        return 1

    def mean(self) -> torch.Tensor:
        return torch.tensor([self.place], dtype=torch.float64)

    def total_variance(self) -> float:
        return 0.0


class LabelledPoint(Point):
    """A subclass without formulas of its own."""


@pytest.fixture
def gap():
    @Divergence
    def gap(p: Distribution, q: Distribution, power: float = 1.0) -> Quantity:
        """Distance of two places."""
        raise gap.unknown(p, q)

    @gap.register(Point, Point)
    def of_points(p: Point, q: Point, power: float = 1.0) -> Quantity:
        return Quantity(value=abs(p.place - q.place) ** power, unit="1")

    return gap


def test_the_formula_of_the_types_answers(gap):
    assert gap(Point(1.0), Point(3.0)).value == 2.0


def test_further_arguments_reach_the_formula_by_position_and_by_name(gap):
    assert gap(Point(1.0), Point(3.0), 2.0).value == 4.0
    assert gap(q=Point(1.0), p=Point(3.0), power=3.0).value == 8.0


def test_a_subclass_has_the_formula_of_its_base(gap):
    assert gap(LabelledPoint(1.0), Point(3.0)).value == 2.0


def test_the_general_function_answers_for_other_pairs():
    @Divergence
    def same(p: Distribution, q: Distribution) -> Quantity:
        return Quantity(value=float(p is q), unit="1")

    point = Point(1.0)
    assert same(point, point).value == 1.0


def test_name_and_documentation_are_those_of_the_general_function(gap):
    assert (gap.__name__, gap.__doc__) == ("gap", "Distance of two places.")
    assert repr(gap) == "<divergence gap: Point–Point>"


def test_a_formula_is_returned_as_it_is_and_stays_in_its_own_table(gap):
    def formula(p: Point, q: UniformBox) -> Quantity:
        return Quantity(value=0.0, unit="1")

    assert gap.register(Point, UniformBox)(formula) is formula
    assert "Point" not in repr(kl)


def test_an_unknown_pair_lists_the_known_ones_and_what_else_can_be_done(gap):
    with pytest.raises(
        DivergenceError,
        match=r"no gap for UniformBox and Point; known: Point–Point. Add yours with @gap.register\(.*monte_carlo_kl",
    ):
        gap(UniformBox(torch.zeros(1), 1.0), Point(0.0))


def test_distributions_of_torch_are_named_with_their_module():
    normal = torch.distributions.Normal(torch.zeros(1), torch.ones(1))
    with pytest.raises(
        DivergenceError, match="no kl for torch.distributions.normal.Normal and .*; known: MultivariateGau"
    ):
        kl(normal, normal)  # pyright: ignore[reportArgumentType]


def test_nothing_is_registered_with_torch():
    registered = {kind for pair in torch.distributions.kl._KL_REGISTRY for kind in pair}
    assert not any(kind.__module__.startswith("shrinkscope") for kind in registered)


def test_dimensions_must_agree(gap):
    with pytest.raises(DivergenceError, match="gap of distributions of dimensions 1 and 2; expected equal ones"):
        gap(Point(0.0), MultivariateGaussian(torch.zeros(2), Isotropic(2)))


def test_a_divergence_says_what_it_knows_or_that_another_one_knows():
    from shrinkscope.divergence import hellinger, kl

    assert repr(kl).startswith("<divergence kl: MultivariateGaussian–MultivariateGaussian")
    assert repr(hellinger) == "<divergence hellinger: read off another divergence>"
