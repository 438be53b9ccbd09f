"""Distributions over vectors whose divergences are known: frozen values that hold their parameters in float64."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance import Covariance
from shrinkscope.errors import DivergenceError


class Distribution(ABC):
    """A distribution P over vectors of dim coordinates.

    A new one is a subclass with the three members below; divergences are then registered by pairs of types, for example
    with ``@kl.register(Mine, Mine)``. Bounds that follow from them, or from means and variances alone, need no more.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of coordinates."""

    @abstractmethod
    def mean(self) -> Float[Tensor, " dim"]:
        """The mean, float64.

        Raises:
            DivergenceError: If there is none.
        """

    @abstractmethod
    def total_variance(self) -> float:
        """Trace of the covariance matrix, in squared units of the coordinates.

        Raises:
            DivergenceError: If there is none.
        """


@dataclass(frozen=True, eq=False)
class MultivariateGaussian(Distribution):
    """N(location, covariance).

    Attributes:
        location: Mean, shape (dim,).
        covariance: Σ, of the same dimension.

    Raises:
        DivergenceError: If the location is not a finite vector of the covariance's dimension.
    """

    location: Tensor
    covariance: Covariance

    def __post_init__(self) -> None:
        object.__setattr__(self, "location", _finite_vector(self.location, self.covariance, "location"))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.covariance.dim

    def mean(self) -> Float[Tensor, " dim"]:
        """The location."""
        return self.location

    def total_variance(self) -> float:
        """Trace of Σ."""
        return self.covariance.trace()


@dataclass(frozen=True, eq=False)
class MultivariateStudentT(Distribution):
    """t_df(location, scale): density proportional to (1 + (x − location)ᵀΣ⁻¹(x − location)/df)^(−(df + dim)/2).

    Attributes:
        location: Centre, shape (dim,); the mean where there is one.
        scale: Σ, of the same dimension. The *covariance* is df/(df − 2) Σ.
        df: Degrees of freedom, positive and finite; infinitely many are a `MultivariateGaussian`.

    Raises:
        DivergenceError: If the location is not a finite vector of the scale's dimension, or df is out of range.
    """

    location: Tensor
    scale: Covariance
    df: float

    def __post_init__(self) -> None:
        if not 0 < self.df < math.inf:
            raise DivergenceError(
                f"df is {self.df}; expected a positive finite number of degrees of freedom "
                "(infinitely many are MultivariateGaussian)"
            )
        object.__setattr__(self, "location", _finite_vector(self.location, self.scale, "location"))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.scale.dim

    def mean(self) -> Float[Tensor, " dim"]:
        """The location.

        Raises:
            DivergenceError: If df ≤ 1, where the mean does not exist.
        """
        if self.df <= 1:
            raise DivergenceError(f"a Student-t law with df {self.df:g} has no mean; expected df > 1")
        return self.location

    def total_variance(self) -> float:
        """df/(df − 2) times the trace of Σ: the scale is not the covariance.

        Raises:
            DivergenceError: If df ≤ 2, where the variance is infinite.
        """
        return self.variance_factor() * self.scale.trace()

    def variance_factor(self) -> float:
        """df/(df − 2), covariance over scale.

        Raises:
            DivergenceError: If df ≤ 2.
        """
        if self.df <= 2:
            raise DivergenceError(f"a Student-t law with df {self.df:g} has no finite variance; expected df > 2")
        return self.df / (self.df - 2)


@dataclass(frozen=True, eq=False)
class UniformBox(Distribution):
    """The uniform distribution on the box of points x with |xᵢ − centreᵢ| ≤ half_widthᵢ.

    Attributes:
        centre: Centre of the box, shape (dim,).
        half_width: Half the length of its edges: one positive number for a cube, or one for each coordinate.

    Raises:
        DivergenceError: If the centre is not a finite vector, or the half-widths do not fit it or are not positive.
    """

    centre: Tensor
    half_width: Tensor | float

    def __post_init__(self) -> None:
        centre = self.centre.detach().to(torch.float64)
        if centre.ndim != 1 or centre.numel() == 0 or not bool(torch.isfinite(centre).all()):
            raise DivergenceError(
                f"the centre of a box has shape {tuple(centre.shape)}; expected a vector of finite numbers"
            )
        half = torch.as_tensor(self.half_width, dtype=torch.float64).detach()
        if half.shape not in ((), centre.shape):
            raise DivergenceError(
                f"half-widths of shape {tuple(half.shape)} do not fit a centre of {centre.numel()} coordinates; "
                "expected one number, or one for each coordinate"
            )
        if not bool((torch.isfinite(half) & (half > 0)).all()):
            raise DivergenceError(
                f"the smallest half-width of a box is {float(half.min()):g}; expected finite positive numbers"
            )
        object.__setattr__(self, "centre", centre)
        object.__setattr__(self, "half_width", half.expand(centre.shape))

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.centre.numel()

    def half_widths(self) -> Float[Tensor, " dim"]:
        """Half-widths, one for each coordinate."""
        return torch.as_tensor(self.half_width)

    def mean(self) -> Float[Tensor, " dim"]:
        """The centre."""
        return self.centre

    def total_variance(self) -> float:
        """Sum of half_width²/3."""
        return float(self.half_widths().square().sum()) / 3


def _finite_vector(values: Tensor, covariance: Covariance, what: str) -> Tensor:
    if values.shape != (covariance.dim,):
        raise DivergenceError(
            f"a {what} of shape {tuple(values.shape)} does not fit {covariance!r}; expected ({covariance.dim},)"
        )
    values = values.detach().to(torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise DivergenceError(f"the {what} has infinite or NaN entries; expected finite numbers")
    return values
