import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from shrinkscope.curvature import hessian, largest_eigenvalue
from shrinkscope.curvature.samples import samples_of
from shrinkscope.errors import CurvatureError, DataError

CPU = torch.device("cpu")


def made(data, batch_size=4):
    return samples_of(data, batch_size, CPU, torch.float64)


def pair(number):
    return torch.arange(3.0 * number).reshape(number, 3) + 1, torch.arange(number)


class Noisy:
    """Batches that are drawn anew on every pass, like augmented images."""

    def __init__(self, flip=False):
        self.flip, self.passes = flip, 0

    def __iter__(self):
        self.passes += 1
        inputs, targets = pair(6)
        changed = inputs.flip(1) if self.flip and self.passes > 1 else inputs + (not self.flip) * self.passes
        yield changed, targets % 2


def test_floating_tensors_follow_the_network_and_classes_stay():
    inputs, targets = next(iter(made(pair(5))))
    assert (inputs.dtype, targets.dtype) == (torch.float64, torch.int64)
    inputs, _ = next(iter(made((torch.arange(5)[:, None], torch.arange(5)))))
    assert inputs.dtype == torch.int64


@given(number=st.integers(2, 30), parts=st.integers(2, 8), batch_size=st.integers(1, 9), seed=st.integers(0, 2**20))
def test_parts_of_tensors_are_disjoint_equal_and_complete(number, parts, batch_size, seed):
    samples = made(pair(number), batch_size)
    generator = torch.Generator().manual_seed(seed)
    if number < parts:
        with pytest.raises(CurvatureError, match=f"{number} samples cannot make {parts} resamples; give more data"):
            samples.parts(parts, generator)
        return
    rows = [torch.cat([targets for _, targets in part]).tolist() for part in samples.parts(parts, generator)]
    assert sorted(itertools.chain(*rows)) == list(range(number))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    for part in samples.parts(parts, generator):
        for inputs, targets in part:
            assert torch.equal(inputs, pair(number)[0].to(torch.float64)[targets])
            assert len(inputs) <= batch_size


def test_parts_of_parts_stay_within():
    part = made(pair(20)).parts(2, torch.Generator())[0]
    own = set(torch.cat([targets for _, targets in part]).tolist())
    for half in part.parts(2, torch.Generator()):
        assert set(torch.cat([targets for _, targets in half]).tolist()) < own


def test_parts_of_a_stream_are_its_batches_in_turn():
    samples = made(DataLoader(TensorDataset(*pair(10)), batch_size=2))
    assert sum(len(targets) for _, targets in samples) == 10
    parts = samples.parts(2, torch.Generator())
    assert [torch.cat([targets for _, targets in part]).tolist() for part in parts] == [
        [0, 1, 4, 5, 8, 9],
        [2, 3, 6, 7],
    ]
    with pytest.raises(CurvatureError, match="a part of a stream cannot be divided again"):
        parts[0].parts(2, torch.Generator())


def test_a_stream_gives_the_same_eigenvalue_as_its_tensors(mlp, classes):
    loader = DataLoader(TensorDataset(*classes), batch_size=5)
    of_tensors, of_stream = (
        largest_eigenvalue(hessian(mlp, classes), resamples=0),
        largest_eigenvalue(hessian(mlp, loader), resamples=3),
    )
    assert of_stream.eigenvalue.value == pytest.approx(of_tensors.eigenvalue.value, rel=1e-9)  # order of summation
    assert len(of_stream.resampled) == 3


def test_a_shuffled_stream_serves_as_a_whole_but_not_in_parts(mlp, classes):
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(TensorDataset(*classes), batch_size=5, shuffle=True, generator=generator)
    curvature = hessian(mlp, loader)
    exact = largest_eigenvalue(hessian(mlp, classes), resamples=0).eigenvalue.value
    assert largest_eigenvalue(curvature, resamples=0).eigenvalue.value == pytest.approx(exact, rel=1e-9)
    with pytest.raises(CurvatureError, match=r"batch 1 differs between two passes.*shuffle=False"):
        largest_eigenvalue(curvature, resamples=3)


@pytest.mark.parametrize("flip", [False, True])
def test_data_that_change_between_passes_are_noticed(flip):
    network = nn.Linear(3, 2).to(torch.float64)
    curvature = hessian(network, Noisy(flip))
    with pytest.raises(
        CurvatureError, match="the data differ between two passes.*switch augmentation and drop_last off"
    ):
        curvature.product(torch.ones(8, dtype=torch.float64))


def test_an_iterator_is_refused(mlp, classes):
    with pytest.raises(
        CurvatureError, match="data is a zip that is exhausted after one pass, and curvature takes many"
    ):
        hessian(mlp, zip(classes[0].split(5), classes[1].split(5), strict=True))


def test_batches_too_few_for_parts_are_refused(mlp, classes):
    curvature = hessian(mlp, [classes])
    with pytest.raises(
        CurvatureError, match="1 batches cannot make 8 resamples; give more data, smaller batches or fewer"
    ):
        largest_eigenvalue(curvature)


def test_tensors_that_are_no_pair_are_refused():
    with pytest.raises(DataError, match="has 3 inputs and 2 targets"):
        made((torch.zeros(3, 1), torch.zeros(2)))
    with pytest.raises(DataError, match="batch_size = 0"):
        made(pair(3), batch_size=0)
