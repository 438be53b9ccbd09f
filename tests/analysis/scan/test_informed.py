"""Latents that know the network in a scan and in an explanation: the numbers of comparing the networks themselves."""

import copy

import pytest
import torch
from torch import nn

from shrinkscope.analysis import compare, explain, scan
from shrinkscope.compression import MagnitudePruning, compress
from shrinkscope.errors import LatentError

NAMES = ("gaussian", "input", "relative_input", "fisher", "kfac")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 6, 4)).eval()


def draw(count: int = 20, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def pruned(model: nn.Module, layer: str, level: float) -> nn.Module:
    other = copy.deepcopy(model)
    compress(other, MagnitudePruning(level=level, layers=(layer,)))
    return other


@pytest.mark.parametrize("labelled", [False, True], ids=["inputs", "data"])
def test_every_rung_of_a_row_is_that_of_comparing_the_compressed_network(labelled):
    model, inputs = network(), draw()
    given = {"data": (inputs, torch.zeros(len(inputs), dtype=torch.long))} if labelled else {"inputs": inputs}
    found = scan(model, **given, methods=["lowest"], levels=[0.3, 0.6], latents=NAMES, early_stop=False)
    assert len(found.rows) == 4
    for row in found.rows:
        other = pruned(model, row.layer, row.level)
        (expected,) = compare(model, other, latents=NAMES, layers=[row.layer], inputs=inputs).rows
        assert list(row.divergences) == [f"ap3_{name}" for name in NAMES]
        for column, quantity in expected.divergences.items():
            assert row.divergences[column].value == pytest.approx(quantity.value, rel=1e-9)
    assert found.settings.latents[1:] == NAMES[1:]


def test_the_cache_keeps_what_was_gathered_from_these_inputs_and_not_from_others(tmp_path):
    model = network()
    options = {"methods": ["lowest"], "levels": [0.5], "latents": ["fisher"], "cache": tmp_path}
    first, again = (scan(model, inputs=draw(), **options) for _ in range(2))
    other = scan(model, inputs=draw(seed=2), **options)
    assert (first.cost.from_cache, again.cost.from_cache, other.cost.from_cache) == (0, 2, 0)
    assert [row.divergences for row in first.rows] == [row.divergences for row in again.rows]
    assert first.rows[0].divergences != other.rows[0].divergences


def test_an_explanation_gathers_from_its_inputs_once_read_or_from_its_data():
    model, inputs = network(), draw()
    other = pruned(model, "0.weight", 0.5)
    expected = compare(model, other, latents=NAMES, inputs=inputs).to_json()
    labels = torch.zeros(len(inputs), dtype=torch.long)
    read_once = explain(model, other, inputs=iter([inputs]), latents=NAMES)
    assert read_once.comparison.to_json() == expected
    assert read_once.predictive["inputs"].samples == len(inputs)
    assert explain(model, other, data=(inputs, labels), latents=NAMES, resamples=50).comparison.to_json() == expected


def test_without_inputs_nothing_can_be_gathered():
    model = network()
    with pytest.raises(LatentError, match="fisher"):
        scan(model, methods=["lowest"], latents=["fisher"])
    with pytest.raises(LatentError, match="fisher"):
        explain(model, model, latents=["fisher"])
