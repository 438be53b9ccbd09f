import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from references.curvature import dense_hessian
from shrinkscope.curvature import hessian
from shrinkscope.curvature.snapshot import plain_copy
from shrinkscope.errors import CurvatureError

CLOSE = {"rtol": 1e-10, "atol": 1e-12}  # sums in another order


def test_a_pruned_network_is_taken_at_its_effective_weights(mlp, classes):
    prune.l1_unstructured(mlp[0], "weight", amount=0.5)
    mlp(classes[0]).sum().backward()  # leaves a masked weight that is part of a graph
    curvature = hessian(mlp, classes)
    assert "0.weight_orig" in dict(mlp.named_parameters())
    assert set(curvature.shapes) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    plain = plain_copy(mlp)
    assert torch.equal(plain.get_parameter("0.weight"), mlp[0].weight)
    # In all weights, the removed ones too: masks hold weights at zero and do not make the loss flat there.
    vector = torch.linspace(-1, 1, 43, dtype=torch.float64)
    expected = dense_hessian(plain, nn.functional.cross_entropy, *classes, list(curvature.shapes)) @ vector
    torch.testing.assert_close(curvature.product(vector), expected, **CLOSE)


def test_parametrisations_are_folded(mlp, classes):
    before = mlp[0].weight.detach().clone()
    parametrizations.weight_norm(mlp[0])
    plain = plain_copy(mlp)
    assert set(dict(plain.named_parameters())) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    torch.testing.assert_close(plain.get_parameter("0.weight").detach(), before, rtol=1e-14, atol=1e-15)
    hessian(mlp, classes, layers="0.weight")
    # The copy and its original share a class; folding the copy must not undo the original.
    assert parametrize.is_parametrized(mlp[0], "weight")
    torch.testing.assert_close(mlp[0].weight.detach(), before, rtol=1e-14, atol=1e-15)


def test_a_parametrised_buffer_stays_a_buffer():
    module = nn.BatchNorm1d(2)
    parametrize.register_parametrization(module, "running_mean", nn.Identity())
    plain = plain_copy(module)
    assert "running_mean" in dict(plain.named_buffers())
    assert set(dict(plain.named_parameters())) == {"weight", "bias"}


def test_tied_weights_are_one(classes):
    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).to(torch.float64)
    network[2].weight = network[0].weight
    curvature = hessian(network, classes)
    assert list(curvature.shapes) == ["0.weight", "0.bias", "2.bias"]
    expected = dense_hessian(network, nn.functional.cross_entropy, *classes, list(curvature.shapes))
    vector = torch.linspace(-1, 1, 24, dtype=torch.float64)
    torch.testing.assert_close(curvature.product(vector), expected @ vector, **CLOSE)


def test_a_network_without_parameters_is_refused(classes):
    with pytest.raises(CurvatureError, match="Tanh has no parameters; the curvature is taken with respect to them"):
        hessian(nn.Tanh(), classes)


def test_parameters_of_several_types_are_refused(mlp, classes):
    mlp[0].to(torch.float32)
    with pytest.raises(CurvatureError, match=r"several kinds \(torch.float32 on cpu, torch.float64 on cpu\)"):
        hessian(mlp, classes)


def test_half_precision_is_refused(mlp, classes):
    with pytest.raises(CurvatureError, match=r"torch.bfloat16 on cpu; second derivatives need float32 or float64"):
        hessian(mlp.to(torch.bfloat16), classes)


def test_weights_that_are_not_finite_are_refused(conv, images):
    with torch.no_grad():
        conv.norm.running_var[0] = torch.nan
    with pytest.raises(CurvatureError, match="norm.running_var holds NaN or infinite values; repair the network"):
        hessian(conv, images)
