"""A chain of Hadamard rounds written out as one dense matrix, entry by entry, in extended precision."""

from collections.abc import Iterable

import numpy as np

Round = tuple[np.ndarray, int, int, int, np.ndarray | None]
"""Block matrix, outer, stride, start, and the signs flipped before the round (None: none)."""


def dense_transpose(dim: int, rounds: Iterable[Round]) -> np.ndarray:
    """Vᵀ as the product of its rounds, each of them a dim × dim matrix that is filled by the definition."""
    product = np.eye(dim, dtype=np.longdouble)
    for matrix, outer, stride, start, signs in rounds:
        block = matrix.shape[0]
        step = np.eye(dim, dtype=np.longdouble)
        for group in range(outer):
            for offset in range(stride):
                members = [start + (group * block + j) * stride + offset for j in range(block)]
                step[np.ix_(members, members)] = matrix.astype(np.longdouble)
        if signs is not None:
            step = step @ np.diag(signs.astype(np.longdouble))
        product = step @ product
    return product


def signs_of_words(words: np.ndarray, dim: int) -> np.ndarray:
    """The sign of coordinate i: bit i mod 64 of word i div 64, set for minus."""
    return np.array([1 - 2 * ((int(words[i // 64]) >> (i % 64)) & 1) for i in range(dim)])
