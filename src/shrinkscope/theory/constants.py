"""Constants of the statements, measured: eigenvalues of Σ⁻¹, traces, Lipschitz constants of densities."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence import Distribution, MultivariateGaussian, MultivariateStudentT
from shrinkscope.divergence.covariance import Covariance, Diagonal, Isotropic, Kronecker, Rotated
from shrinkscope.errors import TheoryError

_DENSE_UP_TO = 256  # dimensions; an eigenvalue decomposition of that size takes milliseconds


def inverse_extremes(covariance: Covariance) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of Σ⁻¹, in inverse squared units of the weights.

    Args:
        covariance: Σ, the covariance of a Gaussian or the scale of a Student-t law.

    Returns:
        λ_min and λ_max of Σ⁻¹: to rounding for isotropic, diagonal, rotated and Kronecker ones and up to 256
        dimensions; else by Lanczos iterations, converged to rounding.

    Source: definition; tests/theory/test_constants.py compares with the eigenvalues of the dense inverse.
    """
    if isinstance(covariance, Isotropic):
        low = high = covariance.variance
    elif isinstance(covariance, (Diagonal, Rotated)):
        low, high = _range(covariance.variances)
    elif isinstance(covariance, Kronecker):
        sides = [_range(torch.linalg.eigvalsh(side)) for side in (covariance.left, covariance.right)]
        low, high = (sides[0][i] * sides[1][i] for i in (0, 1))
    elif covariance.dim <= _DENSE_UP_TO:
        low, high = _range(torch.linalg.eigvalsh(covariance.dense()))
    else:
        low, high = 1 / _largest(covariance.dim, covariance.solve), _largest(covariance.dim, covariance.matmul)
    return 1 / high, 1 / low


def squared_norm(vector: Float[Tensor, "*shape"]) -> float:
    """‖v‖², summed in float64, in squared units of the vector."""
    return float(vector.detach().to(torch.float64).square().sum())


def density_lipschitz(distribution: Distribution) -> float:
    """The Lipschitz constant of the density in its location, uniformly over z: C in |p(z; ω) − p(z; ω̃)| ≤ C‖ω − ω̃‖.

    The gradient of a Gaussian density in ω is p(z)·Σ⁻¹(z − ω); its norm is largest one standard deviation from ω along
    the eigenvector of λ_max(Σ⁻¹): √λ_max · e^(−½) · (2π)^(−d/2)|Σ|^(−½). That of a Student-t density is largest along
    the same eigenvector, at the radius r² = ν/(ν + d + 1).

    Args:
        distribution: A multivariate Gaussian or Student-t law. Its location does not matter.

    Returns:
        C, in density over unit of the weights.

    Raises:
        TheoryError: If the constant is unknown, or too small or large for a float, as it is in hundreds of dimensions.

    Source: derived here; tests/theory/test_constants.py compares with gradients over a grid.
    """
    if isinstance(distribution, MultivariateGaussian):
        covariance, logarithm = distribution.covariance, -0.5 - distribution.dim / 2 * math.log(2 * math.pi)
    elif isinstance(distribution, MultivariateStudentT):
        covariance, logarithm = distribution.scale, _student_t_slope(distribution.dim, distribution.df)
    else:
        raise TheoryError(
            f"the Lipschitz constant of {type(distribution).__name__} is unknown; expected a Gaussian or Student-t law"
        )
    logarithm += 0.5 * math.log(inverse_extremes(covariance)[1]) - covariance.logdet() / 2
    if abs(logarithm) > 700:
        raise TheoryError(
            f"the Lipschitz constant of a density in {distribution.dim} dimensions is exp({logarithm:.6g}), "
            "expected one that a float can hold; use fewer dimensions"
        )
    return math.exp(logarithm)


def _student_t_slope(dim: int, df: float) -> float:
    """Logarithm of the largest derivative of the standard density along a ray."""
    square = df / (df + dim + 1)
    peak = math.lgamma((df + dim) / 2) - math.lgamma(df / 2) - dim / 2 * math.log(df * math.pi)
    return peak + math.log((df + dim) / df) + math.log(square) / 2 - ((df + dim) / 2 + 1) * math.log1p(square / df)


def _range(values: Tensor) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _largest(dim: int, action: Callable[[Tensor], Tensor]) -> float:
    def apply(x: np.ndarray) -> np.ndarray:
        return action(torch.from_numpy(np.asarray(x, dtype=np.float64).reshape(-1))).numpy()

    # A fixed start keeps the value reproducible; Gaussian entries are orthogonal to no eigenvector.
    start = np.random.default_rng(0).standard_normal(dim)
    from scipy.sparse.linalg import LinearOperator, eigsh  # only here, so that a comparison starts without it

    operator = LinearOperator((dim, dim), matvec=apply, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    found = eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)
    return float(found[0])
