"""Compensated pruning in one sweep over the columns, for layers too wide for a decomposition of every row."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from shrinkscope.compression.ranking import Scores, removed_by_rank
from shrinkscope.errors import CompressionError

WIDTH = 128
"""Columns of which the weights that go are chosen together."""


class Swept(NamedTuple):
    """A pruned weight: which of it is kept, and its values, zero elsewhere."""

    kept: Tensor
    weight: Tensor


def sweep(weight: Tensor, moment: Tensor, removed: int, *, damping: float = 0.01, width: int = WIDTH) -> Swept:
    """Remove weights from the first column to the last, those to the right making up for each that goes.

    One decomposition serves all rows, so that a layer takes about columns³ + rows · columns² operations instead of the
    rows · columns³ of ``CompensatedPruning``; in return, columns to the left no longer move. Of each run of columns the
    same share goes: the weights of least w²/[(Σ⁻¹)⁻¹]_jj over what is left of the columns.

    Args:
        weight: Shape (rows, columns).
        moment: Σ⁻¹ between the columns, E[xxᵀ] of the layer's input in any unit, shape (columns, columns).
        removed: Number of weights to remove, from 0 to all.
        damping: Added to the diagonal of the moment, as a multiple of its mean.
        width: Columns of a run.

    Returns:
        Bool and values of the weight's shape, type and device; exactly ``removed`` weights go.

    Raises:
        CompressionError: If ``removed``, the damping or the moment is not usable.

    Source: Frantar & Alistarh (2023), "SparseGPT", algorithm 1; tests/compression/test_swept.py against removing one
        column after the other by optimal brain surgeon.
    """
    rows, columns = weight.shape
    if not 0 <= removed <= weight.numel() or not 0 <= damping < math.inf:
        raise CompressionError(
            f"removed = {removed} of {weight.numel()}, damping = {damping}; expected no more than there are, and a "
            "finite damping of at least 0"
        )
    upper = _factor(moment, damping)
    values = weight.detach().to(upper.device, torch.float64, copy=True)
    kept = torch.ones(rows, columns, dtype=torch.bool, device=upper.device)
    gone = 0
    for start in range(0, columns, width):
        stop = min(start + width, columns)
        until = removed * stop // columns
        own = upper[start:stop, start:stop]
        part = values[:, start:stop]
        costs = (part / own.diagonal()).square()
        kept[:, start:stop] = ~_lowest(costs, until - gone)
        gone = until
        moved = _swept_run(part, kept[:, start:stop], own)
        values[:, stop:] -= moved @ upper[start:stop, stop:]
    values.masked_fill_(~kept, 0.0)
    return Swept(kept.to(weight.device), values.to(weight.device, weight.dtype))


def _swept_run(values: Tensor, kept: Tensor, upper: Tensor) -> Tensor:
    """Sweep over a run of columns in place; what each column sends to those on its right, shape (rows, width)."""
    sent = torch.zeros_like(values)
    for column in range(values.shape[1]):
        sent[:, column] = torch.where(kept[:, column], 0.0, values[:, column] / upper[column, column])
        values[:, column:] -= sent[:, column : column + 1] * upper[column, column:]
    return sent


def _factor(moment: Tensor, damping: float) -> Tensor:
    """U of (Σ⁻¹)⁻¹ = UᵀU: row j over U_jj is the first column of the inverse over the columns from j on."""
    matrix = moment.to(torch.float64, copy=True)
    # Inputs that are all zero leave every weight free: then, as with equal moments, the least of each run go.
    matrix.diagonal().add_(damping * (matrix.diagonal().mean() or 1.0))
    found, failed = torch.linalg.cholesky_ex(matrix)
    del matrix  # of wide layers each of these is what takes the most memory
    if not bool(failed):
        found = torch.cholesky_inverse(found)
        found, failed = torch.linalg.cholesky_ex(found, upper=True)
    if bool(failed) or not bool(torch.isfinite(found).all()):
        raise CompressionError(
            "the moment of a layer's input is singular: its inputs do not determine the weights; gather it from more "
            "inputs, or set damping to a positive number such as 0.01"
        )
    return found


def _lowest(costs: Tensor, number: int) -> Tensor:
    scores = Scores(size=costs.numel(), read=lambda: costs.reshape(-1))
    (found,) = removed_by_rank([scores], number, "lowest")
    return found.view(costs.shape).to(costs.device)
