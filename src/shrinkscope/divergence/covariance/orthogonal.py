"""Orthogonal matrices V that turn the axes of a rotated covariance: the interface, and the paper's construction."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.base import refuse_large
from shrinkscope.errors import DivergenceError


class Orthogonal(ABC):
    """A matrix V with VᵀV = I, known by its action on vectors."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of rows of V."""

    @abstractmethod
    def apply(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vx for each vector of the batch."""

    @abstractmethod
    def transpose(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vᵀx for each vector of the batch."""


class RandomEigenvectors(Orthogonal):
    """V as the paper draws it: the eigenvectors of R + Rᵀ, with R a square matrix of independent standard normals.

    Its law is the uniform (Haar) one on orthogonal matrices, up to the signs of the columns, on which VΛVᵀ does not
    depend. It keeps a dim × dim matrix and is for small dimensions, as the reference of cheaper operators.

    Args:
        dim: Number of dimensions, from 1 to ``DENSE_LIMIT``: a layer of 20,480 weights would take 3.4 GB.
        generator: Where R is drawn from; one study draws one V and uses it in all its comparisons.

    Raises:
        DivergenceError: If the dimension is out of range.

    Source: Mozafarinia & Yasaei Sekeh (2024), §2, text after Definition 2.2; the law by rotation invariance of R + Rᵀ,
    tested in tests/divergence/covariance/test_orthogonal.py.
    """

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        if dim < 1:
            raise DivergenceError(f"dimension {dim} of a random orthogonal matrix; expected at least 1")
        refuse_large(dim, "the eigenvectors of R + Rᵀ")
        normals = torch.randn(dim, dim, generator=generator, dtype=torch.float64, device=generator.device)
        self.matrix = torch.linalg.eigh(normals + normals.mT).eigenvectors

    @property
    def dim(self) -> int:
        """Number of rows of V."""
        return self.matrix.shape[-1]

    def apply(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vx."""
        return x.to(torch.float64) @ self.matrix.mT

    def transpose(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vᵀx."""
        return x.to(torch.float64) @ self.matrix
