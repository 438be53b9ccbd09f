"""One covariance seen from another: R = Σq^(−½) Σp Σq^(−½), through the few numbers that divergences need."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.logarithms import log1p_remainder
from shrinkscope.errors import DivergenceError

_BLOCK = 2**17
"""Numbers in one block of (nodes × eigenvalues): 1 MiB, so that a block stays in the cache of a core."""


class RelativeScale(ABC):
    """What divergences ask of R, with eigenvalues λ, their mean λ̄, and m = Σq^(−½)(μp − μq) in the basis of R.

    Everything is arranged so that covariances that are nearly equal give small numbers directly, not as differences:
    an operator stores λ − 1, and quantities of second order in it are sums of terms of second order.
    """

    dim: int
    mean_excess: float
    """λ̄ − 1."""

    @abstractmethod
    def remainder(self) -> float:
        """Σ (λ − 1 − log λ), non-negative: twice the Gaussian divergence of equal means."""

    @abstractmethod
    def centred_remainder(self) -> float:
        """Σ log(λ̄/λ), non-negative and zero where all eigenvalues are equal."""

    @abstractmethod
    def compression(self, a: Float[Tensor, " nodes"]) -> Float[Tensor, " nodes"]:
        """Σ log((1 + aλ/λ̄)/(1 + a)) for each a ≥ 0: never positive, by concavity."""

    @abstractmethod
    def resolvent(self, delta: Float[Tensor, "batch dim"]) -> Callable[[Tensor], Tensor]:
        """The function of a ≥ 0, shape (nodes,), whose value is mᵀ(I + aR/λ̄)⁻¹m = Σ m²/(1 + aλ/λ̄).

        Args:
            delta: Differences of the means.

        Returns:
            A function to shape (batch, nodes), differentiable in delta. At a = 0 its value is deltaᵀΣq⁻¹delta.
        """


class Spectral(RelativeScale):
    """R known by its eigenvalues.

    Args:
        excess: λ − 1, accurate where λ is close to 1.
        eigenvalues: λ, accurate where it is close to 0.
        squares: Maps differences of means, (batch, dim), to m², (batch, number of eigenvalues).
        counts: Multiplicities of the eigenvalues; 1 each by default. An eigenvalue that stands for several has the sum
            of their m².

    Raises:
        DivergenceError: If an eigenvalue is not finite and positive.
    """

    def __init__(
        self,
        excess: Float[Tensor, " size"],
        eigenvalues: Float[Tensor, " size"],
        squares: Callable[[Tensor], Tensor],
        counts: Float[Tensor, " size"] | None = None,
    ) -> None:
        if not bool((torch.isfinite(eigenvalues) & (eigenvalues > 0)).all()):
            raise DivergenceError(
                f"the two covariances differ by a factor between {float(eigenvalues.min()):.3g} and "
                f"{float(eigenvalues.max()):.3g}; expected finite positive factors, increase the smaller covariance"
            )
        self.excess, self.eigenvalues, self.squares = excess, eigenvalues, squares
        self.counts = torch.ones_like(excess) if counts is None else counts
        self.dim = round(float(self.counts.sum()))
        self.mean_excess = float((self.counts * excess).sum()) / self.dim
        self._centred = (excess - self.mean_excess) / (1 + self.mean_excess)
        self._ratios = eigenvalues / (1 + self.mean_excess)

    def remainder(self) -> float:
        """Σ (λ − 1 − log λ)."""
        return float((self.counts * _remainder(self.excess, self.eigenvalues)).sum())

    def centred_remainder(self) -> float:
        """Σ log(λ̄/λ), as the sum of (λ/λ̄ − 1) − log(λ/λ̄), whose first part adds up to zero."""
        return float((self.counts * _remainder(self._centred, self._ratios)).sum())

    def compression(self, a: Float[Tensor, " nodes"]) -> Float[Tensor, " nodes"]:
        """Σ log((1 + aλ/λ̄)/(1 + a)); the linear part of the logarithm, whose sum is zero, is left out."""
        return torch.cat([self._compression(block.unsqueeze(-1)) for block in self._blocks(a)])

    def resolvent(self, delta: Float[Tensor, "batch dim"]) -> Callable[[Tensor], Tensor]:
        """Σ m²/(1 + aλ/λ̄)."""
        squares = self.squares(delta).to(self._ratios.device)

        def evaluate(a: Tensor) -> Tensor:
            blocks = self._blocks(a)
            return torch.cat([squares @ (1 / (1 + torch.outer(self._ratios, block))) for block in blocks], -1)

        return evaluate

    def _compression(self, a: Tensor) -> Tensor:
        change = a / (1 + a) * self._centred
        terms = -log1p_remainder(change.clamp(min=-0.5))
        if bool((change < -0.5).any()):  # 1 + change would cancel: take the two logarithms apart
            terms = torch.where(change < -0.5, (a * self._ratios).log1p() - a.log1p() - change, terms)
        return terms @ self.counts

    def _blocks(self, a: Tensor) -> Iterator[Tensor]:
        return iter(a.split(max(1, _BLOCK // self.excess.numel())))


def _remainder(excess: Tensor, eigenvalues: Tensor) -> Tensor:
    """λ − 1 − log λ from both forms of λ: each where it has its digits."""
    return torch.where(excess < -0.5, excess - eigenvalues.log(), log1p_remainder(excess.clamp(min=-0.5)))
