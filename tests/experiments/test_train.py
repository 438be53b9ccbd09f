"""Training: against a loop written out, and what it leaves alone."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from shrinkscope.compression import MagnitudePruning, mask_drift, prune
from shrinkscope.experiments.config import Training
from shrinkscope.experiments.train import train

SETTINGS = Training(epochs=3, batch_size=8, learning_rate=0.1, momentum=0.9, weight_decay=0.01)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(20, 3, generator=generator(5), dtype=torch.float64)
    return inputs, (inputs[:, 0] > 0).long()


def network(batch_norm: bool = True) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        norm = nn.BatchNorm1d(4) if batch_norm else nn.Identity()
        return nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 2)).double()


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_agrees_with_the_update_rule_written_out(schedule):
    model, (inputs, targets) = network(batch_norm=False), data()
    parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
    velocity = [torch.zeros_like(p) for p in parameters]
    train(model, (inputs, targets), Training(**{**_fields(SETTINGS), "schedule": schedule}), generator())

    w1, b1, w2, b2 = parameters
    order = generator()
    for epoch in range(3):
        rate = 0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2 if schedule == "cosine" else 0.1
        for batch in torch.randperm(20, generator=order).split(8):
            logits = torch.relu(inputs[batch] @ w1.T + b1) @ w2.T + b2
            loss = -torch.log_softmax(logits, 1)[torch.arange(len(batch)), targets[batch]].mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, v, g in zip(parameters, velocity, gradients, strict=True):
                    v.mul_(0.9).add_(g + 0.01 * p)
                    p.sub_(rate * v)
    for got, expected in zip(model.parameters(), parameters, strict=True):
        # Nine float64 steps that round differently here and there.
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


def _fields(settings: Training) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def test_the_generator_decides_everything_and_no_global_seed_is_touched():
    outcomes = []
    for seed, global_seed in ((0, 1), (0, 2), (1, 1)):
        model = network()
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        train(model, data(), SETTINGS, generator(seed))
        assert torch.equal(torch.get_rng_state(), before)
        outcomes.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])


def test_a_held_mask_survives_momentum_and_weight_decay_and_leaves_a_plain_module():
    model = network()
    mask = prune(model, MagnitudePruning(level=0.5))
    names = list(model.state_dict())
    held: list[bool] = []
    train(
        model,
        data(),
        SETTINGS,
        generator(),
        mask=mask,
        after_epoch=lambda _: held.append(mask_drift(model, mask).drifted),
    )
    assert held == [False, False, False]
    assert not mask_drift(model, mask).drifted
    assert list(model.state_dict()) == names
    for name, kept in mask.items():
        weight = model.state_dict()[name]
        assert torch.equal(weight != 0, kept)


def test_without_a_mask_removed_weights_come_back():
    # The check above can fail: this is what it looks like when it does.
    model = network()
    mask = prune(model, MagnitudePruning(level=0.5))
    train(model, data(), SETTINGS, generator())
    assert mask_drift(model, mask).drifted


def test_only_the_named_layer_moves_statistics_included():
    model = network()
    before = state(model)
    model[0].weight.requires_grad_(False)
    train(model, data(), SETTINGS, generator(), only=["3.weight"])
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"3.weight", "3.bias"}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"0.weight"}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_biases_mode_is_the_released_codes_loop(schedule):
    """Gradients of all other layers' weights are set to zero; the optimiser has them all and decays them all."""
    settings = Training(**{**_fields(SETTINGS), "schedule": schedule})
    model, reference, (inputs, targets) = network(), network(), data()
    before = state(model)
    mask = prune(model, MagnitudePruning(level=0.5, scope="last"))
    train(model, (inputs, targets), settings, generator(), mask=mask, only=["3.weight"], biases=True)

    with torch.no_grad():
        reference[3].weight.mul_(mask["3.weight"])
    optimiser = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    order = generator()
    reference.train()
    for epoch in range(3):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2 if schedule == "cosine" else 0.1
        for batch in torch.randperm(20, generator=order).split(8):
            optimiser.zero_grad()
            cross_entropy(reference(inputs[batch]), targets[batch]).backward()
            for name, parameter in reference.named_parameters():
                if name.endswith("weight") and name != "3.weight":
                    parameter.grad.zero_()
            reference[3].weight.grad.mul_(mask["3.weight"])
            optimiser.step()
            with torch.no_grad():
                reference[3].weight.mul_(mask["3.weight"])
    for name, tensor in model.state_dict().items():
        # Nine float64 steps that round differently here and there.
        torch.testing.assert_close(tensor, reference.state_dict()[name], rtol=1e-12, atol=1e-13)
        assert not torch.equal(tensor, before[name]), name  # statistics, biases and decayed weights: all have moved
    assert not mask_drift(model, mask).drifted


def test_training_everything_moves_statistics_too():
    model = network()
    before = state(model)
    train(model, data(), SETTINGS, generator())
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == set(before)


def test_what_needs_no_gradient_or_has_none_stays():
    chain = network()
    chain[0].bias.requires_grad_(False)
    model = _WithUnused(chain, nn.Linear(2, 2))
    before = state(model)
    train(model, data(), SETTINGS, generator())
    unmoved = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert unmoved == {"chain.0.bias", "unused.weight", "unused.bias"}


class _WithUnused(nn.Module):
    def __init__(self, chain: nn.Module, unused: nn.Module) -> None:
        super().__init__()
        self.chain, self.unused = chain, unused

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.chain(inputs)


def test_epochs_are_announced_and_evaluation_in_between_changes_nothing():
    def evaluate(epoch: int) -> None:
        epochs.append(epoch)
        model.eval()
        cross_entropy(model(data()[0]), data()[1])

    epochs: list[int] = []
    model, undisturbed = network(), network()
    train(model, data(), SETTINGS, generator(), after_epoch=evaluate)
    train(undisturbed, data(), SETTINGS, generator())
    assert epochs == [1, 2, 3]
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, undisturbed.state_dict()[name])


def test_a_failure_in_between_leaves_a_plain_module_that_can_be_trained():
    def fail(_: int) -> None:
        raise RuntimeError("stop")

    model = network()
    mask = prune(model, MagnitudePruning(level=0.5))
    plain = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match="stop"):
        train(model, data(), SETTINGS, generator(), mask=mask, only=["3.weight"], after_epoch=fail)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(p.requires_grad for p in model.parameters())
