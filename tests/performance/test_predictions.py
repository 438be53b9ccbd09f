"""Predictions of two networks: the distances, that they come from one streaming pass, and what is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from references import predictive as reference
from shrinkscope.errors import DataError
from shrinkscope.performance import PredictionTally, evaluate_all, predictions

LOGITS = st.lists(st.floats(-40, 40), min_size=3, max_size=3)


def network(seed: int, classes: int = 4) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, classes)).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def inputs(count: int = 100) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def compared(dense: list[list[float]], compressed: list[list[float]], dtype: torch.dtype = torch.float64):
    tally = PredictionTally()
    tally.add(torch.tensor(dense, dtype=dtype), torch.tensor(compressed, dtype=dtype))
    return tally.predictions()


@given(dense=st.lists(LOGITS, min_size=2, max_size=2), compressed=st.lists(LOGITS, min_size=2, max_size=2))
def test_the_distances_are_those_of_the_definitions(dense, compressed):
    found = compared([*dense, [5.0, 0.0, 0.0]], [*compressed, [0.0, 5.0, 0.0]])
    for index, (a, b) in enumerate(zip(dense, compressed, strict=True)):
        # Rounding of three terms of size up to 1 (TV), and up to 80 (KL, whose logarithms reach 80 nats).
        assert float(found.total_variation[index]) == pytest.approx(float(reference.total_variation(a, b)), abs=1e-15)
        assert float(found.kl[index]) == pytest.approx(float(reference.kl(a, b)), rel=1e-13, abs=1e-13)
        top = sorted(reference.softmax(a))
        assert float(found.margin[index]) == pytest.approx(float(top[-1] - top[-2]), abs=1e-15)
    assert bool(found.disagrees[2])


def test_extreme_logits_lose_nothing():
    found = compared([[1000.0, 0.0], [0.0, 0.0]], [[0.0, 1000.0], [0.0, 1e300]])
    assert found.total_variation.tolist() == [1.0, 0.5]
    assert found.kl.tolist() == [
        pytest.approx(float(reference.kl([1000.0, 0.0], [0.0, 1000.0])), rel=1e-15),
        pytest.approx(0.5e300, rel=1e-15),
    ]


def test_equal_networks_are_at_distance_zero_and_equal_scores_are_no_disagreement():
    found = compared([[2.0, 2.0, 0.0]], [[2.0, 2.0, 0.0]], torch.float16)
    assert (found.disagrees.tolist(), found.total_variation.tolist(), found.kl.tolist()) == ([False], [0.0], [0.0])
    assert found.margin.tolist() == [0.0]


@pytest.mark.parametrize("batch_size", [1, 7, 100, 130])
def test_any_batching_gives_the_same_values(batch_size):
    dense, compressed, x = network(0), network(2), inputs()
    whole = predictions(dense, compressed, x)
    parts = predictions(dense, compressed, x, batch_size)
    assert torch.equal(parts.disagrees, whole.disagrees)
    # Matrix products of other shapes may sum in another order: a few ulp of the logits, which are of size 10.
    torch.testing.assert_close(parts.kl, whole.kl, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(parts.total_variation, whole.total_variation, rtol=1e-11, atol=1e-13)
    assert (whole.samples, whole.classes) == (100, 4)


def test_a_tensor_batches_loaders_and_labelled_data_are_the_same_inputs():
    dense, compressed, x = network(0), network(2), inputs(30)
    expected = predictions(dense, compressed, x, 10).kl
    labels = torch.zeros(30, dtype=torch.int64)
    for given_inputs in (
        iter(x.split(10)),
        DataLoader(TensorDataset(x), batch_size=10),
        DataLoader(TensorDataset(x, labels), batch_size=10),
        (x, labels),
        [(part, "no label") for part in x.split(10)],
    ):
        assert torch.equal(predictions(dense, compressed, given_inputs, 10).kl, expected)


def test_a_half_precision_network_is_compared_with_its_original():
    dense, x = network(0), inputs(50)
    half = network(0).to(torch.bfloat16)
    found = predictions(dense, half, x)
    # bfloat16 keeps 8 bits: logits of size 10 move by about 0.05, the predictions by less than that; and they move.
    assert 0 < float(found.total_variation.mean()) < 0.05
    assert found.kl.dtype == torch.float64


def test_training_flags_gradients_and_progress():
    dense, compressed = network(0), network(2)
    dense[2].eval()
    done = []
    first = predictions(dense, compressed, inputs(20), 8, progress=done.append)
    assert done == [8, 16, 20]
    assert (dense.training, dense[1].training, dense[2].training) == (True, True, False)
    assert not first.kl.requires_grad
    assert torch.equal(first.kl, predictions(dense, compressed, inputs(20), 8).kl)  # dropout is off


def test_predictions_come_along_with_an_evaluation():
    networks = {"dense": network(0), "compressed": network(2)}
    x, tally = inputs(40), PredictionTally()
    evaluate_all(
        networks,
        iter([(x, torch.zeros(40, dtype=torch.int64))]),
        observe=lambda outputs, _: tally.add(outputs["dense"], outputs["compressed"]),
    )
    assert torch.equal(tally.predictions().kl, predictions(networks["dense"], networks["compressed"], x).kl)


@pytest.mark.parametrize(
    ("dense", "compressed", "message"),
    [
        ([[1.0]], [[2.0]], r"dense returned shape \(1, 1\) .* not the outputs of a regression"),
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], "dense has 2 classes and compressed 3; expected as many of both"),
        ([[1.0, 2.0]], [[1.0, float("nan")]], "compressed returned NaN or infinite logits for 1 of the inputs 0 to 0"),
        ([[float("inf"), 2.0]], [[1.0, 2.0]], "dense returned NaN or infinite logits for 1 of"),
        ([[0.25, 0.75]], [[1.0, 2.0]], r"every output of dense is a row of probabilities .* expected logits"),
        ([[1.0, 2.0]], [[0.5, 0.5]], "every output of compressed is a row of probabilities"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(dense, compressed, message):
    with pytest.raises(DataError, match=message):
        compared(dense, compressed)


def test_classes_do_not_change_between_batches():
    tally = PredictionTally()
    tally.add(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(DataError, match="dense returned 3 classes before and 2 now"):
        tally.add(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(DataError, match="no input; give at least one"):
        PredictionTally().predictions()


@pytest.mark.parametrize(
    ("given_inputs", "message"),
    [
        (torch.empty(0, 6), "inputs holds no sample"),
        (iter(()), "inputs holds no sample"),
        ("images.npy", "inputs is a value of type str; expected a tensor"),
        (3, "inputs is a value of type int; expected a tensor"),
        ([inputs(3), inputs(3)], r"shapes \(3, 6\) and \(3, 6\): inputs with targets, or two batches"),
        (("x", inputs(3)), "a pair that begins with a value of type str"),
        ([[1.0, 2.0]], "batch 1 of the inputs is a list of 2 items; expected a tensor"),
        (iter([torch.tensor(1.0)]), "batch 1 of the inputs is one tensor of shape"),
    ],
)
def test_what_is_no_input_is_refused(given_inputs, message):
    with pytest.raises(DataError, match=message):
        predictions(network(0), network(2), given_inputs)


def test_a_batch_has_at_least_one_input():
    with pytest.raises(DataError, match="batch_size = 0, expected at least 1"):
        predictions(network(0), network(2), inputs(), 0)
