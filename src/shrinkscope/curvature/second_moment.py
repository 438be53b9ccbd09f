"""Sums of xxᵀ over vectors, whole or in blocks on the diagonal: a partial statistic that merges."""

from typing import Literal

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import CurvatureError

Structure = Literal["full", "block", "diagonal"]

_WIDEST = 64


class SecondMoment(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Σ xxᵀ over the vectors seen so far.

    Attributes:
        sums: Float64, shape (groups, blocks, width, width): blocks on the diagonal, the whole matrix if there is one.
        vectors: How many vectors of each group were seen, one a position.
    """

    sums: Tensor
    vectors: tuple[int, ...]

    @classmethod
    def empty(cls, groups: int, columns: int, width: int, device: torch.device | str = "cpu") -> "SecondMoment":
        """The sum over no vector.

        Args:
            groups: Kinds of vectors that are kept apart.
            columns: Length of a vector.
            width: Columns of a block; a divisor of ``columns``.
            device: Where the sums are.
        """
        shape = (groups, columns // width, width, width)
        return cls(sums=torch.zeros(shape, dtype=torch.float64, device=device), vectors=(0,) * groups)

    def update(self, vectors: Tensor, group: int | None = None) -> "SecondMoment":
        """The sum with more vectors.

        Args:
            vectors: Shape (groups, vectors, columns), of any floating type; products and sums are taken in float64.
            group: The only group that they belong to, when the first dimension is one; all groups when None.
        """
        _, blocks, width, _ = self.sums.shape
        values = vectors.to(self.sums.device, torch.float64).reshape(len(vectors), -1, blocks, width)
        if width == 1:
            added = values.square().sum(dim=1).unsqueeze(-1)
        else:
            values = values.transpose(1, 2)
            added = values.mT @ values
        number = vectors.shape[1]
        if group is None:
            return SecondMoment(sums=self.sums + added, vectors=tuple(seen + number for seen in self.vectors))
        sums, seen = self.sums.clone(), [*self.vectors]
        sums[group] += added[0]
        seen[group] += number
        return SecondMoment(sums=sums, vectors=tuple(seen))

    def merge(self, other: "SecondMoment") -> "SecondMoment":
        """The sum over the vectors of both.

        Args:
            other: Of the same shape.

        Raises:
            CurvatureError: If it is not.
        """
        if self.sums.shape != other.sums.shape:
            raise CurvatureError(
                f"second moments of shapes {tuple(self.sums.shape)} and {tuple(other.sums.shape)} cannot be merged; "
                "gather both from one network with one structure"
            )
        sums = self.sums + other.sums.to(self.sums.device)
        vectors = tuple(one + more for one, more in zip(self.vectors, other.vectors, strict=True))
        return SecondMoment(sums=sums, vectors=vectors)

    def mean(self) -> Tensor:
        """E[xxᵀ] over the vectors of each group, of the shape of ``sums``; zero where a group has seen none."""
        seen = torch.tensor(self.vectors, dtype=torch.float64, device=self.sums.device).clamp(min=1)
        return self.sums / seen[:, None, None, None]

    def diagonal(self) -> "SecondMoment":
        """The diagonal alone, as blocks of one column."""
        diagonal = self.sums.diagonal(dim1=-2, dim2=-1).reshape(len(self.sums), -1, 1, 1)
        return SecondMoment(sums=diagonal, vectors=self.vectors)


def block_width(structure: Structure, columns: int, natural: int | None) -> int:
    """Columns of a block.

    Args:
        structure: ``full`` for all, ``diagonal`` for one, ``block`` for those that belong together.
        columns: Length of a vector.
        natural: Columns that belong together; for None, the largest divisor of ``columns`` up to 64.

    Raises:
        CurvatureError: If the structure is unknown.
    """
    if structure not in ("full", "block", "diagonal"):
        raise CurvatureError(f"structure = {structure!r}; expected 'full', 'block' or 'diagonal'")
    if structure == "full":
        return columns
    if structure == "diagonal":
        return 1
    return natural or next(width for width in range(min(columns, _WIDEST), 0, -1) if columns % width == 0)
