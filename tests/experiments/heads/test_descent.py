"""Heads trained together, against each of them trained alone by ``experiments.train``."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shrinkscope.compression import MagnitudePruning, Mask, RandomPruning, mask_drift, prune
from shrinkscope.experiments.config import Training
from shrinkscope.experiments.demo import DEMO
from shrinkscope.experiments.digits import load_digits_split
from shrinkscope.experiments.heads.bank import Bank, Head
from shrinkscope.experiments.heads.descent import Group, train_heads
from shrinkscope.experiments.heads.extract import extract
from shrinkscope.experiments.heads.locate import FeaturesError
from shrinkscope.experiments.networks import new_network, starting_network
from shrinkscope.experiments.train import train

DATA = Path(__file__).parents[4] / "shared" / "data"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def alone(head: Head, features: Tensor, targets: Tensor, training: Training, order: int) -> nn.Linear:
    """The slow way: a layer of its own, its mask held, by the loop that trains whole networks."""
    classes, width = head.weight.shape
    layer = nn.Linear(width, classes, bias=head.bias is not None, dtype=head.weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        if head.bias is not None:
            layer.bias.copy_(head.bias)
    model = nn.Sequential(layer)
    mask = None if head.kept is None else Mask({"0.weight": head.kept})
    train(model, (features, targets), training, generator(order), mask=mask)
    return layer


@settings(max_examples=15)
@given(
    groups=st.integers(1, 3),
    heads=st.integers(1, 4),
    classes=st.integers(2, 5),
    width=st.integers(1, 6),
    samples=st.integers(1, 23),
    bias=st.booleans(),
    held=st.booleans(),
    training=st.builds(
        Training,
        epochs=st.integers(1, 3),
        batch_size=st.integers(1, 10),
        learning_rate=st.sampled_from([0.01, 0.2]),
        momentum=st.sampled_from([0.0, 0.9]),
        weight_decay=st.sampled_from([0.0, 0.01]),
        schedule=st.sampled_from(["cosine", "constant"]),
    ),
)
def test_heads_of_any_shape_become_what_each_becomes_alone(
    groups, heads, classes, width, samples, bias, held, training
):
    features = [normal(samples, width, seed=trial) for trial in range(groups)]
    targets = torch.arange(samples) % classes
    grid = [
        [
            Head(
                weight=normal(classes, width, seed=10 * trial + place),
                bias=normal(classes, seed=100 + place) if bias else None,
                kept=normal(classes, width, seed=200 + place) > 0 if held else None,
            )
            for place in range(heads)
        ]
        for trial in range(groups)
    ]
    bank = train_heads(
        [Group(heads=grid[t], views=[features[t]], targets=targets, order=generator(t)) for t in range(groups)],
        training,
    )
    for trial in range(groups):
        for place, head in enumerate(grid[trial]):
            layer = alone(head, features[trial], targets, training, trial)
            # At most 69 float64 steps of sums over at most 10 samples, in another order.
            torch.testing.assert_close(bank.weight(trial)[place], layer.weight.detach(), rtol=1e-10, atol=1e-11)
            biases = bank.bias(trial)
            assert (biases is None) == (layer.bias is None)
            if biases is not None:
                torch.testing.assert_close(biases[place], layer.bias.detach(), rtol=1e-10, atol=1e-11)


def heads_against_networks(
    model: nn.Module, name: str, samples: tuple[Tensor, Tensor], folder: Path, training: Training, levels: list[float]
) -> float:
    """Largest difference of a weight, relative to the largest weight, between heads together and networks alone."""
    features = extract(model, samples, folder)
    pruned, masks = [], []
    for number, level in enumerate(levels):
        network = copy.deepcopy(model)
        method = MagnitudePruning(level=level, scope="last") if number % 2 else RandomPruning(level=level, scope="last")
        masks.append(prune(network, method, generator=generator(7)))
        pruned.append(network)
    layers = [network.get_submodule(name) for network in pruned]
    heads = [
        Head(weight=layer.weight, bias=layer.bias, kept=mask[f"{name}.weight"])
        for layer, mask in zip(layers, masks, strict=True)
    ]
    orders = (3, 4)
    bank = train_heads(
        [Group(heads=heads, views=[features], targets=samples[1], order=generator(order)) for order in orders],
        training,
    )
    differences = []
    for trial, order in enumerate(orders):
        for place, (network, mask) in enumerate(zip(pruned, masks, strict=True)):
            own = copy.deepcopy(network)
            before = {key: tensor.clone() for key, tensor in own.state_dict().items()}
            train(own, samples, training, generator(order), mask=mask, only=tuple(mask))
            assert not mask_drift(own, mask).drifted
            frozen = {key for key in before if not key.startswith(f"{name}.")}
            assert all(torch.equal(own.state_dict()[key], before[key]) for key in frozen)
            layer = own.get_submodule(name).requires_grad_(False)
            found = bank.weight(trial)[place]
            assert torch.equal(found == 0, layer.weight == 0)
            differences.append(float((found - layer.weight).abs().max() / layer.weight.abs().max()))
            biases = bank.bias(trial)
            assert biases is not None
            differences.append(float((biases[place] - layer.bias).abs().max() / layer.weight.abs().max()))
    return max(differences)


def test_the_demos_last_layers_become_what_they_become_within_their_networks(tmp_path):
    split = load_digits_split()
    model = new_network("digits", seed=1)
    # A network with batch norm statistics of its own, as the demo's dense networks have.
    train(model, split.train, Training(epochs=1, learning_rate=0.1), generator(0))
    found = heads_against_networks(model, "head", split.train, tmp_path, DEMO.finetuning, [0.3, 0.8])
    # 240 float32 steps, each of which rounds by 2⁻²⁴ of a weight: 240 · 6e-8 if all errors added up.
    assert found < 1.5e-5


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the CIFAR10 images in ../shared/data")
def test_the_last_layers_of_a_resnet20_become_what_they_become_within_it(tmp_path):
    with np.load(DATA / "cifar10_lossless_4566.npz") as archive:
        pixels = torch.from_numpy(archive["x_test"][:256].astype(np.float32))
        targets = torch.from_numpy(archive["y_test_all"][archive["test_index"]][:256].astype(np.int64))
    images = pixels if pixels.shape[1] == 3 else pixels.permute(0, 3, 1, 2)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = ((images / 255 - mean[:, None, None]) / deviation[:, None, None]).contiguous()
    model = starting_network("resnet20", 0, weights=str(DATA / "weights" / "cifar10_resnet20_akamaster.npz"))
    training = Training(epochs=2, batch_size=64, learning_rate=0.01, weight_decay=1e-4)
    found = heads_against_networks(model, "linear", (inputs, targets), tmp_path, training, [0.5])
    # Eight steps; features of twenty layers of float32 sums differ by some 1e-6 between batches of other sizes.
    assert found < 1e-5


def test_views_take_turns():
    views = [normal(12, 3, seed=seed) for seed in (0, 1)]
    targets = torch.arange(12) % 2
    head = Head(weight=normal(2, 3, seed=5))
    training = Training(epochs=3, batch_size=5, schedule="constant")
    bank = train_heads([Group(heads=[head], views=views, targets=targets, order=generator(0))], training)
    weight, velocity, order = head.weight.clone(), torch.zeros(2, 3, dtype=torch.float64), generator(0)
    for view in (views[0], views[1], views[0]):
        for rows in torch.randperm(12, generator=order).split(5):
            errors = torch.softmax(view[rows] @ weight.T, 1) - nn.functional.one_hot(targets[rows], 2)
            velocity = 0.9 * velocity + errors.T @ view[rows] / len(rows)
            weight = weight - 0.01 * velocity
    # Nine float64 steps.
    torch.testing.assert_close(bank.weight(0)[0], weight, rtol=1e-12, atol=1e-13)


def test_a_later_call_goes_on_bit_by_bit():
    views, targets = [normal(30, 3, seed=0)], torch.arange(30) % 2
    training = Training(epochs=5, batch_size=7, weight_decay=0.01)
    kept: dict[int, list[Tensor]] = {}

    def keep(epoch: int, bank: Bank) -> None:
        kept[epoch] = [tensor.clone() for tensor in (*bank.parameters, *bank.velocities)]

    def group() -> Group:
        heads = [Head(weight=normal(2, 3, seed=1), bias=normal(2, seed=2), kept=normal(2, 3, seed=3) > 0)]
        return Group(heads=heads, views=views, targets=targets, order=generator(4))

    train_heads([group()], training, after_epoch=keep)
    assert sorted(kept) == [1, 2, 3, 4, 5]
    resumed = train_heads([group()], training, done=2, state=kept[2])
    assert all(map(torch.equal, (*resumed.parameters, *resumed.velocities), kept[5]))


def test_features_in_half_precision_are_computed_with_in_the_type_of_the_heads():
    features, targets = normal(20, 3, seed=0), torch.arange(20) % 2
    training = Training(epochs=2, batch_size=6)
    heads = [Head(weight=normal(2, 3, seed=1))]
    halves = features.half()
    found = [
        train_heads([Group(heads=heads, views=[view], targets=targets, order=generator(0))], training).weight(0)
        for view in (halves, halves.double())
    ]
    assert torch.equal(*found)


def test_what_does_not_fit_together_is_refused():
    head, targets = Head(weight=normal(2, 3, seed=1)), torch.arange(4) % 2

    def group(samples: int = 4, width: int = 3, heads: int = 1) -> Group:
        views = [normal(samples, width, seed=0)]
        return Group(heads=[head] * heads, views=views, targets=targets[:samples], order=generator(0))

    training = Training(epochs=1)
    with pytest.raises(FeaturesError, match=r"features of shape \(4, 2\) for 4 targets and heads of 3 features"):
        train_heads([group(width=2)], training)
    with pytest.raises(FeaturesError, match="groups of 4 and 3 samples cannot be trained together"):
        train_heads([group(), group(samples=3)], training)
    with pytest.raises(FeaturesError, match="2 groups of 1 kinds of heads; expected as many of one kind in each"):
        train_heads([group(), group(heads=2)], training)
