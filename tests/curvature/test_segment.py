import copy

import pytest
import torch
from torch import nn

from references.curvature import dense_hessian
from shrinkscope.curvature import last_layer_hessian, segment_eigenvalue
from shrinkscope.errors import CurvatureError


@pytest.fixture
def pruned(mlp):
    network = copy.deepcopy(mlp)
    with torch.no_grad():
        weight = network[2].weight
        weight[weight.abs() < 0.2] = 0.0
    return network


def dense_norm(network, data, names):
    values = torch.linalg.eigvalsh(dense_hessian(network, nn.functional.cross_entropy, *data, names))
    return float(values.abs().max())


def test_it_is_the_largest_of_the_dense_norms(mlp, pruned, classes):
    found = segment_eigenvalue(mlp, pruned, classes, layers="2", points=4, tolerance=1e-9)
    expected = []
    for position in (0, 1 / 3, 2 / 3, 1):
        between = copy.deepcopy(mlp)
        with torch.no_grad():
            between[2].weight.lerp_(pruned[2].weight, position)
        expected.append(dense_norm(between, classes, ["2.weight", "2.bias"]))
    assert found.values == pytest.approx(expected, rel=1e-8)
    assert found.points == pytest.approx((0, 1 / 3, 2 / 3, 1))
    assert found.at == found.points[expected.index(max(expected))]
    assert found.spectral_norm.value == pytest.approx(max(expected), rel=1e-8)
    assert found.spectral_norm.status == "estimate"
    assert found.spectral_norm.standard_error > 0
    assert max(found.residuals) < 1e-8


def test_weights_by_name_do_as_well(mlp, pruned, classes):
    whole = segment_eigenvalue(mlp, pruned, classes, points=2, resamples=0)
    named = segment_eigenvalue(mlp, {"2.weight": pruned[2].weight}, classes, points=2, resamples=0)
    assert whole == named
    assert whole.spectral_norm.standard_error is None
    assert whole.dimension == 43


def test_the_certified_bound_of_a_last_layer_covers_the_segment(mlp, pruned, classes):
    bound = last_layer_hessian(mlp, classes).global_bound()
    assert max(segment_eigenvalue(mlp, pruned, classes, layers="2", points=9, resamples=0).values) <= bound.value


def test_neither_network_is_changed(mlp, pruned, classes):
    before = [parameter.detach().clone() for network in (mlp, pruned) for parameter in network.parameters()]
    segment_eigenvalue(mlp, pruned, classes, points=2, resamples=0)
    after = [parameter for network in (mlp, pruned) for parameter in network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_counter_of_batches_may_differ(conv, images):
    tuned = copy.deepcopy(conv)
    tuned.norm.num_batches_tracked += 7
    found = segment_eigenvalue(conv, tuned, images, points=2, resamples=0, layers="head")
    assert found.values[0] == found.values[1]


def test_networks_that_differ_elsewhere_are_refused(mlp, pruned, classes, conv, images):
    with pytest.raises(CurvatureError, match=r"2.weight differs between the networks and is not varied"):
        segment_eigenvalue(mlp, pruned, classes, layers="0")
    tuned = copy.deepcopy(conv)
    tuned.norm.running_mean += 1
    with pytest.raises(CurvatureError, match=r"norm.running_mean differs .*; select its layer, or copy it over"):
        segment_eigenvalue(conv, tuned, images)


def test_networks_of_another_architecture_are_refused(mlp, conv, classes):
    with pytest.raises(
        CurvatureError, match="the compressed network has no 0.weight; give networks of one architecture"
    ):
        segment_eigenvalue(mlp, conv, classes)
    with pytest.raises(CurvatureError, match="the dense network has no 2.wieght; the nearest are 2.weight"):
        segment_eigenvalue(mlp, {"2.wieght": torch.zeros(3, 5)}, classes)
    with pytest.raises(CurvatureError, match=r"2.weight has shape \(5, 3\) after compression and \(3, 5\) before"):
        segment_eigenvalue(mlp, {"2.weight": torch.zeros(5, 3)}, classes)


def test_one_point_is_no_segment(mlp, pruned, classes):
    with pytest.raises(CurvatureError, match="points = 1; expected at least 2, the dense and the compressed weights"):
        segment_eigenvalue(mlp, pruned, classes, points=1)
