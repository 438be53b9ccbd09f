"""LeNet-300-100, pruned and quantised by others, against NumPy on the whole tensors; skipped without the data."""

from pathlib import Path

import numpy as np
import pytest

from shrinkscope.analysis import compare

WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"
DENSE = WEIGHTS / "lenet300_rjoe_dense.npz"

pytestmark = pytest.mark.skipif(not DENSE.exists(), reason="the released networks are not here")


@pytest.mark.parametrize("name", ["pruned_retrained", "quantised5bit"])
def test_what_is_said_of_a_released_network_is_what_numpy_says(name):
    path = WEIGHTS / f"lenet300_rjoe_{name}.npz"
    comparison = compare(DENSE, path)
    assert len(comparison.rows) == 6
    assert not comparison.identical
    with np.load(DENSE) as before, np.load(path) as after:
        for row in comparison.rows:
            x, y = before[row.layer].astype(np.float64), after[row.layer].astype(np.float64)
            # Sums of float64 numbers in another order.
            assert row.relative_ap2 == pytest.approx(((x - y) ** 2).sum() / (x**2).sum(), rel=1e-12)
            assert (row.zeros, row.changed) == (np.count_nonzero(y == 0), np.count_nonzero(x != y))
            values = len(np.unique(y))
            assert row.distinct == (values if values <= 1024 else None)
            if name == "quantised5bit" and len(row.shape) == 2:
                assert values <= 33  # codes of five bits, and the zero of what was pruned
