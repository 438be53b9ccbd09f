"""Covariances (and scales) of latent distributions, as operators that never form a matrix that they do not need."""

from shrinkscope.divergence.covariance.base import DENSE_LIMIT, Covariance
from shrinkscope.divergence.covariance.dense import Dense
from shrinkscope.divergence.covariance.diagonal import Diagonal
from shrinkscope.divergence.covariance.frame import HaarFrame
from shrinkscope.divergence.covariance.hadamard import RandomHadamard, random_orthogonal
from shrinkscope.divergence.covariance.isotropic import Isotropic
from shrinkscope.divergence.covariance.kronecker import Kronecker
from shrinkscope.divergence.covariance.low_rank import LowRankPlusDiagonal
from shrinkscope.divergence.covariance.orthogonal import Orthogonal, RandomEigenvectors
from shrinkscope.divergence.covariance.rotated import Rotated
from shrinkscope.divergence.covariance.spectrum import Equal, PowerLaw, Spectrum, Uniform

__all__ = [
    "DENSE_LIMIT",
    "Covariance",
    "Dense",
    "Diagonal",
    "Equal",
    "HaarFrame",
    "Isotropic",
    "Kronecker",
    "LowRankPlusDiagonal",
    "Orthogonal",
    "PowerLaw",
    "RandomEigenvectors",
    "RandomHadamard",
    "Rotated",
    "Spectrum",
    "Uniform",
    "random_orthogonal",
]
