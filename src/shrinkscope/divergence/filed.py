"""The divergences with the formulas of every pair of families filed."""

from shrinkscope.divergence import gaussian_pairs, student_t_pairs, uniform_pairs  # noqa: F401  (they file formulas)
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

__all__ = [
    "bhattacharyya",
    "chi_squared",
    "hellinger",
    "jensen_shannon",
    "kl",
    "renyi",
    "total_variation",
    "wasserstein2",
]
