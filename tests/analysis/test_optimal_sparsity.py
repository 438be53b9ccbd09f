import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom
from torch import nn

from shrinkscope.analysis import optimal_sparsity
from shrinkscope.compression import MagnitudePruning, RandomPruning, StructuredPruning
from shrinkscope.errors import DataError, SelectionError, TheoryError

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4, bias=False))


def samples(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 8, generator=generator)
    return inputs, network()(inputs).argmax(dim=1)


def pruned_by_hand(layers: tuple[int, ...], level: float) -> nn.Sequential:
    """The lowest magnitudes of each layer removed, by sorting."""
    model = network()
    with torch.no_grad():
        for index in layers:
            weight = model[index].weight
            smallest = weight.abs().flatten().argsort()[: round(level * weight.numel())]
            weight.view(-1)[smallest] = 0
    return model


def disagreements(model: nn.Module, inputs: torch.Tensor) -> int:
    with torch.no_grad():
        return int((network()(inputs).argmax(1) != model(inputs).argmax(1)).sum())


def test_predictive_curve_is_clopper_pearson_on_the_networks_pruned_by_hand():
    inputs, targets = samples(400)
    found = optimal_sparsity(network(), tolerance=0.2, inputs=inputs, data=(inputs, targets), levels=LEVELS)
    assert [curve.layer for curve in found.curves] == ["network", "0.weight", "2.weight"]
    for curve, layers in zip(found.curves, [(0, 2), (0,), (2,)], strict=True):
        passing = True
        for point in curve.points:
            model = pruned_by_hand(layers, point.level)
            changed = disagreements(model, inputs)
            # scipy's quantile of the beta distribution is an independent statement of the same bound.
            expected = 1.0 if changed == 400 else beta.ppf(0.95, changed + 1, 400 - changed)
            assert point.bound == pytest.approx(expected, rel=1e-9)
            passing &= point.bound <= 0.2
            assert point.within is passing
            assert point.measured["accuracy"].difference == pytest.approx(
                -float((model(inputs).argmax(1) != targets).double().mean()), abs=1e-12
            )
            weights = [(network()[i].weight, model[i].weight) for i in layers]
            squares = sum(float((a - b).detach().double().square().sum()) for a, b in weights)
            assert point.ap2 == pytest.approx(squares, rel=1e-6)
            assert "ap3_gaussian" in point.divergences
    assert found.curve().optimal is not None
    assert found.samples == 400
    assert found.confidence == 0.95


def test_the_optimal_point_is_the_last_before_the_first_failure():
    inputs, _ = samples(300)
    # Highest magnitudes first: damage is not monotone in the level, so a later level may pass again.
    found = optimal_sparsity(
        network(), tolerance=0.75, inputs=inputs, method=MagnitudePruning(level=0, order="highest"), levels=LEVELS
    )
    for curve in found.curves:
        bounds = [point.bound for point in curve.points]
        first_failure = next((i for i, bound in enumerate(bounds) if bound > 0.75), len(bounds))
        assert [point.within for point in curve.points] == [i < first_failure for i in range(len(bounds))]
        expected = None if first_failure == 0 else curve.points[first_failure - 1]
        assert curve.optimal is expected


def test_trying_many_levels_keeps_the_confidence():
    # 400 draws of 150 inputs from a population of 40,000, 9 levels each. The optimal level really exceeds the tolerance
    # with a chance of at most 0.1 a draw; more of them than the 1 - 1e-6 quantile of Binomial(400, 0.1) are a false
    # alarm with a chance of 1e-6.
    tolerance, confidence, draws = 0.1, 0.9, 400
    population, _ = samples(40_000, seed=2)
    levels = tuple(np.linspace(0.1, 0.9, 9).round(1).tolist())
    truth = {level: disagreements(pruned_by_hand((0,), level), population) / 40_000 for level in levels}
    generator = torch.Generator().manual_seed(3)
    wrong, chosen = 0, set()
    for _ in range(draws):
        inputs = population[torch.randint(40_000, (150,), generator=generator)]
        found = optimal_sparsity(
            network(),
            tolerance=tolerance,
            inputs=inputs,
            layers="0.*",
            levels=levels,
            confidence=confidence,
            latents=(),
        )
        optimal = found.curve().optimal
        chosen.add(None if optimal is None else optimal.level)
        wrong += optimal is not None and truth[optimal.level] > tolerance
    assert len(chosen) > 1  # the draws differ: the test has something to see
    assert wrong <= binom.ppf(1 - 1e-6, draws, 1 - confidence)


def test_the_corrected_bound_is_never_below_the_measured_loss_difference():
    inputs, targets = samples(500)
    found = optimal_sparsity(
        network(),
        tolerance=0.05,
        data=(inputs, targets),
        bound="corrected",
        levels=LEVELS,
        method=RandomPruning(level=0),
    )
    assert found.confidence is None
    assert found.unit == "nats"
    last = found.curve("2.weight")
    for point in last.points:
        assert point.measured["loss"].absolute <= point.bound
    for other in ("network", "0.weight"):
        curve = found.curve(other)
        assert curve.optimal is None
        assert "2.weight" in curve.reason
        assert {point.bound for point in curve.points} == {None}


def test_the_corrected_bound_by_hand():
    inputs, targets = samples(200)
    found = optimal_sparsity(
        network(), tolerance=1.0, data=(inputs, targets), bound="corrected", levels=(0.25,), layers="2.weight"
    )
    model, pruned = network().double(), pruned_by_hand((2,), 0.25).double()
    features = model[1](model[0](inputs.double())).detach()
    loss = nn.functional.cross_entropy(features @ model[2].weight.T, targets)
    (gradient,) = torch.autograd.grad(loss, model[2].weight)
    delta = (model[2].weight - pruned[2].weight).detach()
    curvature = 0.5 * float(torch.linalg.eigvalsh(features.T @ features / 200)[-1])
    expected = float(gradient[delta != 0].norm() * delta.norm() + curvature / 2 * delta.square().sum())
    assert found.curve().points[0].bound == pytest.approx(expected, rel=1e-6)


def test_higher_levels_of_random_pruning_remove_more_of_the_same():
    inputs, _ = samples(50)
    found = optimal_sparsity(network(), tolerance=1.0, inputs=inputs, method=RandomPruning(level=0), levels=LEVELS)
    squares = [point.ap2 for point in found.curve("0.weight").points]
    assert squares == sorted(squares)


def test_the_model_is_left_alone_and_batches_do():
    model, (inputs, _) = network().train(), samples(60)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = optimal_sparsity(model, tolerance=0.5, inputs=inputs, levels=(0.5,))
    batched = optimal_sparsity(model, tolerance=0.5, inputs=list(inputs.split(25)), levels=(0.5,))
    assert whole.curve().points[0].bound == batched.curve().points[0].bound
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_structured_pruning_and_the_table_and_the_words():
    inputs, targets = samples(300)
    calls = []
    found = optimal_sparsity(
        network(),
        tolerance=0.02,
        data=(inputs, targets),
        method=StructuredPruning(level=0),
        levels=(0.5, 0.75),
        layers="0.weight",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 2), (2, 2)]
    table = found.to_dataframe()
    assert list(table["layer"]) == ["network", "network"]
    assert list(table["sparsity"]) == [0.5, 0.75]
    assert not table["optimal"].any()
    assert math.isfinite(table["measured_accuracy"].iloc[0])
    assert "network: not even 50% sparsity" in found.summary()
    assert "the accuracy difference stays within 2 points" in found.summary()
    assert json.loads(found.to_json())["curves"][0]["points"][0]["bound"] == found.curve().points[0].bound


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"tolerance": 0.0}, TheoryError, r"tolerance is 0.0; expected a positive number"),
        ({"tolerance": math.nan}, TheoryError, r"tolerance is nan"),
        ({"levels": ()}, TheoryError, r"levels are \[\]; expected increasing"),
        ({"levels": (0.5, 0.2)}, TheoryError, r"levels are \[0.5, 0.2\]; expected increasing"),
        ({"levels": (0.5, 1.2)}, TheoryError, r"expected increasing numbers in \[0, 1\]"),
        ({"bound": "tight"}, TheoryError, r"bound is 'tight'; expected 'predictive' or 'corrected'"),
        ({"confidence": 1.0}, TheoryError, r"confidence is 1.0; expected a number between 0 and 1"),
        ({"inputs": None}, DataError, r"the predictive bound needs inputs=… \(unlabelled\) or data=…; got neither"),
        ({"bound": "corrected"}, DataError, r"the corrected bound needs labelled data"),
        ({"layers": "head.*"}, SelectionError, r"selects nothing to compress"),
    ],
)
def test_what_cannot_be_searched_is_said(changed, error, message):
    arguments = {"tolerance": 0.1, "inputs": samples(20)[0], "levels": (0.5,)} | changed
    with pytest.raises(error, match=message):
        optimal_sparsity(network(), **arguments)


def test_a_network_without_a_linear_last_layer_has_no_corrected_bound():
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh())
    inputs, _ = samples(20)
    with pytest.raises(TheoryError, match=r"no corrected bound for this network: .*use bound='predictive'"):
        optimal_sparsity(model, tolerance=0.1, data=(inputs, torch.zeros(20, dtype=torch.long)), bound="corrected")
