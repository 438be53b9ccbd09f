"""Metrics against scipy and scikit-learn, and what they refuse."""

import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score
from torch.nn import functional

from shrinkscope.errors import DataError
from shrinkscope.performance import measured_in, metrics


def draw(samples: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    outputs = 5 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return outputs, torch.randint(classes, (samples,), generator=generator)


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_cross_entropy_agrees_with_scipy(classes):
    outputs, targets = draw(50, classes)
    expected = -log_softmax(outputs.numpy(), axis=1)[range(50), targets.numpy()]
    # 1e-13: two log-sum-exps of up to 200 float64 terms, each rounded to 1e-16 of values up to 20.
    torch.testing.assert_close(
        metrics.cross_entropy(outputs, targets), torch.from_numpy(expected), rtol=1e-13, atol=1e-13
    )


def test_cross_entropy_of_float32_outputs_is_computed_in_float64():
    outputs = torch.tensor([[1.0e4, 1.0e4 - 30.0]], dtype=torch.float32)
    loss = metrics.cross_entropy(outputs, torch.tensor([0]))
    # log(1 + exp(-30)) = 9.4e-14 is lost in float32 beside 1e4, and in float64 keeps about 3 digits: 1e4 has ulp 2e-12
    # only in the outputs, which are exact here; log_softmax subtracts the maximum first.
    torch.testing.assert_close(loss.item(), 9.357622968839299e-14, rtol=1e-2, atol=0)
    assert loss.dtype == torch.float64


def test_correct_averages_to_the_accuracy_of_scikit_learn():
    outputs, targets = draw(300, 3)
    assert metrics.correct(outputs, targets).mean().item() == accuracy_score(targets, outputs.argmax(1))


def test_correct_does_not_count_nan_as_a_prediction():
    # argmax alone would name the NaN class the prediction: class 1, which happens to be the target.
    outputs = torch.tensor([[0.0, torch.nan], [0.0, 1.0], [0.0, -torch.inf]])
    values = metrics.correct(outputs, torch.tensor([1, 1, 0]))
    torch.testing.assert_close(values, torch.tensor([torch.nan, 1.0, 1.0], dtype=torch.float64), equal_nan=True)


def test_squared_error_agrees_with_torch_and_does_not_broadcast():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(20, 3, 2, generator=generator, dtype=torch.float64)
    targets = torch.randn(20, 3, 2, generator=generator, dtype=torch.float64)
    values = metrics.squared_error(outputs, targets)
    # One float64 sum in another order.
    torch.testing.assert_close(values.mean(), functional.mse_loss(outputs, targets), rtol=1e-14, atol=0)
    column = metrics.squared_error(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    assert column.tolist() == [0.0, 4.0]


def test_units_are_declared():
    @measured_in("dB")
    def ratio(outputs, targets):
        return outputs

    found = [metrics.declaration_of(metric).unit for metric in (metrics.cross_entropy, metrics.correct, ratio)]
    assert found == ["nats", "fraction", "dB"]
    assert metrics.declaration_of(lambda outputs, targets: outputs).unit == "unstated"
    assert metrics.declaration_of(measured_in("", whole_set=True)(metrics.correct)).whole_set
    assert metrics.declaration_of(metrics.correct).unit == "fraction"


@pytest.mark.parametrize("metric", [metrics.cross_entropy, metrics.correct])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"target 3 is none of the 3 classes of the outputs \(0 to 2\)"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), "target -1 is none of the 3 classes"),
        (torch.zeros(2, 3), torch.zeros(2), r"targets have type torch.float32, expected integer class indices"),
        (torch.zeros(2, 3), torch.zeros(2, 3), r"expected outputs of shape \(n, classes\)"),
        (torch.zeros(2), torch.tensor([0, 1]), r"expected outputs of shape \(n, classes\)"),
    ],
)
def test_classification_refuses_targets_that_are_no_classes(metric, outputs, targets, message):
    with pytest.raises(DataError, match=message):
        metric(outputs, targets)


def test_squared_error_refuses_other_numbers_of_entries():
    with pytest.raises(DataError, match="give targets with one entry for every output"):
        metrics.squared_error(torch.zeros(4, 1), torch.zeros(4, 2))


def test_sequences_have_the_mean_over_their_positions_with_a_target():
    generator = torch.Generator().manual_seed(3)
    outputs = 4 * torch.randn(5, 6, 9, generator=generator, dtype=torch.float64)
    targets = torch.randint(9, (5, 6), generator=generator)
    targets[0, 2:], targets[3, 0] = -100, -100
    outputs[1].scatter_(1, targets[1][:, None], 50.0)  # one sequence with every token right
    expected = -log_softmax(outputs.numpy(), axis=2)
    for sequence in range(5):
        counted = [position for position in range(6) if targets[sequence, position] != -100]
        losses = [expected[sequence, position, int(targets[sequence, position])] for position in counted]
        hits = [int(outputs[sequence, position].argmax()) == int(targets[sequence, position]) for position in counted]
        # Sums of at most six float64 terms in another order.
        found = metrics.cross_entropy(outputs, targets)[sequence].item()
        assert found == pytest.approx(sum(losses) / len(losses), rel=1e-12, abs=1e-14)
        assert metrics.correct(outputs, targets)[sequence].item() == pytest.approx(sum(hits) / len(hits), rel=1e-15)
    assert metrics.correct(outputs, targets)[1] == 1.0


@pytest.mark.parametrize("metric", [metrics.cross_entropy, metrics.correct])
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            torch.zeros(2, dtype=torch.int64),
            r"scores of tokens \(n, positions, vocabulary\), targets have shape \(2,\)",
        ),
        (torch.tensor([[0, 1, 2], [0, 5, 1]]), "target 5 is none of the 4 classes"),
        (torch.tensor([[0, 1, 2], [-100, -100, -100]]), "sequence 1 of a batch has no target but -100"),
    ],
)
def test_tokens_need_a_target_at_some_position_of_every_sequence(metric, targets, message):
    with pytest.raises(DataError, match=message):
        metric(torch.zeros(2, 3, 4), targets)


def test_numbers_are_measured_by_their_squared_error():
    assert list(metrics.default_metrics(True)) == ["squared_error"]
    assert metrics.default_metrics(False) is metrics.DEFAULT_METRICS
