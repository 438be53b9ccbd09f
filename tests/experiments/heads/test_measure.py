"""The records of heads, against those of the networks that they belong to."""

import copy
import math

import pytest
import torch

from shrinkscope.compression import RandomPruning, prune
from shrinkscope.experiments.digits import Split, load_digits_split
from shrinkscope.experiments.heads import measure as module
from shrinkscope.experiments.heads.evaluate import Judged
from shrinkscope.experiments.heads.locate import features_of
from shrinkscope.experiments.heads.measure import HeadMeasure, head_loss, side_by_side
from shrinkscope.experiments.iteration_bounds import last_layer_loss
from shrinkscope.experiments.measure import Reference, epoch_records
from shrinkscope.experiments.networks import new_network

LATENTS = ("gaussian", "gaussian_rotated_grouped", "student_t", "student_t_grouped")


@pytest.fixture(scope="module")
def data() -> Split:
    split = load_digits_split()
    return Split(split.x_train[:300].double(), split.y_train[:300], split.x_test.double(), split.y_test)


@pytest.fixture(scope="module")
def dense() -> torch.nn.Module:
    return new_network("digits", seed=1).double()


@pytest.fixture(scope="module")
def parts(dense, data) -> dict[str, Judged]:
    found = {"train": data.train, "test": data.test}
    return {name: Judged(features_of(dense, "head", inputs), targets) for name, (inputs, targets) in found.items()}


def test_every_row_is_that_of_the_whole_network(dense, data, parts):
    networks = []
    for level in (0.2, 0.7):
        networks.append(copy.deepcopy(dense))
        prune(networks[-1], RandomPruning(level=level, scope="last"), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        networks[1].head.bias += 0.1
        networks.append(copy.deepcopy(dense))
        networks[2].head.weight[3, 4] = math.nan
    found = HeadMeasure(dense, "head", parts, LATENTS).records(*side_by_side([n.head for n in networks]), epoch=3)
    reference = Reference.of(dense, data)
    for network, rows in zip(networks, found, strict=True):
        expected = epoch_records(reference, network, data, LATENTS, 3)
        assert len(rows) == len(expected) == 3 * 7 + 7 + 2 * 4
        for got, right in zip(rows, expected, strict=True):
            for field in ("epoch", "layer", "metric", "unit", "status"):
                assert getattr(got, field) == getattr(right, field)
            # The same float64 logits up to the order of 64 products; a mean difference of loss cancels some digits.
            for field in ("value", "standard_error"):
                number = getattr(right, field)
                assert getattr(got, field) == (number if number is None else pytest.approx(number, rel=1e-9, abs=1e-13))
            assert got.reason == right.reason


def test_the_constants_of_the_loss_are_those_of_the_whole_network(dense, data, parts):
    expected = last_layer_loss(dense, data.train, "head")
    found = head_loss(dense.head, "head", parts["train"])
    assert not isinstance(found, str)
    assert found.certified
    assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-10)
    assert found.curvature == pytest.approx(expected.curvature, rel=1e-10)


def test_where_memory_is_short_there_are_no_constants_but_a_reason(dense, parts, monkeypatch):
    check = module.check_memory
    monkeypatch.setattr(module, "check_memory", lambda what, needed, _, *rest: check(what, needed, 1000, *rest))
    assert "the loss of 300 samples in 64 features needs about" in str(head_loss(dense.head, "head", parts["train"]))
