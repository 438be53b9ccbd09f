"""Spectra Λ of rotated covariances: equal, uniform, power law; a user's own is a tensor."""

import torch
from jaxtyping import Float
from msgspec import Struct
from torch import Tensor

from shrinkscope.divergence.covariance.base import positive_vector
from shrinkscope.errors import DivergenceError


class Equal(Struct, frozen=True, kw_only=True, tag="equal", tag_field="kind", forbid_unknown_fields=True):
    """All eigenvalues the same: the rotation then changes nothing."""

    value: float = 1.0

    def eigenvalues(self, dim: int) -> Float[Tensor, " dim"]:
        """The value, dim times."""
        return torch.full((dim,), self.value, dtype=torch.float64)


class Uniform(Struct, frozen=True, kw_only=True, tag="uniform", tag_field="kind", forbid_unknown_fields=True):
    """Eigenvalues evenly spread over an interval: the midpoints of dim equal cells, hence no further randomness."""

    low: float = 0.5
    high: float = 1.5

    def eigenvalues(self, dim: int) -> Float[Tensor, " dim"]:
        """Values low + (high − low)(i − ½)/dim for i from 1 to dim, in increasing order."""
        # In place: at 10⁸ dimensions each temporary is 0.8 GB.
        fractions = torch.arange(dim, dtype=torch.float64).add_(0.5).div_(dim)
        return fractions.mul_(self.high - self.low).add_(self.low)


class PowerLaw(Struct, frozen=True, kw_only=True, tag="power_law", tag_field="kind", forbid_unknown_fields=True):
    """Eigenvalues that decay as a power of their rank, as curvature spectra of networks roughly do."""

    largest: float = 1.0
    exponent: float = 1.0

    def eigenvalues(self, dim: int) -> Float[Tensor, " dim"]:
        """Values largest · i^(−exponent) for i from 1 to dim."""
        ranks = torch.arange(1, dim + 1, dtype=torch.float64)
        return ranks.pow_(-self.exponent).mul_(self.largest)


Spectrum = Equal | Uniform | PowerLaw


def eigenvalues(spectrum: Spectrum | Tensor, dim: int) -> Float[Tensor, " dim"]:
    """The eigenvalues of a spectrum in dim dimensions, in float64.

    Args:
        spectrum: One of the named spectra, or the eigenvalues themselves.
        dim: Number of dimensions.

    Returns:
        Finite positive numbers.

    Raises:
        DivergenceError: If there are not dim of them, or some are not finite and positive.
    """
    values = spectrum.clone() if isinstance(spectrum, Tensor) else spectrum.eigenvalues(dim)
    values = positive_vector(values, "eigenvalues of a spectrum")
    if values.numel() != dim:
        raise DivergenceError(f"a spectrum of {values.numel()} eigenvalues for dimension {dim}; expected {dim}")
    return values
