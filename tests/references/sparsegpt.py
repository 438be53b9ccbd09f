"""SparseGPT in NumPy, one column after the other, with a fresh inverse for each."""

import numpy as np


def sparsegpt(weight: np.ndarray, moment: np.ndarray, removed: int, damping: float, width: int):
    """Kept mask and weights; in each run of ``width`` columns the cheapest go, the rest of the row adapts."""
    w = weight.astype(np.float64).copy()
    columns = w.shape[1]
    h = moment + damping * np.mean(np.diag(moment)) * np.eye(columns)
    kept = np.ones_like(w, dtype=bool)
    gone = 0
    for start in range(0, columns, width):
        stop = min(start + width, columns)
        number = removed * stop // columns - gone
        gone += number
        inverse = [np.linalg.inv(h[j:, j:]) for j in range(start, stop)]
        costs = np.stack([w[:, start + i] ** 2 / inverse[i][0, 0] for i in range(stop - start)], axis=1)
        for flat in np.argsort(costs.ravel(), kind="stable")[:number]:
            kept[flat // (stop - start), start + flat % (stop - start)] = False
        for i, j in enumerate(range(start, stop)):
            for row in np.flatnonzero(~kept[:, j]):
                w[row, j:] -= w[row, j] / inverse[i][0, 0] * inverse[i][:, 0]
    w[~kept] = 0.0
    return kept, w
