"""Latent distributions P_ω: a projection of the weights, a scale or covariance, and a family."""

from typing import TYPE_CHECKING

from shrinkscope.deferred import defer

if TYPE_CHECKING:
    from shrinkscope.latent.base import Latent
    from shrinkscope.latent.gaussian import Gaussian
    from shrinkscope.latent.informed import InformedGaussian, InformedStudentT
    from shrinkscope.latent.informed_names import STATISTICS, InformedName, informed_name
    from shrinkscope.latent.named import DEFAULT, NAMED, resolve_latents
    from shrinkscope.latent.permuted import PermutedPrecision
    from shrinkscope.latent.precision import DiagonalPrecision, KroneckerPrecision, Precision
    from shrinkscope.latent.precisions import Precisions
    from shrinkscope.latent.projection import FullDimension, GroupMeans, Projection
    from shrinkscope.latent.rotated import RotatedGaussian
    from shrinkscope.latent.sampled import SampledStudentT
    from shrinkscope.latent.scale import FixedScale, Scale, WeightScale
    from shrinkscope.latent.student_t import StudentT
    from shrinkscope.latent.uniform import Uniform

__all__ = [
    "DEFAULT",
    "NAMED",
    "STATISTICS",
    "DiagonalPrecision",
    "FixedScale",
    "FullDimension",
    "Gaussian",
    "GroupMeans",
    "InformedGaussian",
    "InformedName",
    "InformedStudentT",
    "KroneckerPrecision",
    "Latent",
    "PermutedPrecision",
    "Precision",
    "Precisions",
    "Projection",
    "RotatedGaussian",
    "SampledStudentT",
    "Scale",
    "StudentT",
    "Uniform",
    "WeightScale",
    "informed_name",
    "resolve_latents",
]

defer(
    __name__,
    {
        "DEFAULT": "named",
        "DiagonalPrecision": "precision",
        "FixedScale": "scale",
        "FullDimension": "projection",
        "Gaussian": "gaussian",
        "GroupMeans": "projection",
        "InformedGaussian": "informed",
        "InformedName": "informed_names",
        "InformedStudentT": "informed",
        "KroneckerPrecision": "precision",
        "Latent": "base",
        "NAMED": "named",
        "PermutedPrecision": "permuted",
        "Precision": "precision",
        "Precisions": "precisions",
        "Projection": "projection",
        "RotatedGaussian": "rotated",
        "STATISTICS": "informed_names",
        "SampledStudentT": "sampled",
        "Scale": "scale",
        "StudentT": "student_t",
        "Uniform": "uniform",
        "WeightScale": "scale",
        "informed_name": "informed_names",
        "resolve_latents": "named",
    },
)
