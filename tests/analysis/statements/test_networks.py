import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from shrinkscope.analysis.statements import Head, last_layer_trials, layers_trials, predictive_trials, training_trials
from shrinkscope.analysis.statements.networks import with_weights
from shrinkscope.compression import MagnitudePruning, prune
from shrinkscope.errors import TheoryError


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def data(count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (count,), generator=generator)


def pruned(model: nn.Module, level: float, layers: str = "*") -> nn.Module:
    found = copy.deepcopy(model)
    prune(found, MagnitudePruning(level=level, layers=layers))
    return found


def test_the_head_is_the_network_as_a_function_of_its_last_weights():
    model, samples = network(), data()
    head = Head(model, samples)
    assert head.name == "4.weight"
    other = head.weights + 0.3
    changed = with_weights(model, {"4.weight": other})
    weight = changed[4].weight
    loss = cross_entropy(changed(samples[0]), samples[1])
    (gradient,) = torch.autograd.grad(loss, weight)
    assert head.loss(other) == pytest.approx(loss.item(), rel=1e-12)
    assert torch.allclose(head.slope(other)[1], gradient, rtol=1e-10, atol=1e-14)

    def function(flat: torch.Tensor) -> torch.Tensor:
        features = model[:4](samples[0]).detach()
        return cross_entropy(features @ flat.view(3, 6).T + model[4].bias.detach(), samples[1])

    dense = torch.autograd.functional.hessian(function, other.reshape(-1))
    assert head.largest_eigenvalue(other) == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-5)
    assert head.curvature >= head.largest_eigenvalue(other)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_on_a_last_layer_corrected_forms_hold_and_measure_the_true_difference(level):
    model, samples = network(), data()
    head, compressed = Head(model, samples), pruned(model, level, "4.weight")
    trials = list(last_layer_trials(head, compressed[4].weight))
    assert not [trial.name for trial in trials if trial.violated and trial.bound.form != "published"]
    before, after = (float(cross_entropy(net(samples[0]), samples[1]).detach()) for net in (model, compressed))
    lemma = next(trial for trial in trials if trial.name == ("Lemma 3.1", "corrected"))
    assert lemma.measured == pytest.approx(abs(after - before), rel=1e-9)
    assert lemma.bound.assumptions_hold is not False or math.isinf(lemma.bound.value)
    corollary = next(trial for trial in trials if trial.name == ("Corollary 3.2", "corrected"))
    assert {a.text: a.holds for a in corollary.bound.assumptions}[
        "the two networks differ in the compared weights only"
    ]


def test_the_chain_holds_from_the_first_compressed_layer_on():
    model, samples = network(), data()
    compressed = pruned(model, 0.4, "[24].weight")
    trials = list(layers_trials(model, compressed, samples))
    assert not [trial.name for trial in trials if trial.violated and trial.bound.form != "published"]
    assert sum(trial.bound.statement == "Corollary 3.4" for trial in trials) == 3  # from layer 2 to 4, in three forms
    theorem = next(trial for trial in trials if trial.name == ("Theorem 3.5", "corrected"))
    before, after = (float(cross_entropy(net(samples[0]), samples[1]).detach()) for net in (model, compressed))
    assert theorem.measured == pytest.approx(abs(after - before), rel=1e-9)


@pytest.mark.parametrize(("layers", "count"), [("none", 0), ("4.weight", 1)])
def test_a_chain_needs_two_layers(layers, count):
    model = network()
    compressed = model if layers == "none" else pruned(model, 0.5, layers)
    with pytest.raises(TheoryError, match=f"{count} layers from the first compressed one to the last"):
        list(layers_trials(model, compressed, data()))


@pytest.mark.parametrize("level", [0.2, 0.6, 0.95])
def test_predictive_bounds_hold_beside_the_measured_differences(level):
    model, samples = network(), data()
    compressed = pruned(model, level)
    trials = {trial.name[1]: trial for trial in predictive_trials(model, compressed, samples)}
    assert not any(trial.violated for trial in trials.values())
    with torch.no_grad():
        p, q = torch.softmax(model(samples[0]), 1), torch.softmax(compressed(samples[0]), 1)
    chosen = one_hot(samples[1], 3).bool()
    assert trials["E TV"].measured == pytest.approx(abs(float((p - q)[chosen].mean())), rel=1e-9)
    assert trials["E TV"].bound.value == pytest.approx(float((p - q).abs().sum(1).mean()) / 2, rel=1e-9)
    hits = [(net.argmax(1) == samples[1]).double().mean() for net in (p, q)]
    assert trials["disagreement"].measured == pytest.approx(float((hits[0] - hits[1]).abs()), abs=1e-12)


def test_training_the_head_again_keeps_the_mask_lowers_the_loss_and_the_bounds_hold():
    model, samples = network(), data()
    head = Head(model, samples)
    kept = head.weights.abs() > head.weights.abs().median()
    both = list(training_trials(head, kept, steps=30))
    trials = [trial for trial in both if trial.name[0] == "Theorem 3.6"]
    assert len(both) == 2 * len(trials)  # Definition 2.7 beside the theorem
    assert [trial.name[1] for trial in trials] == ["published", "corrected", "sharpened"] * 3
    assert not [trial.name for trial in trials if trial.violated and trial.bound.form != "published"]
    # At t = T the theorem's ε is AP3 itself, Definition 2.7's is 0.
    last = {trial.name[1]: trial.bound.constants for trial in trials[-3:]}
    assert last["sharpened"]["ε_t"] == 0
    assert last["corrected"]["ε_t"] == pytest.approx(last["sharpened"]["KL(P_ω*‖P_ω̃*)"])


def test_other_weights_go_into_a_copy():
    model = network()
    changed = with_weights(model, {"0.weight": torch.zeros(7, 5)})
    assert float(changed[0].weight.detach().abs().sum()) == 0
    assert float(model[0].weight.detach().abs().sum()) > 0
