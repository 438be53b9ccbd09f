"""Extreme eigenvalues of a symmetric matrix that is known only through its products."""

import math
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from shrinkscope.errors import CurvatureError

End = Literal["largest", "smallest", "largest magnitude"]
Product = Callable[[Tensor], Tensor]
DENSE = 32
"""Up to this many rows the matrix is formed: as many products as Lanczos would take at least, and no iteration."""
_SLACK = 10.0  # of the residual over the tolerance: products in float32 do not repeat to the last bit


class Eigenpair(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An eigenvalue with its vector.

    Attributes:
        value: The Rayleigh quotient of the vector.
        vector: Unit vector, float64.
        residual: |Hv − λv|: the matrix has an eigenvalue within this distance of the value.
        products: Products that were taken.
    """

    value: float
    vector: Tensor
    residual: float
    products: int


class Lanczos(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an eigenvalue is searched for.

    Attributes:
        tolerance: Largest residual as a fraction of the spectral norm.
        basis: Vectors kept (ncv of ARPACK); fewer take less memory and more products.
        restarts: Most restarts.
    """

    tolerance: float
    basis: int = 20
    restarts: int = 300

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise CurvatureError(f"tolerance = {self.tolerance}; expected a fraction between 0 and 1, such as 1e-4")
        if self.basis < 3:
            raise CurvatureError(f"basis = {self.basis}; expected at least 3 vectors")
        if self.restarts < 1:
            raise CurvatureError(f"restarts = {self.restarts}; expected at least 1")

    def bytes(self, dimension: int) -> int:
        """Bytes that the search takes on the CPU for a matrix of so many rows."""
        if dimension <= DENSE:
            return 4 * 8 * dimension * dimension
        # ARPACK's basis and work space of three vectors; the residual, the start, the eigenvector and two in passing.
        return 8 * dimension * (min(self.basis, dimension) + 8)

    def extreme(self, product: Product, dimension: int, end: End, start: Tensor) -> Eigenpair:
        """The eigenpair at one end of the spectrum.

        Args:
            product: The matrix times a float64 vector.
            dimension: Number of rows.
            end: Which end.
            start: Where to begin, float64 of shape (dimension,), not orthogonal to the eigenvector.

        Returns:
            The eigenpair, its residual from a product of its own.

        Raises:
            CurvatureError: If the search does not converge, or a product is not finite.

        Source: Lehoucq, Sorensen & Yang, ARPACK (1998).
        """
        counted = _Counted(product)
        if dimension <= DENSE:
            return _measured(counted, _dense(counted, dimension, end))
        pair = _measured(counted, self._search(counted, dimension, start))
        norm = abs(pair.value)
        if end == "largest magnitude" or (end == "largest") == (pair.value > 0) or norm == 0:
            self._check(pair, norm)
            return pair
        # The other end has the smaller magnitude: after a shift that makes the spectrum one-sided it has the larger.
        shift = -pair.value
        shifted = _measured(counted, self._search(lambda v: counted(v) + shift * v, dimension, start))
        self._check(shifted, norm)
        return shifted

    def _search(self, product: Product, dimension: int, start: Tensor) -> Tensor:
        if not float(product(start).norm()):
            return start / start.norm()  # a vector drawn at random is in the null space of the zero matrix alone
        # Only here, so that a comparison of weights starts without it.
        from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

        def apply(x: np.ndarray) -> np.ndarray:
            # Copied: ARPACK hands out views of its own work space.
            return product(torch.from_numpy(np.array(x, dtype=np.float64).reshape(-1))).numpy()

        shape = (dimension, dimension)
        operator = LinearOperator(shape, matvec=apply, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        basis = min(self.basis, dimension)
        options = {"which": "LM", "ncv": basis, "maxiter": self.restarts, "tol": self.tolerance}
        try:
            _, vectors = eigsh(operator, k=1, v0=start.numpy(), **options)
        except ArpackNoConvergence as error:
            raise CurvatureError(
                f"no eigenvalue converged to {self.tolerance:g} of its size in {self.restarts} restarts with {basis} "
                "vectors; raise basis, restarts or tolerance"
            ) from error
        except ArpackError as error:
            raise CurvatureError(f"the search for an eigenvalue failed: {error}; raise basis or tolerance") from error
        return torch.from_numpy(np.ascontiguousarray(vectors[:, 0]))

    def _check(self, pair: Eigenpair, norm: float) -> None:
        if pair.residual > _SLACK * self.tolerance * norm:
            raise CurvatureError(
                f"the eigenpair of {pair.value:.6g} has a residual of {pair.residual:.3g}, more than {_SLACK:g} × "
                f"{self.tolerance:g} of {norm:.3g}: products do not repeat so well; raise tolerance, or use float64"
            )


class _Counted:
    """A product that counts how often it is taken and refuses what is not finite."""

    def __init__(self, product: Product) -> None:
        self.product, self.count = product, 0

    def __call__(self, vector: Tensor) -> Tensor:
        self.count += 1
        result = self.product(vector)
        if not math.isfinite(float(result.sum())):
            raise CurvatureError("a product with the curvature is not finite; the second derivatives overflow")
        return result


def _dense(product: Product, dimension: int, end: End) -> Tensor:
    matrix = torch.stack([product(unit) for unit in torch.eye(dimension, dtype=torch.float64)])
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    index = {"largest": dimension - 1, "smallest": 0, "largest magnitude": int(values.abs().argmax())}[end]
    return vectors[:, index].contiguous()


def _measured(product: _Counted, vector: Tensor) -> Eigenpair:
    image = product(vector)
    value = float(vector @ image)
    residual = float((image - value * vector).norm())
    return Eigenpair(value=value, vector=vector, residual=residual, products=product.count)
