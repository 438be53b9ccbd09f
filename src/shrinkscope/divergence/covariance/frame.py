"""The part of a Haar-distributed rotation that k given vectors see: the exact law in any dimension, in O(dim·k)."""

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.orthogonal import Orthogonal
from shrinkscope.errors import DivergenceError

_OUTSIDE = 1e-9  # share of a vector's length that rounding may leave outside a span


class HaarFrame(Orthogonal):
    """V on the span of k vectors: an orthonormal basis of the span goes to k orthonormal vectors of uniform direction.

    A Haar-distributed V maps any fixed orthonormal basis to a uniformly distributed frame, so the vectors VᵀΔ for Δ in
    the span have exactly, and jointly, the law that a dim × dim draw would give them. It serves a study whose
    differences are all known beforehand: another set of vectors needs another frame, and hence another V.

    `transpose` takes vectors of the span, `apply` vectors of their image; V is not known elsewhere. A rotated
    covariance therefore has `quadratic` and `whiten`, but no `solve` or `root`.

    Args:
        vectors: What will be compared, one vector a row, at most as many as coordinates; they need not be independent.
        generator: Where the frame is drawn from.

    Raises:
        DivergenceError: If there are no vectors, more vectors than coordinates, or values that are not finite.

    Source: derived here (a Gaussian block times an orthogonal matrix has the same law, hence so has its orthonormal
    basis by Gram–Schmidt); tested in tests/divergence/covariance/test_frame.py.
    """

    def __init__(self, vectors: Float[Tensor, "k dim"], generator: torch.Generator) -> None:
        if vectors.ndim != 2 or not 1 <= vectors.shape[0] <= vectors.shape[1]:
            raise DivergenceError(
                f"vectors of shape {tuple(vectors.shape)} for a Haar frame; expected (k, dim) with 1 <= k <= dim"
            )
        if not bool(torch.isfinite(vectors).all()):
            raise DivergenceError("the vectors of a Haar frame have infinite or NaN entries")
        columns = vectors.detach().to(torch.float64).mT
        normals = torch.randn(columns.shape, generator=generator, dtype=torch.float64, device=generator.device)
        self.basis, _ = torch.linalg.qr(columns)
        frame, upper = torch.linalg.qr(normals.to(columns.device))
        # Gram–Schmidt has a positive diagonal; LAPACK's signs depend on the draw and would spoil the law.
        self.frame = frame * upper.diagonal().sign()

    @property
    def dim(self) -> int:
        """Number of rows of V."""
        return self.basis.shape[0]

    def apply(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vx for x in the image of the span under Vᵀ.

        Raises:
            DivergenceError: If x has a part outside.
        """
        return _map(x, self.frame, self.basis, "the frame")

    def transpose(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vᵀx for x in the span of the vectors.

        Raises:
            DivergenceError: If x has a part outside.
        """
        return _map(x, self.basis, self.frame, "the span of the vectors that the frame was drawn for")


def _map(x: Tensor, source: Tensor, target: Tensor, where: str) -> Tensor:
    """Coordinates of x in the columns of the source, put on the columns of the target."""
    x = x.to(torch.float64)
    coordinates = x @ source
    outside = torch.linalg.vector_norm(x - coordinates @ source.mT, dim=-1)
    if bool((outside > _OUTSIDE * torch.linalg.vector_norm(x, dim=-1)).any()):
        raise DivergenceError(
            f"a vector lies outside {where} (by {float(outside.detach().max()):.3g}); draw one Haar frame for all "
            f"vectors of the study, or use random_orthogonal"
        )
    return coordinates @ target.mT
