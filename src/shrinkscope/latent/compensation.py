"""The weights nearest to given ones among those that are zero at given places, in the norm of a Σ⁻¹ between columns."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from shrinkscope.errors import LatentError
from shrinkscope.latent.elimination import SINGULAR

_BYTES = 1 << 28
"""Memory for the matrices of the rows that are solved together."""


def nearest_rows(rows: Tensor, kept: Tensor, matrix: Tensor) -> Tensor:
    """For each row w the w̃ of least (w − w̃)ᵀA(w − w̃) that is zero where it is not kept.

    The kept weights take over what the removed ones did as far as the data let them: w̃_k = w_k + A_kk⁻¹A_kr w_r, by a
    Cholesky decomposition for each row.

    Args:
        rows: Float64, shape (rows, columns).
        kept: Bool, the same shape.
        matrix: A, positive definite on the kept columns, shape (columns, columns).

    Returns:
        Of the same shape, exactly zero where not kept.

    Raises:
        LatentError: If A is singular on the kept columns of a row.

    Source: Hassibi & Stork (1993), optimal brain surgeon, for several weights at once;
        tests/latent/test_compensation.py against least squares.
    """
    lost = torch.where(kept, 0.0, rows) @ matrix
    found = torch.zeros_like(rows)
    for part in _decomposed(kept, matrix):
        right = torch.where(part.held, part.of(lost), 0.0).unsqueeze(-1)
        moved = torch.cholesky_solve(right, part.lower).squeeze(-1)
        part.put(found, part.of(rows) + moved)
    return found


def removal_costs(rows: Tensor, kept: Tensor, matrix: Tensor) -> Tensor:
    """What the squared norm of the change grows by when one kept weight goes too and the others make up for it.

    Args:
        rows: Float64, shape (rows, columns): weights that are the best with those kept.
        kept: Bool, the same shape.
        matrix: A, as for ``nearest_rows``.

    Returns:
        w_j² / [A_kk⁻¹]_jj, of the same shape; zero where not kept.

    Raises:
        LatentError: If A is singular on the kept columns of a row.

    Source: Hassibi & Stork (1993), the saliency of a weight; tests/latent/test_compensation.py by removing each.
    """
    costs = torch.zeros_like(rows)
    if bool(kept.all()):
        (only,) = _decomposed(kept[:1], matrix)
        return rows.square() / torch.cholesky_inverse(only.lower[0]).diagonal()
    for part in _decomposed(kept, matrix):
        inverse = torch.cholesky_inverse(part.lower).diagonal(dim1=-2, dim2=-1)
        part.put(costs, part.of(rows).square() / inverse)
    return costs


class _Part(NamedTuple):
    """A few rows, and A on the columns that each of them keeps.

    ``columns`` has those that a row keeps first; where rows keep different numbers, other columns fill up the shorter
    ones, ``held`` is False there, and the factors are those of the identity.
    """

    rows: Tensor
    columns: Tensor
    held: Tensor
    lower: Tensor

    def of(self, values: Tensor) -> Tensor:
        """What is at these columns of these rows."""
        return values[self.rows].gather(1, self.columns)

    def put(self, values: Tensor, found: Tensor) -> None:
        """Write what was found where it is held, and zeros into the rest of these rows."""
        empty = values.new_zeros(len(self.rows), values.shape[1])
        values[self.rows] = empty.scatter(1, self.columns, torch.where(self.held, found, 0.0))


def _decomposed(kept: Tensor, matrix: Tensor) -> Iterator[_Part]:
    """Cholesky factors of A on the kept columns, of a few rows at a time, those that keep most first."""
    numbers, order = kept.sum(dim=1).sort(descending=True, stable=True)
    start = 0
    while start < len(order) and (size := int(numbers[start])):
        rows = order[start : start + max(1, _BYTES // (8 * size * size))]
        start += len(rows)
        columns = kept[rows].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
        held = kept[rows].gather(1, columns)
        block = matrix[columns.unsqueeze(2), columns.unsqueeze(1)]
        if not bool(held.all()):
            # One size for all, so that one call decomposes them.
            block *= held.unsqueeze(2) & held.unsqueeze(1)
            block.diagonal(dim1=1, dim2=2).add_((~held).to(block.dtype))
        lower, failed = torch.linalg.cholesky_ex(block)
        if bool(failed.any()):
            raise LatentError(SINGULAR)
        yield _Part(rows, columns, held, lower)
