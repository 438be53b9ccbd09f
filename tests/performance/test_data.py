"""Every form of data gives the same samples in the same order; what is no data is refused in one line."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from shrinkscope.errors import DataError
from shrinkscope.performance.data import batches

INPUTS, TARGETS = torch.arange(14.0).reshape(7, 2), torch.arange(7)


@settings(deadline=None)
@given(batch_size=st.integers(1, 10))
def test_tensors_are_split_into_batches_that_join_to_the_whole(batch_size):
    found = list(batches((INPUTS, TARGETS), batch_size))
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), INPUTS)
    assert torch.equal(torch.cat([targets for _, targets in found]), TARGETS)
    assert [len(inputs) for inputs, _ in found[:-1]] == [batch_size] * (len(found) - 1)


@pytest.mark.parametrize(
    "data",
    [
        [INPUTS, TARGETS],
        [(INPUTS[:3], TARGETS[:3]), (INPUTS[3:], TARGETS[3:])],
        ((INPUTS[:3], TARGETS[:3]), (INPUTS[3:], TARGETS[3:])),
        [(INPUTS[:0], TARGETS[:0]), (INPUTS, TARGETS)],
        DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4),
    ],
    ids=["list of two tensors", "two batches", "tuple of two batches", "an empty batch first", "loader"],
)
def test_every_form_gives_the_same_samples(data):
    found = list(batches(data, 512))
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), INPUTS)
    assert torch.equal(torch.cat([targets for _, targets in found]), TARGETS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((INPUTS[:0], TARGETS[:0]), "data holds no sample"),
        ([], "data yielded no sample"),
        ([(INPUTS[:0], TARGETS[:0])], "data yielded no sample"),
        (iter([]), "consumed before"),
        ((INPUTS, TARGETS[:3]), "data has 7 inputs and 3 targets; expected as many of both"),
        ([(INPUTS, TARGETS), (INPUTS, TARGETS[:3])], "batch 2 has 7 inputs and 3 targets"),
        ((INPUTS, TARGETS.tolist()), "data is a pair of one tensor of shape .* and a list of 7 items"),
        (TensorDataset(INPUTS, TARGETS), "data is a value of type TensorDataset; .* wrap a Dataset in a DataLoader"),
        ([TensorDataset(INPUTS, TARGETS)[0]], "batch 1 holds a tensor without dimensions"),
        ([(INPUTS, 3)], "batch 1 is a pair of .* and a value of type int; .*wrap a Dataset in a DataLoader"),
        ([INPUTS, INPUTS, INPUTS], r"batch 1 is one tensor of shape \(7, 2\); expected a pair"),
        (INPUTS, r"data is one tensor of shape \(7, 2\)"),
        ({"inputs": INPUTS}, "data is a value of type dict"),
        (7, "data is a value of type int; expected a pair of tensors"),
    ],
)
def test_what_is_no_data_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        list(batches(data, 512))


def test_batch_size_below_one_is_refused():
    with pytest.raises(DataError, match="batch_size = 0, expected at least 1"):
        list(batches((INPUTS, TARGETS), 0))
