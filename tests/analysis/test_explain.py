"""explain(): weights and performance joined, on real networks when their data are beside the project."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from shrinkscope import explain
from shrinkscope.errors import DataError, OutputError, WeightsError
from shrinkscope.experiments.zoo import load_data, load_network
from shrinkscope.weights import runnable

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_mnist = pytest.mark.skipif(not SHARED.exists(), reason="needs LeNet-300 and MNIST's test set in ../shared/data")


@pytest.fixture
def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    dense, compressed = nn.Linear(6, 3), nn.Linear(6, 3)
    with torch.no_grad():
        compressed.weight.copy_(torch.where(dense.weight.abs() > 0.2, dense.weight, 0.0))
        compressed.bias.copy_(dense.bias)
    return dense, compressed


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(200, 6, generator=generator), torch.randint(3, (200,), generator=generator)


def test_the_difference_is_that_of_the_two_networks(networks, samples):
    dense, compressed = networks
    inputs, targets = samples
    result = explain(dense, compressed, data={"train": samples, "test": (inputs[:50], targets[:50])})
    assert set(result.performance) == {"train", "test"}
    with torch.no_grad():
        losses = [
            float(nn.functional.cross_entropy(n(inputs[:50]).double(), targets[:50])) for n in (dense, compressed)
        ]
    loss = result.performance["test"]["loss"]
    assert (loss.dense, loss.compressed) == (pytest.approx(losses[0], rel=1e-6), pytest.approx(losses[1], rel=1e-6))
    assert loss.difference == pytest.approx(losses[1] - losses[0], rel=1e-5)
    assert loss.lower is not None
    assert loss.upper is not None
    assert loss.lower < loss.difference < loss.upper


def test_without_data_only_the_weights_are_compared(networks):
    result = explain(*networks)
    assert result.performance == {}
    assert result.summary() == result.comparison.summary()


def test_weights_run_in_a_copy_of_the_network(networks, samples):
    dense, compressed = networks
    architecture = nn.Linear(6, 3)
    before = architecture.weight.clone()
    result = explain(dense.state_dict(), compressed.state_dict(), network=architecture, data=samples)
    assert result.performance["data"] == explain(dense, compressed, data=samples).performance["data"]
    assert torch.equal(architecture.weight, before)


def test_tied_weights_are_loaded_under_every_name():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.decoder = nn.Linear(3, 5, bias=False)
            self.decoder.weight = self.embedding.weight

    source = Tied()
    assert torch.equal(runnable(source.state_dict(), Tied()).decoder.weight, source.decoder.weight)  # type: ignore[arg-type]


def test_the_users_own_metric(networks, samples):
    from shrinkscope.performance.metrics import correct

    result = explain(*networks, data=samples, metrics={"error": lambda outputs, y: 1.0 - correct(outputs, y)})
    accuracy = explain(*networks, data=samples).performance["data"]["accuracy"]
    assert result.performance["data"]["error"].dense == pytest.approx(1.0 - accuracy.dense)


def test_weights_without_a_network_cannot_be_run(networks, samples):
    dense, compressed = networks
    with pytest.raises(WeightsError, match="holds weights without a network to run them in"):
        explain(dense.state_dict(), compressed, data=samples)
    with pytest.raises(WeightsError, match="does not fit the network Linear: weight has shape"):
        explain(dense.state_dict(), compressed, network=nn.Linear(7, 3), data=samples)


def test_empty_data_are_refused(networks):
    with pytest.raises(DataError, match="no sample"):
        explain(*networks, data=(torch.empty(0, 6), torch.empty(0, dtype=torch.int64)))


def test_summary_and_json(networks, samples, tmp_path):
    result = explain(*networks, data=samples)
    assert result.summary().startswith("loss on data: ")
    result.save(tmp_path / "result.json")
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["performance"]["data"]["accuracy"]["samples"] == 200
    with pytest.raises(OutputError, match="an explanation is saved as .json"):
        result.save(tmp_path / "result.csv")


@needs_mnist
def test_the_published_accuracies_of_lenet_are_reproduced():
    weights = SHARED / "weights"
    names = ("dense", "pruned_retrained", "quantised5bit")
    files = [weights / f"lenet300_rjoe_{name}.npz" for name in names]
    mnist = load_data(str(SHARED / "mnist_t10k"))
    network = load_network("lenet300")
    pruned = explain(files[0], files[1], network=network, data=mnist)
    quantised = explain(files[1], files[2], network=network, data=mnist)
    accuracies = [
        pruned.performance["data"]["accuracy"].dense,
        pruned.performance["data"]["accuracy"].compressed,
        quantised.performance["data"]["accuracy"].compressed,
    ]
    # Read off data/README.md: 98.16 %, 98.37 %, 98.39 % of 10,000 images, stated to two decimals.
    assert [round(100 * accuracy, 2) for accuracy in accuracies] == [98.16, 98.37, 98.39]
    weights_left = 1 - pruned.comparison.total.sparsity if pruned.comparison.total.sparsity else 0
    assert weights_left == pytest.approx(0.057, abs=0.003)  # biases, which are dense, are counted here


@needs_mnist
@pytest.mark.parametrize("depth", [20, 32, 56])
def test_the_residual_networks_load_and_reach_their_accuracy(depth):
    import numpy as np

    with np.load(SHARED / "cifar10_lossless_4566.npz") as archive:
        images, labels = archive["x_test"], archive["y_test_all"]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    inputs = (torch.from_numpy(images).float() / 255 - mean) / deviation
    network = runnable(SHARED / "weights" / f"cifar10_resnet{depth}_akamaster.npz", load_network(f"resnet{depth}"))
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(part).argmax(1) for part in inputs.split(256)])
    accuracy = float((predicted == torch.from_numpy(labels[: len(predicted)].astype(np.int64))).double().mean())
    assert round(100 * accuracy, 2) == {20: 91.72, 32: 93.17, 56: 93.43}[depth]


def test_progress_names_the_stage_and_counts_its_samples():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    inputs, targets = torch.randn(700, 3), torch.zeros(700, dtype=torch.long)
    told = []
    explain(
        model,
        model,
        inputs=inputs[:600],
        data={"test": (inputs, targets)},
        progress=lambda stage, done: told.append((stage, done)),
    )
    assert told == [("inputs", 512), ("inputs", 600), ("test", 512), ("test", 700)]
