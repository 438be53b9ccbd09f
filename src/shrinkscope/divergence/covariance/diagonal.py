"""Independent coordinates with their own variances: Σ = diag(v)."""

from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import Covariance, positive_vector


class Diagonal(Covariance):
    """Σ = diag(variances), stored as its diagonal.

    Args:
        variances: Finite and positive, in squared units of the vectors. Any ratio between them is fine: every result is
            a sum over coordinates, so nothing is lost to ill-conditioning.

    Raises:
        DivergenceError: If a variance is zero, negative or not finite.
    """

    def __init__(self, variances: Float[Tensor, " dim"]) -> None:
        self.variances = positive_vector(variances, "variances of a diagonal covariance")

    @property
    def dim(self) -> int:
        """Number of rows of Σ."""
        return self.variances.numel()

    def solve(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σ⁻¹x = x/v."""
        return self.vector(x) / self.variances

    def matmul(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Σx = vx."""
        return self.vector(x) * self.variances

    def whiten(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """x/√v."""
        return self.vector(x) / self.variances.sqrt()

    def root(self, z: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """√v·z."""
        return self.vector(z) * self.variances.sqrt()

    def logdet(self) -> float:
        """Σ log v."""
        return float(self.variances.log().sum())

    def trace(self) -> float:
        """Σ v."""
        return float(self.variances.sum())

    def diagonal(self) -> Float[Tensor, " dim"]:
        """The variances."""
        return self.variances

    def condition_number(self) -> float:
        """Largest variance over the smallest, exactly."""
        return float(self.variances.max() / self.variances.min())
