"""The effective rank of Δ: how many directions a compression moved a matrix of weights in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from shrinkscope.deferred import torch
from shrinkscope.kernel import as_tensor
from shrinkscope.weights.pairing import TensorPair
from shrinkscope.weights.summary import pieces_of

if TYPE_CHECKING:
    from torch import Tensor

EXACT = 1024
"""Rows or columns up to which all singular values are computed, from the Gram matrix (8 MB in float64)."""

SKETCH = 256
"""Singular values that are found of larger matrices."""

_ELEMENTS = 1 << 21  # of a band of rows: 16 MB in float64

Piece = Callable[[int, int], "Tensor"]


def effective_rank(pair: TensorPair, generator: torch.Generator | None = None) -> float | None:
    """exp(H(p)) of p_i = σ_i²/Σσ², the singular values σ of Δ: 1 for a rank-one change, min(m, n) for an isotropic one.

    Exact (within 1e-6) where the smaller dimension is at most 1,024. Beyond, the 256 largest singular values are from a
    randomised range finder and the energy that is left counts as spread evenly over the others: an upper bound, but
    for the error of the values found.

    Args:
        pair: Two tensors of one shape; dimensions after the first are taken together.
        generator: For the randomised range finder; a fixed one by default, so that a comparison can be repeated.

    Returns:
        The effective rank, without unit; None for vectors, for Δ = 0, and for values that are not finite.

    Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007, here of the energies σ² rather than of σ, so that what a
    sketch does not see is known from ‖Δ‖²; Halko, Martinsson & Tropp 2011, Algorithm 4.4 with one power iteration;
    tests/weights/test_rank.py against a dense singular value decomposition.
    """
    shape = pair.dense.shape
    if len(shape) < 2 or not pair.dense.parameters:
        return None
    rows, columns = shape[0], pair.dense.parameters // shape[0]
    delta = _delta(pair)
    if min(rows, columns) <= EXACT:
        gram = _gram(delta, rows, columns)
        if not gram.isfinite().all():
            return None
        energies, others = torch.linalg.eigvalsh(gram).clamp_min(0.0), 0
    else:
        energies, others = _largest(delta, rows, columns, generator or torch.Generator().manual_seed(0))
    total = float(energies.sum())
    if not 0.0 < total < float("inf"):
        return None
    shares = energies / total
    entropy = -torch.special.xlogy(shares, shares)
    counted = entropy.sum()
    if others:
        # The last entry is what the others share evenly: R/k each, which adds R·log k.
        counted = counted + shares[-1] * torch.log(torch.tensor(float(others), dtype=torch.float64))
    return float(torch.exp(counted))


def _delta(pair: TensorPair) -> Piece:
    dense, compressed = pieces_of(pair.dense), pieces_of(pair.compressed)

    def piece(start: int, stop: int) -> Tensor:
        return as_tensor(dense(start, stop)).to("cpu", torch.float64) - as_tensor(compressed(start, stop)).to(
            "cpu", torch.float64
        )

    return piece


def _largest(delta: Piece, rows: int, columns: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """The largest σ² and, as the last entry, the sum of the others, with the number of these."""
    basis, total = torch.randn(columns, SKETCH, generator=generator, dtype=torch.float64), 0.0
    for _ in range(2):
        image = torch.linalg.qr(torch.cat([band @ basis for band in _bands(delta, rows, columns)])).Q
        basis, total, start = torch.zeros(columns, SKETCH, dtype=torch.float64), 0.0, 0
        for band in _bands(delta, rows, columns):
            basis += band.T @ image[start : start + len(band)]
            total += float(band.square().sum())
            start += len(band)
    found = torch.linalg.svdvals(basis).square()
    rest = max(total - float(found.sum()), 0.0)
    return torch.cat([found, torch.tensor([rest], dtype=torch.float64)]), min(rows, columns) - SKETCH


def _gram(delta: Piece, rows: int, columns: int) -> Tensor:
    small = min(rows, columns)
    gram = torch.zeros(small, small, dtype=torch.float64)
    if columns <= rows:
        for band in _bands(delta, rows, columns):
            gram += band.T @ band
        return gram
    # A wide matrix is walked over by columns, which a row-major tensor gives row by row.
    width = max(1, _ELEMENTS // rows)
    if width >= columns:
        whole = delta(0, rows * columns).reshape(rows, columns)
        return whole @ whole.T
    for start in range(0, columns, width):
        stop = min(start + width, columns)
        part = torch.stack([delta(row * columns + start, row * columns + stop) for row in range(rows)])
        gram += part @ part.T
    return gram


def _bands(delta: Piece, rows: int, columns: int) -> Iterator[Tensor]:
    height = max(1, _ELEMENTS // columns)
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        yield delta(start * columns, stop * columns).reshape(stop - start, columns)
