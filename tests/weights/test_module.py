"""Effective weights of live modules: masks, parametrisations, tied weights."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from shrinkscope.weights import compressible, open_weights


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.decoder = nn.Linear(4, 7, bias=False)
        self.decoder.weight = self.embedding.weight


def test_names_shapes_and_roles_of_a_plain_network():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    weights = open_weights(network)
    assert {name: (view.shape, view.role) for name, view in weights.items()} == {
        "0.weight": ((2, 1, 3, 3), "convolution"),
        "0.bias": ((2,), "bias"),
        "1.weight": ((2,), "norm"),
        "1.bias": ((2,), "norm"),
        "1.running_mean": ((2,), "statistic"),
        "1.running_var": ((2,), "statistic"),
        "1.num_batches_tracked": ((), "statistic"),
        "3.weight": ((3, 8), "linear"),
        "3.bias": ((3,), "bias"),
    }


def test_a_pruned_module_shows_its_plain_name_and_masked_values():
    layer = nn.Linear(6, 5)
    plain = copy.deepcopy(layer.state_dict())
    prune.l1_unstructured(layer, "weight", amount=0.4)
    weights = open_weights(layer)
    assert set(weights) == {"weight", "bias"}
    assert torch.equal(weights["weight"].read(), plain["weight"] * layer.weight_mask)


def test_a_pruned_module_is_read_as_the_next_forward_pass_will_see_it():
    layer = nn.Linear(6, 5)
    prune.l1_unstructured(layer, "weight", amount=0.4)
    with torch.no_grad():
        layer.weight_orig.mul_(3.0)  # as an optimiser would; layer.weight is stale until the next forward pass
    read = open_weights(layer)["weight"].read()
    layer(torch.zeros(1, 6))
    assert torch.equal(read, layer.weight)


def test_a_masked_nan_is_a_zero_as_pruned():
    layer = nn.Linear(2, 2)
    prune.l1_unstructured(layer, "weight", amount=1)
    with torch.no_grad():
        layer.weight_orig[layer.weight_mask == 0] = float("nan")
    assert torch.isfinite(open_weights(layer)["weight"].read()).all()


def test_a_parametrised_module_shows_its_effective_weight():
    layer = parametrizations.weight_norm(nn.Linear(6, 5))
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(2.0)
    weights = open_weights(layer)
    assert set(weights) == {"weight", "bias"}
    assert torch.equal(weights["weight"].read(), layer.weight)
    assert weights["weight"].role == "linear"


def test_tied_weights_are_listed_once():
    weights = open_weights(Tied())
    assert list(weights) == ["embedding.weight", "norm.weight", "norm.bias"]
    assert weights.tied == {"decoder.weight": "embedding.weight"}


def test_a_module_used_twice_is_listed_once():
    shared = nn.Linear(3, 3)
    weights = open_weights(nn.Sequential(shared, nn.ReLU(), shared))
    assert list(weights) == ["0.weight", "0.bias"]
    assert weights.tied == {"2.weight": "0.weight", "2.bias": "0.bias"}


def test_compressible_weights_are_convolutions_and_linear_layers():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Embedding(4, 2), nn.Linear(2, 3))
    assert list(compressible(network)) == ["0.weight", "3.weight"]
    assert list(compressible(network, "3.*")) == ["3.weight"]


def test_attention_projections_are_compressible():
    assert set(compressible(nn.MultiheadAttention(4, 2))) == {"in_proj_weight", "out_proj.weight"}


def test_reading_does_not_change_the_network():
    network = nn.Linear(3, 2).to(torch.float64)
    before = copy.deepcopy(network.state_dict())
    view = open_weights(network)["weight"]
    for chunk in view.chunks(2):
        assert not chunk.requires_grad
    assert torch.equal(network.weight, before["weight"])
    assert network.weight.requires_grad
