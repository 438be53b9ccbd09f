"""Heads evaluated together, against each evaluated as a network."""

import pytest
import torch
from torch import nn

from shrinkscope.experiments.heads import evaluate as module
from shrinkscope.experiments.heads.evaluate import Judged
from shrinkscope.performance import difference_between, evaluate


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("numbers", [1, 100, 1 << 22])
def test_each_head_is_evaluated_as_its_network_would_be(bias, numbers, monkeypatch):
    # Blocks of one sample, of some, and of all.
    monkeypatch.setattr(module, "AT_ONCE", numbers)
    features, targets = normal(37, 5, seed=0), torch.arange(37) % 4
    weights, biases = normal(3, 4, 5, seed=1), normal(3, 4, seed=2) if bias else None
    weights[1, 2, 3] = torch.nan
    found = Judged(features, targets).evaluate(weights, biases)
    for place, evaluation in enumerate(found):
        layer = nn.Linear(5, 4, bias=bias, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(weights[place])
            if biases is not None:
                layer.bias.copy_(biases[place])
        expected = evaluate(layer, (features, targets))
        assert evaluation.non_finite == expected.non_finite == (37 if place == 1 else 0)
        for metric in ("loss", "accuracy"):
            # float64 sums of five products in another order.
            torch.testing.assert_close(
                evaluation.per_sample[metric], expected.per_sample[metric], rtol=1e-12, atol=1e-13, equal_nan=True
            )
            assert evaluation.unit(metric) == expected.unit(metric)
            if place != 1:
                assert evaluation.values[metric] == pytest.approx(expected.values[metric], rel=1e-12)
                assert evaluation.standard_error(metric) == pytest.approx(expected.standard_error(metric), rel=1e-12)
        # They can be paired, sample by sample.
        difference_between(expected, evaluation, resamples=0)


def test_logits_of_one_head_are_those_of_its_layer():
    layer = nn.Linear(5, 4, dtype=torch.float64)
    judged = Judged(normal(11, 5, seed=0), torch.zeros(11, dtype=torch.int64))
    found = judged.logits(layer.weight.detach(), layer.bias.detach())
    torch.testing.assert_close(found, layer(judged.features).detach(), rtol=1e-13, atol=1e-14)
    assert torch.equal(judged.logits(layer.weight.detach(), None), judged.features @ layer.weight.detach().T)
