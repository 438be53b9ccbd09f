"""Explains layer by layer what pruning, quantisation or factorisation did to a neural network."""

from typing import TYPE_CHECKING

from shrinkscope.deferred import defer

if TYPE_CHECKING:
    from shrinkscope import divergence
    from shrinkscope.analysis import (
        Comparison,
        Explanation,
        OptimalSparsity,
        Plan,
        Scan,
        compare,
        explain,
        optimal_sparsity,
        plan,
        scan,
    )
    from shrinkscope.compression import (
        CompensatedPruning,
        InformedPruning,
        LowRank,
        MagnitudePruning,
        Mask,
        PatternPruning,
        RandomPruning,
        StructuredPruning,
        UniformQuantisation,
        compensate,
        compress,
        prune,
    )
    from shrinkscope.errors import ShrinkscopeError
    from shrinkscope.latent import (
        FixedScale,
        Gaussian,
        GroupMeans,
        InformedGaussian,
        InformedStudentT,
        RotatedGaussian,
        StudentT,
        Uniform,
        WeightScale,
    )
    from shrinkscope.performance import performance_difference, reestimate_statistics
    from shrinkscope.quantity import Quantity
    from shrinkscope.weights import LayerSelection

_HOME = {
    "analysis": (
        "Comparison",
        "Explanation",
        "OptimalSparsity",
        "Plan",
        "Scan",
        "compare",
        "explain",
        "optimal_sparsity",
        "plan",
        "scan",
    ),
    "compression": (
        "CompensatedPruning",
        "InformedPruning",
        "LowRank",
        "MagnitudePruning",
        "Mask",
        "PatternPruning",
        "RandomPruning",
        "StructuredPruning",
        "UniformQuantisation",
        "compensate",
        "compress",
        "prune",
    ),
    "errors": ("ShrinkscopeError",),
    "latent": (
        "FixedScale",
        "Gaussian",
        "GroupMeans",
        "InformedGaussian",
        "InformedStudentT",
        "RotatedGaussian",
        "StudentT",
        "Uniform",
        "WeightScale",
    ),
    "performance": ("performance_difference", "reestimate_statistics"),
    "quantity": ("Quantity",),
    "weights": ("LayerSelection",),
}

__all__ = [
    "Comparison",
    "CompensatedPruning",
    "Explanation",
    "FixedScale",
    "Gaussian",
    "GroupMeans",
    "InformedGaussian",
    "InformedPruning",
    "InformedStudentT",
    "LayerSelection",
    "LowRank",
    "MagnitudePruning",
    "Mask",
    "OptimalSparsity",
    "PatternPruning",
    "Plan",
    "Quantity",
    "RandomPruning",
    "RotatedGaussian",
    "Scan",
    "ShrinkscopeError",
    "StructuredPruning",
    "StudentT",
    "Uniform",
    "UniformQuantisation",
    "WeightScale",
    "compare",
    "compensate",
    "compress",
    "divergence",
    "explain",
    "optimal_sparsity",
    "performance_difference",
    "plan",
    "prune",
    "reestimate_statistics",
    "scan",
]


# Deferred, so that `shrinkscope --help` answers without importing torch, and so that a user pays for what is used.
defer(__name__, {name: module for module, names in _HOME.items() for name in names} | {"divergence": ""})
