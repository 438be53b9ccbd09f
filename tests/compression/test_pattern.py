"""N:M patterns: against a slow count row by row."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shrinkscope.compression import PatternPruning, compress, prune
from shrinkscope.compression.pattern import as_pattern
from shrinkscope.errors import CompressionError


@given(
    st.sampled_from(["2:4", "4:8", "1:4", "6:8", "1:2"]),
    st.integers(1, 11),
    st.sampled_from([(), (3,), (3, 2)]),
    st.integers(0, 5),
)
def test_the_largest_of_every_group_of_inputs_stay_and_a_rest_is_whole(pattern, inputs, kernel, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few values, so that there are ties.
    weight = torch.randint(-3, 4, (3, inputs, *kernel), generator=generator).to(torch.float64)
    found = PatternPruning(pattern=pattern).mask({"w": weight})["w"]
    kept, length = as_pattern(pattern)
    rows = weight.movedim(1, -1).reshape(-1, inputs)
    flags = found.movedim(1, -1).reshape(-1, inputs)
    for row, flag in zip(rows.tolist(), flags.tolist(), strict=True):
        for start in range(0, inputs, length):
            group = list(range(start, min(start + length, inputs)))
            if len(group) < length:
                assert all(flag[at] for at in group)
                continue
            # Of equal magnitudes the first go.
            order = sorted(group, key=lambda at: (abs(row[at]), at))
            assert [at for at in group if not flag[at]] == sorted(order[: length - kept])


def test_it_is_a_method_as_the_others_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    pruned, written = copy.deepcopy(network), copy.deepcopy(network)
    method = PatternPruning(pattern="1:2", layers="0*")
    mask = prune(pruned, method)
    assert compress(written, method) == mask
    assert list(mask) == ["0.weight"]
    assert mask.sparsity == 0.5
    new = method.compress({"0.weight": network[0].weight, "2.weight": network[2].weight})
    assert torch.equal(pruned[0].weight, new["0.weight"])
    assert torch.equal(written[0].weight, new["0.weight"])
    assert new["2.weight"] is network[2].weight
    assert str(method) == "lowest magnitude 1:2, 0*"


@pytest.mark.parametrize("wrong", ["4:2", "2-4", "0:4", "4:4", "", 2, None])
def test_no_pattern_is_refused(wrong):
    with pytest.raises(CompressionError, match="expected N:M with 1 ≤ N < M, such as '2:4'"):
        PatternPruning(pattern=wrong)


def test_what_has_no_rows_is_refused():
    with pytest.raises(CompressionError, match="bias has 1 dimensions and no rows of inputs; leave it out"):
        PatternPruning(pattern="2:4").mask({"bias": torch.ones(8)})
    with pytest.raises(CompressionError, match="w has 1 NaN or infinite values"):
        PatternPruning(pattern="2:4").mask({"w": torch.tensor([[1.0, torch.nan]])})
