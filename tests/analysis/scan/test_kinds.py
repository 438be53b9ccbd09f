"""Scans of networks that predict tokens or numbers, or return objects: every row is that of compressing for real."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from shrinkscope import compress, scan
from shrinkscope.analysis.scan.collapse import RULES, Chance
from shrinkscope.analysis.scan.methods import as_sweeps
from shrinkscope.errors import DataError
from shrinkscope.experiments.zoo.llama import Llama, LlamaSizes, read_llama2c
from shrinkscope.performance import PredictiveTally, Reading, predictive_divergence, synthetic_tokens
from shrinkscope.weights import LayerSelection

STORIES = Path(__file__).parents[4] / "shared" / "data" / "weights" / "stories260K_llama2c_v0.bin"
needs_stories = pytest.mark.skipif(not STORIES.exists(), reason="needs the stories260K weights in ../shared/data")

LEVELS = {"lowest": (0.3, 0.9), "quantise": (8, 3), "low_rank": (0.5,)}


def language() -> Llama:
    torch.manual_seed(0)
    sizes = LlamaSizes(dim=12, hidden=10, layers=2, heads=3, kv_heads=1, vocabulary=11, positions=9)
    return Llama(sizes).eval()


def ids(count: int = 10, positions: int = 7) -> torch.Tensor:
    found = torch.randint(1, 11, (count, positions), generator=torch.Generator().manual_seed(2))
    found[::3, 4:] = 0
    return found


def numbers(count: int = 30) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(3))


def regressor() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)).eval()


def compressed(model: nn.Module, row, levels=LEVELS) -> nn.Module:
    sweeps = as_sweeps(list(levels), levels)
    method = next(sweep for sweep in sweeps if sweep.name == row.method).methods[row.level]
    other = copy.deepcopy(model)
    compress(other, replace(method, layers=LayerSelection(include=(row.layer,))))
    return other


def assert_rows_are_those_of_compressing(found, model, inputs, levels=LEVELS, **options) -> None:
    measured = [row for row in found.rows if row.measurable]
    assert len(measured) > 0.8 * len(found.rows)
    for row in measured:
        expected = predictive_divergence(model, compressed(model, row, levels), inputs, **options)
        for name, quantity in (("predictive_kl", expected.kl), ("total_variation", expected.total_variation)):
            assert getattr(row, name).value == pytest.approx(quantity.value, abs=1e-6), (row.layer, row.description)
            assert getattr(row, name).unit == quantity.unit
            error = getattr(row, name).standard_error
            assert error == pytest.approx(quantity.standard_error, abs=1e-6)
        assert (row.disagreement is None) is (expected.disagreement is None)
        if expected.disagreement is not None:
            assert row.disagreement.value == pytest.approx(expected.disagreement.value, abs=1e-6)


@pytest.mark.parametrize("padding", [None, 0])
def test_a_language_model_is_measured_per_token(padding):
    model = language()
    options = {"methods": list(LEVELS), "levels": LEVELS, "batch_size": 4, "early_stop": False, "layers": "*layers.1*"}
    found = scan(model, inputs=ids(), padding=padding, **options)
    assert found.cost.prefix_cached
    assert (found.settings.kind, found.settings.padding, found.settings.rule) == ("tokens", padding, RULES["tokens"])
    assert "nats per token" in found.summary()
    assert_rows_are_those_of_compressing(found, model, ids(), padding=padding)


def test_a_regression_is_measured_with_its_scale():
    model = regressor()
    found = scan(model, inputs=numbers(), scale=0.7, methods=list(LEVELS), levels=LEVELS, batch_size=11)
    assert (found.settings.kind, found.settings.scale, found.settings.rule) == ("regression", 0.7, RULES["regression"])
    assert_rows_are_those_of_compressing(found, model, numbers(), scale=0.7)
    table = found.to_dataframe()
    assert table["disagreement"].isna().all()
    targets = model(numbers()).detach() + 0.1
    measured = scan(model, data=(numbers(), targets), scale=0.7, methods=["lowest"], levels=[0.5])
    for row in measured.rows:
        other = compressed(model, row, {"lowest": (0.5,)})
        with torch.no_grad():
            expected = ((other(numbers()) - targets) ** 2).mean() - ((model(numbers()) - targets) ** 2).mean()
        assert row.measured["squared_error"].difference == pytest.approx(float(expected), abs=1e-6)


class Returned:
    """What a network may return: neither a tensor nor anything that a traced step can make."""

    def __init__(self, logits: torch.Tensor, loss: None = None) -> None:
        self.logits, self.loss, self.other = logits, loss, logits


class Returning(nn.Module):
    def __init__(self, inner: nn.Module, wrap) -> None:
        super().__init__()
        self.inner, self.wrap = inner, wrap

    def forward(self, inputs):
        return self.wrap(self.inner(inputs))


@pytest.mark.parametrize(
    ("wrap", "outputs"),
    [
        (lambda scores: {"logits": scores}, None),
        (Returned, None),
        (Returned, lambda returned: returned.other),
        (lambda scores: (None, scores), lambda returned: returned[1]),
    ],
)
def test_scores_are_found_in_what_a_network_returns(wrap, outputs):
    plain = Returning(language(), lambda scores: scores)
    model = Returning(language(), wrap)
    options = {"inputs": ids(), "methods": ["lowest"], "levels": [0.5], "layers": "*q_proj*"}
    found, expected = scan(model, outputs=outputs, **options), scan(plain, **options)
    assert found.cost.prefix_cached
    assert [row.predictive_kl for row in found.rows] == [row.predictive_kl for row in expected.rows]


def test_targets_of_positions_give_loss_and_accuracy_per_token():
    model = language()
    inputs, targets = ids()[:, :-1], ids()[:, 1:].clone()
    targets[targets == 0] = -100
    found = scan(model, data=(inputs, targets), methods=["lowest"], levels=[0.5], layers="*up_proj*", padding=0)
    for row in found.rows:
        other = compressed(model, row, {"lowest": (0.5,)})
        losses = []
        with torch.no_grad():
            for network in (model, other):
                surprise = -network(inputs).double().log_softmax(-1)
                each = surprise.gather(2, targets.clamp(min=0)[..., None])[..., 0]
                losses.append(float(((each * (targets >= 0)).sum(1) / (targets >= 0).sum(1)).mean()))
        assert row.measured["loss"].difference == pytest.approx(losses[1] - losses[0], abs=1e-6)


def found_distances(reading, dense, moved, counts=None):
    tally = PredictiveTally(reading)
    tally.add(dense, moved, counts)
    return tally.distances()


def test_a_language_model_that_says_one_token_everywhere_has_collapsed():
    # The dense network predicts token 2 at 60 % of the positions: 1 in the vocabulary would never notice a constant.
    generator = torch.Generator().manual_seed(0)
    tokens = torch.where(
        torch.rand(40, 25, generator=generator) < 0.6, 2, torch.randint(8, (40, 25), generator=generator)
    )
    dense = 5.0 * nn.functional.one_hot(tokens, 8).double()
    chance = Chance("tokens", [dense], [None])
    constant = torch.zeros_like(dense)
    constant[..., 2] = 5.0
    assert chance.reached(found_distances(Reading(), dense, constant))
    rare = torch.zeros_like(dense)
    rare[..., 5] = 5.0
    assert chance.reached(found_distances(Reading(), dense, rare))
    half = torch.where(torch.arange(25)[:, None] < 12, dense, constant)  # right at 12 of 25, and where it says 2
    assert not chance.reached(found_distances(Reading(), dense, half))
    assert not chance.reached(found_distances(Reading(), dense, dense))
    # Padding at the constant's places: what counts has other frequencies.
    counts = tokens != 2
    counts[:, 0] = True
    assert not Chance("tokens", [dense], [counts]).reached(found_distances(Reading(), dense, half, counts))


def test_a_regression_that_moved_as_far_as_its_spread_has_collapsed():
    dense = torch.randn(50, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    reading, chance = Reading(scale=0.3), Chance("regression", [dense[:20], dense[20:]], [None, None])
    mean = dense.mean(0).expand_as(dense)
    # At 0.999 of the way to the mean, R² is 0.002 above that of the constant.
    assert not chance.reached(found_distances(reading, dense, dense + 0.999 * (mean - dense)))
    assert chance.reached(found_distances(reading, dense, dense + 1.001 * (mean - dense)))
    assert not chance.reached(found_distances(reading, dense, dense))
    flat = torch.ones(5, 2, dtype=torch.float64)  # no spread: nothing to judge by
    assert not Chance("regression", [flat], [None]).reached(found_distances(reading, flat, flat + 9))


@pytest.mark.parametrize(
    ("make", "inputs", "options", "message"),
    [
        (regressor, numbers(), {"kind": "numbers"}, "kind = 'numbers'; expected classes, tokens or regression"),
        (regressor, numbers(), {"kind": "tokens", "scale": 1.0}, "scale = 1.0 belongs to a regression"),
        (regressor, numbers(), {"kind": "regression"}, "a regression needs the standard deviation"),
        (regressor, numbers(), {"padding": 0}, "the outputs are classes: give neither"),
        (regressor, numbers(), {"scale": -1.0}, "scale = -1.0; expected a positive"),
        (language, ids(), {"kind": "classes"}, "expected logits of shape"),
        (language, ids(), {"outputs": lambda returned: None}, "outputs= found a NoneType"),
        (language, torch.zeros(3, 4, dtype=torch.int64), {"padding": 0}, "sequence 0 of a batch has no position"),
    ],
)
def test_what_does_not_fit_is_an_error_of_one_line(make, inputs, options, message):
    with pytest.raises(DataError, match=message) as caught:
        scan(make(), inputs=inputs, methods=["lowest"], levels=[0.5], **options)
    assert "\n" not in str(caught.value)


def test_another_reading_is_another_key_in_the_cache(tmp_path):
    model = regressor()
    options = {"methods": ["lowest"], "levels": [0.5], "cache": tmp_path}
    first = scan(model, inputs=numbers(), scale=0.7, **options)
    assert scan(model, inputs=numbers(), scale=0.7, **options).cost.from_cache == len(first.rows)
    assert scan(model, inputs=numbers(), scale=0.8, **options).cost.from_cache == 0
    assert scan(model, inputs=numbers(), **options).cost.from_cache == 0  # two classes


@cache
def stories() -> tuple[Llama, torch.Tensor]:
    model = read_llama2c(STORIES, transpositions=5)
    return model, synthetic_tokens(model, 24, 16, torch.Generator().manual_seed(0), start=1).inputs


@needs_stories
def test_the_trained_language_model_is_scanned_from_text_that_it_samples():
    model, inputs = stories()
    levels = {"lowest": (0.5, 0.95), "quantise": (8, 2)}
    found = scan(
        model, inputs=inputs, methods=list(levels), levels=levels, layers="*layers.[04].*[vn]_proj*", early_stop=False
    )
    assert len(found.rows) == 4 * 4
    assert_rows_are_those_of_compressing(found, model, inputs, levels)
    damage = {(row.layer, row.method, row.level): row.predictive_kl.value for row in found.rows}
    for layer in {row.layer for row in found.rows}:
        assert damage[layer, "lowest", 0.5] < damage[layer, "lowest", 0.95]
        assert damage[layer, "quantise", 8] < 1e-3 < damage[layer, "quantise", 2]
    assert np.isfinite(list(damage.values())).all()
