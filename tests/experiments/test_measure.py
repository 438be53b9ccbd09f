"""The records of an epoch, against numbers worked out with NumPy."""

import math

import numpy as np
import pytest
import torch

from shrinkscope.compression import MagnitudePruning, hold, prune
from shrinkscope.experiments.digits import Split, load_digits_split
from shrinkscope.experiments.measure import Reference, dense_records, epoch_records
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.records import Record

LAYERS = ("conv1.weight", "conv2.weight", "head.weight")
LATENTS = ("gaussian", "student_t")


@pytest.fixture(scope="module")
def data() -> Split:
    split = load_digits_split()
    # In float64, so that the reference below differs by the order of summation alone.
    return Split(split.x_train.double(), split.y_train, split.x_test.double(), split.y_test)


@pytest.fixture
def dense() -> torch.nn.Module:
    return new_network("digits", seed=1).double()


@pytest.fixture
def pruned(dense) -> torch.nn.Module:
    model = new_network("digits", seed=1).double()
    prune(model, MagnitudePruning(level=0.5))
    return model


def by_key(records: list[Record]) -> dict[tuple[str, str], Record]:
    found = {(record.layer, record.metric): record for record in records}
    assert len(found) == len(records)
    return found


def number(record: Record) -> float:
    assert record.value is not None
    return record.value


def losses(model: torch.nn.Module, samples: tuple[torch.Tensor, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = samples
    with torch.no_grad():
        logits = model(inputs).numpy()
    largest = logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(targets)), targets.numpy()]
    loss = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0] - chosen
    return loss, (logits.argmax(axis=1) == targets.numpy()).astype(float)


def test_every_layer_and_the_network_have_every_metric(dense, pruned, data):
    found = by_key(epoch_records(Reference.of(dense, data), pruned, data, LATENTS, epoch=7))
    weights = ("ap2", "relative_ap2", "ap3_gaussian", "ap3_student_t", "sparsity")
    parts = [
        f"{prefix}{metric}_{part}"
        for prefix in ("", "pd_")
        for metric in ("loss", "accuracy")
        for part in ("train", "test")
    ]
    assert set(found) == {(layer, metric) for layer in (*LAYERS, "") for metric in weights} | {("", m) for m in parts}
    assert {record.epoch for record in found.values()} == {7}
    assert {record.status for (_, metric), record in found.items() if metric in weights} == {"exact"}
    assert {record.status for (_, metric), record in found.items() if metric in parts} == {"estimate"}


def test_distances_agree_with_numpy(dense, pruned, data):
    found = by_key(epoch_records(Reference.of(dense, data), pruned, data, LATENTS, epoch=0))
    before = {name: dense.state_dict()[name].numpy().ravel() for name in LAYERS}
    after = {name: pruned.state_dict()[name].numpy().ravel() for name in LAYERS}
    gaussian = 0.0
    for name in LAYERS:
        distance, norm = ((before[name] - after[name]) ** 2).sum(), (before[name] ** 2).sum()
        # float64 sums of up to 1,728 terms
        assert found[name, "ap2"].value == pytest.approx(distance, rel=1e-12)
        assert found[name, "relative_ap2"].value == pytest.approx(distance / norm, rel=1e-12)
        assert found[name, "ap3_gaussian"].value == pytest.approx(distance / 2 / (norm / before[name].size), rel=1e-12)
        assert found[name, "sparsity"].value == (after[name] == 0).mean()
        gaussian += number(found[name, "ap3_gaussian"])
    every = np.concatenate(list(before.values())) - np.concatenate(list(after.values()))
    assert found["", "ap2"].value == pytest.approx((every**2).sum(), rel=1e-12)
    assert found["", "ap3_gaussian"].value == pytest.approx(gaussian, rel=1e-12)


@pytest.mark.parametrize("part", ["train", "test"])
def test_performance_and_its_paired_standard_error_agree_with_numpy(dense, pruned, data, part):
    found = by_key(epoch_records(Reference.of(dense, data), pruned, data, LATENTS, epoch=0))
    for before, after, metric in zip(
        losses(dense, getattr(data, part)), losses(pruned, getattr(data, part)), ("loss", "accuracy"), strict=True
    ):
        value, difference = found["", f"{metric}_{part}"], found["", f"pd_{metric}_{part}"]
        # float64 forward passes over batches of another size
        assert value.value == pytest.approx(after.mean(), rel=1e-9)
        assert value.standard_error == pytest.approx(after.std(ddof=1) / math.sqrt(len(after)), rel=1e-9)
        changes = after - before
        assert difference.value == pytest.approx(abs(changes.mean()), rel=1e-9)
        assert difference.standard_error == pytest.approx(changes.std(ddof=1) / math.sqrt(len(after)), rel=1e-9)


def test_the_dense_network_is_described_by_itself(dense, data):
    found = by_key(dense_records(Reference.of(dense, data)))
    assert set(found) == {("", f"{metric}_{part}") for metric in ("loss", "accuracy") for part in ("train", "test")}
    loss, right = losses(dense, data.test)
    assert found["", "loss_test"].value == pytest.approx(loss.mean(), rel=1e-9)
    assert found["", "accuracy_test"].value == right.mean()


def test_an_unchanged_network_is_at_distance_zero(dense, data):
    found = by_key(epoch_records(Reference.of(dense, data), dense, data, LATENTS, epoch=0))
    zero = ("ap2", "relative_ap2", "ap3_gaussian", "ap3_student_t", "pd_loss_test", "pd_accuracy_train")
    assert {found["", metric].value for metric in zero} == {0.0}


def test_a_held_mask_and_a_plain_network_give_the_same_records(dense, pruned, data):
    reference = Reference.of(dense, data)
    plain = epoch_records(reference, pruned, data, LATENTS, epoch=0)
    model = new_network("digits", seed=1).double()
    hold(model, MagnitudePruning(level=0.5).mask({name: model.state_dict()[name] for name in LAYERS}))
    assert epoch_records(reference, model, data, LATENTS, epoch=0) == plain


def test_what_is_not_finite_is_missing_with_its_reason(dense, pruned, data):
    with torch.no_grad():
        pruned.get_parameter("head.weight")[0, 0] = torch.nan
    found = by_key(epoch_records(Reference.of(dense, data), pruned, data, LATENTS, epoch=0))
    loss, distance = found["", "pd_loss_test"], found["head.weight", "ap2"]
    assert (loss.value, loss.standard_error, distance.value) == (None, None, None)
    assert loss.reason
    assert distance.reason == "1 of 640 values are NaN or infinite on the compressed side"
    assert found["", "loss_test"].value is None
    assert "360 outputs are not finite" in str(found["", "loss_test"].reason)
    assert number(found["conv1.weight", "ap2"]) > 0
    # Without that layer the sum is not that of the network.
    assert found["", "ap2"].value is None
    assert found["", "ap2"].reason == "head.weight: 1 of 640 values are NaN or infinite on the compressed side"


def test_a_layer_of_zeros_has_no_relative_distance_and_says_so(dense, data):
    with torch.no_grad():
        dense.get_parameter("head.weight").zero_()
    found = by_key(epoch_records(Reference.of(dense, data), dense, data, LATENTS, epoch=0))
    assert found["head.weight", "relative_ap2"].value is None
    assert "all dense weights are zero" in str(found["head.weight", "relative_ap2"].reason)
    assert found["head.weight", "ap2"].value == 0.0
    assert found["", "ap2"].value == 0.0
    assert found["", "ap3_gaussian"].value is None
