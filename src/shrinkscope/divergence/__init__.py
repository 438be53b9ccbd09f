"""Divergences between distributions: closed forms and quadrature, exact to a stated error."""

from typing import TYPE_CHECKING

from shrinkscope.deferred import defer

if TYPE_CHECKING:
    from shrinkscope.divergence.distributions import (
        Distribution,
        MultivariateGaussian,
        MultivariateStudentT,
        UniformBox,
    )
    from shrinkscope.divergence.filed import (
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

defer(
    __name__,
    {
        "Distribution": "distributions",
        "Divergence": "registry",
        "MultivariateGaussian": "distributions",
        "MultivariateStudentT": "distributions",
        "UniformBox": "distributions",
        "bhattacharyya": "filed",
        "chi_squared": "filed",
        "gaussian_kl": "gaussian",
        "general_student_t_kl": "student_t_general",
        "hellinger": "filed",
        "jensen_shannon": "filed",
        "kl": "filed",
        "mean_variance_lower": "total_variation_bounds",
        "monte_carlo_kl": "monte_carlo",
        "renyi": "filed",
        "sampled_student_t_kl": "student_t_sampled",
        "scalar_student_t_kl": "student_t_sampled",
        "student_t_kl": "student_t",
        "total_variation": "filed",
        "total_variation_lower": "total_variation_bounds",
        "total_variation_upper": "total_variation_bounds",
        "wasserstein2": "filed",
    },
)
