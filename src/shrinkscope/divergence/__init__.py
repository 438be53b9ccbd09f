"""Divergences between distributions: closed forms and quadrature, exact to a stated error."""

from shrinkscope.divergence import gaussian_pairs, student_t_pairs, uniform_pairs  # noqa: F401  (they file formulas)
from shrinkscope.divergence.distributions import Distribution, MultivariateGaussian, MultivariateStudentT, UniformBox
from shrinkscope.divergence.divergences import (
    bhattacharyya,
    chi_squared,
    hellinger,
    jensen_shannon,
    kl,
    renyi,
    total_variation,
    wasserstein2,
)
from shrinkscope.divergence.gaussian import gaussian_kl
from shrinkscope.divergence.monte_carlo import monte_carlo_kl
from shrinkscope.divergence.registry import Divergence
from shrinkscope.divergence.student_t import student_t_kl
from shrinkscope.divergence.student_t_general import general_student_t_kl
from shrinkscope.divergence.student_t_sampled import sampled_student_t_kl, scalar_student_t_kl
from shrinkscope.divergence.total_variation_bounds import (
    mean_variance_lower,
    total_variation_lower,
    total_variation_upper,
)

__all__ = [
    "Distribution",
    "Divergence",
    "MultivariateGaussian",
    "MultivariateStudentT",
    "UniformBox",
    "bhattacharyya",
    "chi_squared",
    "gaussian_kl",
    "general_student_t_kl",
    "hellinger",
    "jensen_shannon",
    "kl",
    "mean_variance_lower",
    "monte_carlo_kl",
    "renyi",
    "sampled_student_t_kl",
    "scalar_student_t_kl",
    "student_t_kl",
    "total_variation",
    "total_variation_lower",
    "total_variation_upper",
    "wasserstein2",
]
