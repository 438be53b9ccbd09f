"""In which order the weights of a row go when the others make up for them, and what those are on the way."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from shrinkscope.errors import LatentError

_BYTES = 1 << 28
"""Memory for the matrices of the rows that are looked at together."""

_SHARE = 12  # of what is left of a row, one part in so many goes at a time
_LAST = 0.01  # of a row: what goes all at once

SINGULAR = (
    "Σ⁻¹ is singular on the weights that are kept: the inputs do not determine them; "
    "gather it from more inputs, or set damping to a positive number such as 0.01"
)


def removal_keys(rows: Tensor, matrix: Tensor) -> Tensor:
    """What each weight costs when its turn comes, the cheapest of its row going first and the others making up for it.

    Rows do not touch each other, so that the weights of all rows in the order of their keys are what removes one
    weight after another from the whole. A twelfth of what is left of a row goes at a time; then A⁻¹ of what stays
    follows from that of what was there, H_kk − H_kr H_rr⁻¹ H_rk, so that emptying a row costs about as much as
    decomposing A once for it.

    Args:
        rows: Float64, shape (rows, columns).
        matrix: A, positive definite, shape (columns, columns).

    Returns:
        Of the same shape, rising in the order in which the weights of a row go.

    Raises:
        LatentError: If A is singular.

    Source: Hassibi & Stork (1993) for one weight, Frantar & Alistarh (2022) for rows that are merged afterwards;
        tests/latent/test_elimination.py by removing one weight after another from a dense inverse.
    """
    inverse = torch.cholesky_inverse(_cholesky(matrix))
    keys = torch.empty_like(rows)
    for part in _parts(rows):
        keys[part] = _keys(rows[part], inverse)
    return keys


def nearest_along(rows: Tensor, turns: Tensor, counts: Sequence[int], matrix: Tensor) -> Tensor:
    """The rows nearest to given ones, in the norm of A, after so many turns, for all these numbers at once.

    With the columns in the reverse of their order, what is kept is always a leading block of A, and so is its Cholesky
    factor: one decomposition for each row serves all numbers.

    Args:
        rows: Float64, shape (rows, columns).
        turns: Whole numbers of the same shape: when a weight goes; after c turns those of turn c and more are kept.
        counts: Numbers of turns.
        matrix: A, positive definite, shape (columns, columns).

    Returns:
        Shape (counts, rows, columns), exactly zero where not kept.

    Raises:
        LatentError: If A is singular.

    Source: derived here; tests/latent/test_elimination.py against ``nearest_rows``.
    """
    found = torch.empty(len(counts), *rows.shape, dtype=rows.dtype)
    after = torch.tensor(counts).view(1, 1, -1)
    for part in _parts(rows):
        order = turns[part].argsort(dim=1, descending=True)
        lower = _cholesky(matrix[order.unsqueeze(2), order.unsqueeze(1)])
        wanted = (rows[part] @ matrix).gather(1, order).unsqueeze(-1)
        kept = turns[part].gather(1, order).unsqueeze(-1) >= after
        forward = torch.linalg.solve_triangular(lower, wanted, upper=False)
        # Zeros below a leading block stay zeros in the substitution from below, which thus is that of the block.
        solved = torch.linalg.solve_triangular(lower.mT, torch.where(kept, forward, 0.0), upper=True)
        back = order.unsqueeze(-1).expand_as(solved)
        found[:, part] = torch.zeros_like(solved).scatter(1, back, torch.where(kept, solved, 0.0)).permute(2, 0, 1)
    return found


def _keys(rows: Tensor, inverse: Tensor) -> Tensor:
    keys, floor = torch.empty_like(rows), torch.zeros(len(rows), 1, dtype=rows.dtype)
    columns = torch.arange(rows.shape[1]).expand_as(rows)
    weights, inverses = rows, inverse.expand(len(rows), -1, -1)
    while True:
        costs, order = (weights.square() / inverses.diagonal(dim1=1, dim2=2)).sort(dim=1, stable=True)
        count = _going(columns.shape[1], rows.shape[1])
        gone, stay = order[:, :count], order[:, count:]
        # A weight that was dear when another one went is not cheaper than that one, although it went later.
        rising = torch.maximum(costs[:, :count].cummax(dim=1).values, floor)
        keys.scatter_(1, columns.gather(1, gone), rising)
        if stay.shape[1] == 0:
            return keys
        floor = rising[:, -1:]
        across, within = _block(inverses, gone, stay), _block(inverses, gone, gone)
        solved = torch.cholesky_solve(across, _cholesky(within))
        moved = (weights.gather(1, gone).unsqueeze(1) @ solved).squeeze(1)
        weights = weights.gather(1, stay) - moved
        inverses = torch.baddbmm(_block(inverses, stay, stay), across.mT, solved, alpha=-1)
        columns = columns.gather(1, stay)


def _going(left: int, size: int) -> int:
    return left if left <= max(1.0, _LAST * size) else max(1, left // _SHARE)


def _block(matrices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Those rows and columns of each matrix."""
    taken = matrices.gather(1, rows.unsqueeze(2).expand(-1, -1, matrices.shape[2]))
    return taken.gather(2, columns.unsqueeze(1).expand(-1, rows.shape[1], -1))


def _cholesky(matrix: Tensor) -> Tensor:
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        raise LatentError(SINGULAR)
    return lower


def _parts(rows: Tensor) -> Iterator[slice]:
    step = max(1, _BYTES // (8 * rows.shape[1] ** 2))
    return (slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step))
