"""The weights nearest to given ones among those that are zero at given places, in the norm of a Σ⁻¹ between columns."""

from collections.abc import Iterator

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
    found = torch.empty_like(rows)
    for part, lower in _decomposed(kept, matrix):
        right = torch.where(kept[part], lost[part], 0.0).unsqueeze(-1)
        moved = torch.cholesky_solve(right, lower).squeeze(-1)
        found[part] = torch.where(kept[part], rows[part] + moved, 0.0)
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
        (_, lower), *_ = _decomposed(kept[:1], matrix)
        return rows.square() / torch.cholesky_inverse(lower[0]).diagonal()
    for part, lower in _decomposed(kept, matrix):
        inverse = torch.cholesky_inverse(lower).diagonal(dim1=-2, dim2=-1)
        costs[part] = torch.where(kept[part], rows[part].square() / inverse, 0.0)
    return costs


def _decomposed(kept: Tensor, matrix: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cholesky factors of A on the kept columns of a few rows at a time, with ones for the removed columns."""
    count, columns = kept.shape
    step = max(1, _BYTES // (8 * columns * columns))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        both = kept[part].unsqueeze(-1) & kept[part].unsqueeze(-2)
        # The rest of the matrix is the identity, so that all rows are of one size and one call decomposes them.
        whole = torch.where(both, matrix, 0.0)
        whole.diagonal(dim1=-2, dim2=-1).add_((~kept[part]).to(matrix.dtype))
        lower, failed = torch.linalg.cholesky_ex(whole)
        if bool(failed.any()):
            raise LatentError(SINGULAR)
        yield part, lower
