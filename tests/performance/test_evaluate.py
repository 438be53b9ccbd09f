"""Evaluation: the numbers, that the network is left as it was, and what is refused."""

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from shrinkscope.errors import DataError
from shrinkscope.performance import evaluate, evaluate_all, measured_in, metrics


def macro_f1(outputs, targets):
    return f1_score(targets, outputs.argmax(dim=1), average="macro", zero_division=0.0)  # pyright: ignore[reportArgumentType]


def network(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def samples(count: int = 100, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 6, generator=generator, dtype=torch.float64),
        torch.randint(4, (count,), generator=generator),
    )


def test_loss_accuracy_and_a_scalar_metric_agree_with_scikit_learn():
    model, (inputs, targets) = network(), samples()
    evaluation = evaluate(model, (inputs, targets), {**metrics.DEFAULT_METRICS, "macro F1": macro_f1}, batch_size=32)
    with torch.no_grad():
        outputs = model.eval()(inputs)
    expected = {
        # 1e-12: scikit-learn sums the same 100 float64 values in another order and clips at 2e-16.
        "loss": pytest.approx(log_loss(targets, outputs.softmax(dim=1)), rel=1e-12),
        "accuracy": pytest.approx(accuracy_score(targets, outputs.argmax(dim=1)), rel=1e-15),
        "macro F1": pytest.approx(macro_f1(outputs, targets), rel=1e-15),
    }
    assert evaluation.values == expected
    assert (evaluation.samples, evaluation.non_finite) == (100, 0)
    assert [evaluation.unit(name) for name in evaluation.values] == ["nats", "fraction", "unstated"]


@pytest.mark.parametrize("batch_size", [1, 7, 50, 99, 100, 130])
def test_any_batching_gives_the_same_values(batch_size):
    model, data = network(), samples()
    whole = evaluate(model, data, {"loss": metrics.cross_entropy, "macro F1": macro_f1})
    parts = evaluate(model, data, {"loss": metrics.cross_entropy, "macro F1": macro_f1}, batch_size)
    # Matrix products of other shapes may sum in another order: a few ulp of float64.
    torch.testing.assert_close(parts.per_sample["loss"], whole.per_sample["loss"], rtol=1e-12, atol=1e-12)
    assert parts.values["macro F1"] == whole.values["macro F1"]
    assert parts.targets_digest == whole.targets_digest


def test_a_loader_gives_what_its_tensors_give():
    model, data = network(), samples()
    loader = DataLoader(TensorDataset(*data), batch_size=32)
    assert torch.equal(evaluate(model, loader).per_sample["loss"], evaluate(model, data, None, 32).per_sample["loss"])


def test_the_standard_error_is_that_of_a_mean():
    evaluation = evaluate(network(), samples(), {"loss": metrics.cross_entropy, "macro F1": macro_f1})
    values = evaluation.per_sample["loss"].numpy()
    # The same float64 sums in another order.
    assert evaluation.standard_error("loss") == pytest.approx(values.std(ddof=1) / 10, rel=1e-13)
    assert evaluation.standard_error("macro F1") is None
    assert evaluate(network(), samples(1)).standard_error("loss") is None


def test_the_network_is_left_as_it_was():
    model = network().train()
    model[1].eval()
    flags = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, samples())
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(DataError):
        evaluate(model, (torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64)))
    assert [module.training for module in model.modules()] == flags


def test_modules_that_act_on_train_are_told_of_both_ways():
    class Merged(nn.Linear):
        calls: list[bool]

        def train(self, mode: bool = True):
            self.calls = [*getattr(self, "calls", []), mode]
            return super().train(mode)

    model = nn.Sequential(Merged(6, 4, dtype=torch.float64))
    evaluate(model, samples())
    assert model[0].calls == [False, True]


def test_networks_that_share_modules_are_both_restored():
    body, head = nn.Linear(6, 6, dtype=torch.float64), nn.Linear(6, 4, dtype=torch.float64)
    first, second = nn.Sequential(body, head), nn.Sequential(body, nn.Linear(6, 4, dtype=torch.float64))
    evaluate_all({"first": first, "second": second}, samples())
    assert body.training
    assert head.training
    assert first.training
    assert second.training


def test_an_in_place_first_layer_changes_neither_the_data_nor_what_the_next_network_sees():
    linear = nn.Linear(6, 4, dtype=torch.float64)
    inputs, targets = samples()
    kept = inputs.clone()
    both = evaluate_all({"in place": nn.Sequential(nn.ReLU(inplace=True), linear), "plain": linear}, (inputs, targets))
    assert torch.equal(inputs, kept)
    assert both["plain"].values["loss"] == evaluate(linear, (inputs, targets)).values["loss"]


def test_inputs_follow_the_floating_type_of_the_network():
    inputs, targets = samples()
    model = network()
    half = evaluate(network().to(torch.bfloat16), (inputs, targets)).values["loss"]
    # bfloat16 has 8 bits, about 0.4 % a value; three layers and a mean of 100 stay well within 10 %.
    assert half == pytest.approx(evaluate(model, (inputs, targets)).values["loss"], rel=0.1)
    embedding = nn.Embedding(5, 4)
    assert evaluate(embedding, (torch.tensor([0, 4]), torch.tensor([1, 2]))).samples == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_inputs_follow_the_device_of_the_network():
    evaluation = evaluate(network().to("cuda"), samples(), {"loss": metrics.cross_entropy, "macro F1": macro_f1})
    # Another order of float64 sums.
    assert evaluation.values["loss"] == pytest.approx(evaluate(network(), samples()).values["loss"], rel=1e-9)
    assert evaluation.outputs is not None
    assert evaluation.outputs.device.type == "cpu"


def test_non_finite_outputs_are_counted_and_reach_the_values():
    model = nn.Identity()
    outputs = torch.tensor([[0.0, 1.0], [torch.nan, 0.0], [torch.inf, torch.inf]], dtype=torch.float64)
    evaluation = evaluate(model, (outputs, torch.tensor([1, 0, 0])))
    assert evaluation.non_finite == 2
    assert torch.isnan(torch.tensor(list(evaluation.values.values()))).all()


def test_progress_counts_samples():
    done = []
    evaluate(network(), samples(), batch_size=40, progress=done.append)
    assert done == [40, 80, 100]


def test_a_metric_of_the_whole_set_never_sees_a_batch():
    seen = []

    @measured_in("fraction", whole_set=True)
    def count(outputs, targets):
        seen.append(len(outputs))
        return torch.tensor(len(outputs))

    assert evaluate(network(), samples(), {"count": count}, 10).values == {"count": 100.0}
    assert seen == [100]


class Returning(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, inputs):
        return self.result


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Returning((torch.zeros(100, 4), None)), "network returned a tuple, expected a tensor; wrap it in a module"),
        (Returning(torch.zeros(3, 4)), r"network returned shape \(3, 4\) for 100 inputs, expected a row for each"),
        (Returning(torch.tensor(0.0)), r"network returned shape \(\) for 100 inputs"),
        (nn.Linear(5, 4), r"network failed on inputs of shape \(100, 6\) and type torch.float64: .*; give inputs as"),
    ],
)
def test_networks_that_return_no_outputs_are_refused(model, message):
    with pytest.raises(DataError, match=message):
        evaluate(model, samples())


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({}, "metrics is empty; give at least one"),
        ({"loss": 3}, "metric 'loss' is a int, expected a function"),
        ({"loss": lambda outputs, targets: None}, "metric 'loss' returned a NoneType, expected a tensor or a number"),
        ({"loss": lambda outputs, targets: outputs}, r"metric 'loss' returned shape \(100, 4\) for a batch of 100"),
        (
            {"loss": measured_in("", whole_set=True)(metrics.cross_entropy)},
            r"metric 'loss' returned shape \(100,\) for the whole set, expected a scalar",
        ),
    ],
)
def test_metrics_that_are_none_are_refused(chosen, message):
    with pytest.raises(DataError, match=message):
        evaluate(network(), samples(), chosen)


def test_a_metric_that_changes_its_mind_is_refused():
    with pytest.raises(
        DataError, match=r"returned shape \(\) for a batch of 20 samples; expected one value per sample"
    ):
        evaluate(network(), samples(), {"odd": lambda o, t: t if len(t) > 20 else t.sum()}, 80)
