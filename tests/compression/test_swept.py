"""The sweep over columns against optimal brain surgeon, one column at a time."""

import numpy as np
import pytest
import torch

from references.sparsegpt import sparsegpt
from shrinkscope.compression import MagnitudePruning
from shrinkscope.compression.swept import sweep
from shrinkscope.errors import CompressionError


def problem(rows: int, columns: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(4 * columns, columns)) @ rng.normal(size=(columns, columns))
    return rng.normal(size=(rows, columns)), inputs.T @ inputs / len(inputs)


@pytest.mark.parametrize(
    ("rows", "columns", "removed", "width", "damping"),
    [(5, 12, 30, 4, 0.01), (3, 7, 10, 3, 0.0), (4, 6, 24, 128, 0.01), (4, 6, 1, 2, 0.1), (1, 1, 1, 1, 0.0)],
)
def test_equals_removing_one_column_after_the_other(rows, columns, removed, width, damping):
    weight, moment = problem(rows, columns)
    kept, expected = sparsegpt(weight, moment, removed, damping, width)
    found = sweep(torch.tensor(weight), torch.tensor(moment), removed, damping=damping, width=width)
    assert np.array_equal(found.kept.numpy(), kept)
    # Inverses of matrices of condition up to 1e6 in float64.
    np.testing.assert_allclose(found.weight.numpy(), expected, rtol=1e-8, atol=1e-9)
    assert int((found.weight == 0).sum()) == removed


def test_loses_less_than_the_lowest_magnitudes():
    weight, moment = map(torch.tensor, problem(64, 32, seed=3))
    found = sweep(weight, moment, 1024, damping=0.0, width=4)
    magnitudes = MagnitudePruning(level=0.5).compress({"fc.weight": weight})["fc.weight"]

    def lost(values):
        return float(((weight - values) @ moment * (weight - values)).sum())

    assert lost(found.weight) < 0.7 * lost(magnitudes)


def test_removing_nothing_changes_nothing_and_types_stay():
    weight, moment = problem(4, 6)
    given = torch.tensor(weight, dtype=torch.bfloat16)
    found = sweep(given, torch.tensor(moment), 0)
    assert torch.equal(found.weight, given)
    assert found.weight.dtype == torch.bfloat16
    assert found.kept.all()


def test_what_cannot_be_done_is_an_error():
    weight, moment = map(torch.tensor, problem(4, 6))
    with pytest.raises(CompressionError, match="removed = 25 of 24"):
        sweep(weight, moment, 25)
    with pytest.raises(CompressionError, match="damping = inf"):
        sweep(weight, moment, 3, damping=float("inf"))
    with pytest.raises(CompressionError, match="singular: its inputs do not determine the weights"):
        sweep(weight, torch.zeros(6, 6, dtype=torch.float64), 3, damping=0)


def test_inputs_that_are_all_zero_leave_the_largest_weights_as_they_are():
    weight = torch.tensor(problem(4, 6)[0])
    found = sweep(weight, torch.zeros(6, 6, dtype=torch.float64), 9)
    assert torch.equal(found.kept.flatten(), weight.flatten().abs() > weight.flatten().abs().sort().values[8])
    torch.testing.assert_close(found.weight, torch.where(found.kept, weight, 0.0))
