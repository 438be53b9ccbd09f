"""Holding a mask through real training, and releasing it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from shrinkscope.compression import MagnitudePruning, Mask, hold, mask_drift, prune, release
from shrinkscope.errors import CompressionError
from shrinkscope.weights import compressible, open_weights

OPTIMISERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=1e-2),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=1e-2),
}
METHOD = MagnitudePruning(level=0.5)


def zeros(model: nn.Module) -> dict[str, int]:
    return {name: int((weight == 0).sum()) for name, weight in compressible(model).items()}


@pytest.fixture(params=OPTIMISERS)
def optimiser_kind(request: pytest.FixtureRequest):
    return OPTIMISERS[request.param]


@pytest.mark.parametrize("when", ["before", "after"])
def test_held_through_training_the_zeros_are_the_masks(network, train, optimiser_kind, when: str) -> None:
    # An optimiser that has trained the dense network pushes with its momentum; it goes on with the same parameters.
    optimiser = optimiser_kind(network.parameters())
    train(network, optimiser, epochs=2)
    mask = prune(network, METHOD)
    hold(network, mask)
    if when == "after":
        optimiser = optimiser_kind(network.parameters())
    start = {name: weight.clone() for name, weight in compressible(network).items()}
    for _ in range(4):
        train(network, optimiser, epochs=1)
        assert zeros(network) == {name: mask.removed(name) for name in mask}
        assert not mask_drift(network, mask).drifted
    release(network)
    assert zeros(network) == {name: mask.removed(name) for name in mask}
    for name, weight in compressible(network).items():
        assert (weight[~mask[name]] == 0).all()
        assert not torch.signbit(weight[~mask[name]]).any()
        assert (weight[mask[name]] != start[name][mask[name]]).all(), "the kept weights have been trained"


def test_applied_once_training_drifts_and_says_so(network, train, optimiser_kind) -> None:
    mask = prune(network, METHOD)
    assert not mask_drift(network, mask).drifted
    train(network, optimiser_kind(network.parameters()), epochs=1)
    drift = mask_drift(network, mask)
    assert drift.drifted
    # Every removed weight has got a gradient and moved.
    assert drift.nonzero == mask.removed() - sum(zeros(network).values())
    assert drift.message().startswith(f"mask drift: {drift.nonzero} of {mask.removed()} removed weights are not zero")


def test_holding_changes_the_same_training_only_in_the_removed_weights(network, train) -> None:
    # Reference: the same SGD without momentum, the mask written again by hand after every step.
    other = copy.deepcopy(network)
    mask = prune(network, METHOD)
    hold(network, mask)
    prune(other, mask)
    optimiser = torch.optim.SGD(other.parameters(), lr=0.05)
    original_step = optimiser.step

    def step() -> None:
        original_step()
        prune(other, mask)

    optimiser.step = step  # type: ignore[method-assign]
    train(other, optimiser, epochs=2)
    train(network, torch.optim.SGD(network.parameters(), lr=0.05), epochs=2)
    release(network)
    for name, value in other.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_a_held_model_computes_what_the_pruned_one_does(network: nn.Module) -> None:
    inputs = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = prune(network, METHOD)
    expected = network(inputs)
    network.zero_grad()
    hold(network, mask)
    assert torch.equal(network(inputs), expected)
    network(inputs).sum().backward()
    for name in mask:
        owner = network.get_submodule(name.rpartition(".")[0])
        gradient = owner.parametrizations["weight"].original.grad  # type: ignore[index, union-attr]
        assert (gradient[~mask[name]] == 0).all()


def test_released_is_as_if_never_held(network: nn.Module) -> None:
    dense = copy.deepcopy(network)
    parameters = dict(network.named_parameters())
    kinds = [type(module) for module in network.modules()]
    pointers = {name: p.data_ptr() for name, p in parameters.items()}
    hold(network, METHOD.mask(compressible(network)))
    assert parametrize.is_parametrized(network.get_submodule("conv"))
    release(network)
    assert [type(module) for module in network.modules()] == kinds
    assert list(network.state_dict()) == list(dense.state_dict())
    assert [name for name, _ in network.named_parameters()] == list(parameters)
    assert all(p is parameters[name] for name, p in network.named_parameters())
    assert {name: p.data_ptr() for name, p in network.named_parameters()} == pointers
    prune(dense, METHOD)
    assert all(torch.equal(value, dense.state_dict()[name]) for name, value in network.state_dict().items())
    hold(network, METHOD.mask(compressible(network)))
    release(network)


def test_two_weights_of_one_module_come_back_in_their_places() -> None:
    attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=3)
    names = list(attention.state_dict())
    weights = compressible(attention)
    assert len(weights) > 2
    hold(attention, MagnitudePruning(level=0.25).mask(weights))
    release(attention)
    assert list(attention.state_dict()) == names


@pytest.mark.parametrize("first", ["copy", "original"])
def test_deep_copies_are_held_and_released_on_their_own(network, train, first: str) -> None:
    mask = prune(network, METHOD)
    hold(network, mask)
    other = copy.deepcopy(network)
    train(other, OPTIMISERS["sgd"](other.parameters()), epochs=1)
    assert zeros(other) == {name: mask.removed(name) for name in mask}
    one, two = (other, network) if first == "copy" else (network, other)
    inputs = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    two.eval()
    expected = two(inputs)
    release(one)
    assert type(one.get_submodule("head")) is nn.Linear
    assert torch.equal(two(inputs), expected)
    assert parametrize.is_parametrized(two.get_submodule("head"), "weight")
    release(two)
    assert torch.equal(two(inputs), expected)
    assert "head.weight" in two.state_dict()


def test_tied_weights_are_held_in_both_places(tied: nn.Module) -> None:
    weight = tied.get_parameter("encode.weight")
    mask = MagnitudePruning(level=0.4).mask(compressible(tied))
    hold(tied, mask)
    optimiser = torch.optim.SGD(tied.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    inputs = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(5):
        optimiser.zero_grad()
        (tied(inputs) - inputs).square().mean().backward()
        optimiser.step()
        for name in ("encode", "decode"):
            acting = tied.get_submodule(name).weight
            assert torch.equal(acting != 0, mask["encode.weight"])  # type: ignore[arg-type]
    release(tied)
    assert tied.get_parameter("encode.weight") is tied.get_parameter("decode.weight") is weight
    assert int((weight == 0).sum()) == 10


def test_a_weight_tied_to_an_embedding_is_held_there_too() -> None:
    model = nn.ModuleDict({"out": nn.Linear(3, 7, bias=False), "embed": nn.Embedding(7, 3)})
    model["embed"].weight = model["out"].weight
    mask = MagnitudePruning(level=0.5).mask(compressible(model))
    hold(model, mask)
    assert torch.equal(model["embed"](torch.arange(7)) != 0, mask["out.weight"])
    release(model)
    assert model["embed"].weight is model["out"].weight


def test_the_state_of_a_held_model_is_read_as_its_plain_weights(network: nn.Module) -> None:
    mask = prune(network, METHOD)
    hold(network, mask)
    owner = network.get_submodule("head")
    # The original under the mask may be anything, say by an old momentum.
    owner.parametrizations["weight"].original.data += 1.0  # type: ignore[index, union-attr]
    assert any(name.endswith("parametrizations.weight.0.mask") for name in network.state_dict())
    for source in (network, network.state_dict()):
        weight = open_weights(source)["head.weight"].read()
        assert int((weight == 0).sum()) == mask.removed("head.weight")
    fresh = copy.deepcopy(network)
    fresh.load_state_dict(network.state_dict())
    release(fresh)
    assert int((fresh.get_parameter("head.weight") == 0).sum()) == mask.removed("head.weight")


def test_an_assignment_to_a_held_weight_is_masked(network: nn.Module) -> None:
    mask = prune(network, METHOD)
    hold(network, mask)
    head = network.get_submodule("head")
    head.weight = torch.ones(4, 12, dtype=torch.float64)  # type: ignore[assignment]
    assert torch.equal(head.weight == 1, mask["head.weight"])  # type: ignore[arg-type]


def test_holding_follows_the_type_of_the_model(network: nn.Module) -> None:
    mask = prune(network, METHOD)
    hold(network, mask)
    network.to(torch.bfloat16)
    release(network)
    weight = network.get_parameter("head.weight")
    assert weight.dtype == torch.bfloat16
    assert int((weight == 0).sum()) == mask.removed("head.weight")


def test_frozen_weights_can_be_held(network: nn.Module) -> None:
    network.requires_grad_(False)
    hold(network, METHOD.mask(compressible(network)))
    release(network)
    assert not any(p.requires_grad for p in network.parameters())


def test_nothing_to_release(network: nn.Module) -> None:
    with pytest.raises(
        CompressionError, match=r"no weight of Sequential is held by a mask; hold\(model, mask\) comes f"
    ):
        release(network)


def test_a_held_weight_is_not_held_again(network: nn.Module) -> None:
    mask = Mask({"head.weight": torch.ones(4, 12)})
    hold(network, mask)
    with pytest.raises(CompressionError, match=r"head\.weight is held by a mask already; release\(model\) first"):
        hold(network, mask)


class Double(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def test_a_parametrisation_on_top_of_the_mask(network: nn.Module) -> None:
    hold(network, Mask({"conv.weight": torch.ones(6, 1, 3, 3), "head.weight": torch.ones(4, 12)}))
    parametrize.register_parametrization(network.get_submodule("head"), "weight", Double())
    with pytest.raises(CompressionError, match=r"head\.weight is also parametrised by Double; remove these before rel"):
        release(network)
    assert parametrize.is_parametrized(network.get_submodule("conv"))
