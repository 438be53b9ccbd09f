"""Latent distributions P_ω: a projection of the weights, a scale or covariance, and a family."""

from shrinkscope.latent.base import Latent
from shrinkscope.latent.gaussian import Gaussian
from shrinkscope.latent.informed import STATISTICS, InformedGaussian, InformedName, InformedStudentT, informed_name
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
