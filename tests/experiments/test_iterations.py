"""The two ε of the theory and the bound over fine-tuning, against hand formulas on networks trained once more."""

import itertools
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shrinkscope.compression import MagnitudePruning, prune
from shrinkscope.divergence import student_t_kl
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.iterations import BOUND, DEFINITION, THEOREM, iteration_records, tracked
from shrinkscope.experiments.measure import Reference, epoch_records
from shrinkscope.experiments.networks import load_network_file
from shrinkscope.experiments.records import Cell, Record
from shrinkscope.experiments.snapshots import Snapshots
from shrinkscope.experiments.study import Bench
from shrinkscope.latent import Gaussian, StudentT, Uniform, WeightScale
from shrinkscope.latent.projection import GroupMeans

EPOCHS = 3
CONVOLUTIONS = ("conv1.weight", "conv2.weight")
LAYERS = (*CONVOLUTIONS, "head.weight")
LAST = Cell(trial=1, scope="last", method="lowest", level=0.5)
ALL = Cell(trial=1, scope="all", method="lowest", level=0.5)
# The wide Student-t has divergences small enough for its bound to be finite.
LATENTS = (
    "gaussian",
    "gaussian_rotated_grouped",
    "student_t_grouped",
    StudentT(name="t_wide", df=5.0, scale=WeightScale(factor=40.0)),
    Uniform(),
)

Tensors = dict[str, torch.Tensor]
Table = dict[tuple[int, str, str], Record]


@pytest.fixture(scope="module")
def study(tiny) -> Study:
    # A constant rate: then the network after t of T epochs is that of a fine-tuning of t epochs.
    finetuning = msgspec.structs.replace(tiny.finetuning, epochs=EPOCHS, schedule="constant", learning_rate=0.02)
    return msgspec.structs.replace(tiny, finetuning=finetuning, latents=LATENTS, curvature_samples=256)


@pytest.fixture(scope="module")
def bench(study, tmp_path_factory) -> Bench:
    made = Bench(study, tmp_path_factory.mktemp("networks"))
    made.carry_out(Cell(trial=1))
    return made


@pytest.fixture(scope="module")
def dense(bench) -> Tensors:
    return load_file(bench.network_path(Cell(trial=1)))


def records_of(bench: Bench, cell: Cell) -> Table:
    found = bench.carry_out(cell)
    table = {(record.epoch, record.layer, record.metric): record for record in found}
    assert len(table) == len(found)
    return table


def retrained(bench: Bench, cell: Cell, folder: Path) -> list[Tensors]:
    """The network of each epoch: pruned by hand, then fine-tuned anew for 1, 2, … epochs and read from its file."""
    model = load_network_file(bench.network_path(Cell(trial=1)), "digits")
    prune(model, MagnitudePruning(level=cell.level, scope="last" if cell.scope == "last" else "layer"))
    states = [dict(model.state_dict())]
    for epochs in range(1, EPOCHS + 1):
        shorter = msgspec.structs.replace(bench.study.finetuning, epochs=epochs)
        other = Bench(msgspec.structs.replace(bench.study, finetuning=shorter), folder / str(epochs))
        other.carry_out(Cell(trial=1))
        other.carry_out(cell)
        states.append(load_file(other.network_path(cell)))
    return states


def square(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).square().sum())


def grouped(tensor: torch.Tensor) -> np.ndarray:
    """Means over consecutive groups of ⌊n/100⌋ weights, the last of what is left."""
    flat = tensor.double().numpy().ravel()
    size = len(flat) // 100
    return np.array([flat[start : start + size].mean() for start in range(0, len(flat), size)])


def number(record: Record) -> float:
    assert record.value is not None
    return record.value


def by_hand(latent: str, scale: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> float:
    """KL between the laws at two weights, both of the scale that the dense weights have."""
    variance = float(scale.double().square().mean())
    if latent == "gaussian":
        return square(a, b) / (2 * variance)
    if latent == "t_wide":
        return float(student_t_kl(math.sqrt(square(a, b) / variance) / 40, dim=a.numel(), df=5.0))
    means = grouped(a) - grouped(b)
    return float(student_t_kl(float(np.linalg.norm(means)), dim=len(means), df=4.0))


@pytest.fixture(scope="module", params=[LAST, ALL], ids=["last", "all"])
def followed(request, bench, tmp_path_factory):
    cell = request.param
    return cell, records_of(bench, cell), retrained(bench, cell, tmp_path_factory.mktemp(cell.scope))


@pytest.mark.parametrize("latent", ["gaussian", "t_wide", "student_t_grouped"])
def test_both_quantities_agree_with_hand_formulas_on_networks_trained_again(followed, dense, latent):
    cell, found, states = followed
    layers = LAYERS if cell.scope == "all" else ("head.weight",)
    for epoch, state in enumerate(states):
        totals = np.zeros(3)
        for layer in layers:
            scale, last, now = dense[layer], states[-1][layer], state[layer]
            kls = np.array([by_hand(latent, scale, *pair) for pair in ((scale, last), (scale, now), (last, now))])
            totals += kls
            check(found, epoch, layer, latent, kls)
        check(found, epoch, "", latent, totals)


def check(found: Table, epoch: int, layer: str, latent: str, kls: np.ndarray) -> None:
    for prefix, other in ((DEFINITION, kls[1]), (THEOREM, kls[2])):
        record = found[epoch, layer, prefix + latent]
        assert (record.unit, record.status, record.reason) == ("nats", "exact", None)
        # float64 sums in another order: the error is relative to the divergences, not to their difference.
        assert record.value == pytest.approx(abs(kls[0] - other), abs=1e-11 * kls[0], rel=0)


def test_at_the_end_the_one_is_zero_and_the_other_is_ap3_itself(followed):
    _, found, _ = followed
    for layer in {layer for _, layer, metric in found if metric == DEFINITION + "gaussian"}:
        for latent in ("gaussian", "gaussian_rotated_grouped", "student_t_grouped", "t_wide"):
            assert found[EPOCHS, layer, DEFINITION + latent].value == 0.0
            ap3 = number(found[EPOCHS, layer, f"ap3_{latent}"])
            assert found[EPOCHS, layer, THEOREM + latent].value == ap3
            assert ap3 > 0


def test_only_what_is_trained_has_rows_and_only_what_has_a_divergence(followed):
    cell, found, _ = followed
    layers = {layer for _, layer, metric in found if metric.startswith((DEFINITION, THEOREM))}
    assert layers == ({"", "head.weight"} if cell.scope == "last" else {"", *LAYERS})
    assert {layer for _, layer, metric in found if metric.startswith(BOUND)} == {""}
    assert not [metric for _, _, metric in found if metric.endswith("uniform") and not metric.startswith("w2")]
    assert {epoch for epoch, _, metric in found if metric.startswith((DEFINITION, THEOREM, BOUND))} == {0, 1, 2, 3}


def softmax_loss(weight: np.ndarray, bias: np.ndarray, features: np.ndarray, targets: np.ndarray):
    """Mean cross-entropy and its gradient, weight and bias in one matrix."""
    logits = features @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    total = np.exp(logits).sum(axis=1, keepdims=True)
    rows = np.arange(len(targets))
    errors = np.exp(logits) / total
    loss = (np.log(total[:, 0]) - logits[rows, targets]).mean()
    errors[rows, targets] -= 1
    return loss, errors.T @ np.column_stack([features, np.ones(len(features))]) / len(targets)


@pytest.fixture(scope="module")
def last_layer(bench, dense):
    """The features that the last layer sees, with targets, in float64."""
    model = DigitsNet().double()
    model.load_state_dict(dense)
    model.eval()
    seen: list[torch.Tensor] = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    split = load_digits_split()
    with torch.no_grad():
        model(split.x_train.double())
    return seen[0].numpy(), split.y_train.numpy()


def test_the_bound_is_that_of_the_corrected_theorem_and_holds(bench, dense, last_layer, tmp_path):
    found, states = records_of(bench, LAST), retrained(bench, LAST, tmp_path)
    features, targets = last_layer
    assert all(torch.equal(state[name], dense[name]) for state in states for name in dense if "head" not in name)
    heads = [tuple(state[f"head.{part}"].double().numpy() for part in ("weight", "bias")) for state in (dense, *states)]
    losses = [softmax_loss(*head, features, targets)[0] for head in heads]
    slope = np.linalg.norm(softmax_loss(*heads[0], features, targets)[1])
    extended = np.column_stack([features, np.ones(len(features))])
    bend = np.linalg.eigvalsh(extended.T @ extended / len(features))[-1] / 2
    steps = [
        math.hypot(*(np.linalg.norm(before - after) for before, after in zip(*pair, strict=True)))
        for pair in itertools.pairwise(heads)
    ]
    bias = np.linalg.norm(heads[0][1] - heads[-1][1])
    variance = float(dense["head.weight"].double().square().mean())
    for epoch in range(EPOCHS + 1):
        record = found[epoch, "", BOUND + "gaussian"]
        epsilon = number(found[epoch, "", THEOREM + "gaussian"])
        later = by_hand("gaussian", *(s["head.weight"] for s in (dense, states[-1], states[epoch])))
        distance = math.sqrt(2 * variance * (epsilon + later)) + bias + sum(steps[epoch + 1 :])
        # The recorded one takes features and probabilities from forward passes in float32.
        assert record.value == pytest.approx(slope * distance + bend / 2 * distance**2, rel=1e-5)
        assert (record.unit, record.status) == ("nats", "bound")
        assert abs(losses[0] - losses[epoch + 1]) <= number(record)


def test_the_bound_is_never_violated(tiny, tmp_path):
    methods, levels = ("lowest", "highest", "random"), (0.1, 0.5, 0.8)
    bench = Bench(msgspec.structs.replace(tiny, latents=LATENTS), tmp_path)
    bench.carry_out(Cell(trial=1))
    held = 0
    for method, level in itertools.product(methods, levels):
        found = records_of(bench, Cell(trial=1, scope="last", method=method, level=level))
        for (epoch, _, metric), record in found.items():
            if metric.startswith(BOUND) and record.value is not None:
                measured = number(found[epoch, "", "pd_loss_train"])
                # Losses of float32 logits; the bound is on the exact ones.
                assert record.value >= measured - 1e-6
                held += 1
    assert held >= 2 * 27  # the Gaussian's at every epoch of every cell, and the wide Student-t's


def test_where_nothing_follows_the_reason_is_said(bench, study, tmp_path):
    last = records_of(bench, LAST)
    assert "group means says nothing about the weights" in str(last[0, "", BOUND + "student_t_grouped"].reason)
    other = Bench(msgspec.structs.replace(study, curvature_samples=0), tmp_path)
    other.carry_out(Cell(trial=1))
    everything = records_of(other, ALL)
    for epoch in range(EPOCHS + 1):
        record = everything[epoch, "", BOUND + "gaussian"]
        assert record.value is None
        assert "curvature_samples = 0" in str(record.reason)


def test_a_study_that_trains_everything_follows_every_layer(study, tmp_path):
    whole = Bench(msgspec.structs.replace(study, finetune="network"), tmp_path)
    whole.carry_out(Cell(trial=1))
    found = records_of(whole, LAST)
    # The convolutions were trained, too, and their distances count.
    assert number(found[EPOCHS, "conv1.weight", THEOREM + "gaussian"]) > 0
    assert found[1, "", BOUND + "gaussian"].status == "estimate"


def small() -> torch.nn.Module:
    """Few enough weights for a Hessian in full, smooth, with statistics that move in training."""
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.BatchNorm1d(5), torch.nn.Tanh(), torch.nn.Linear(5, 10)
    )


def at_statistics_of(dense: Tensors, state: Tensors) -> Tensors:
    """The parameters that do at the dense statistics what the state does at its own: solved for, channel by channel."""
    moved = {name: tensor.double() for name, tensor in state.items() if "running" not in name and "num" not in name}
    for channel in range(5):

        def line(s: Tensors, c: int = channel) -> np.ndarray:
            deviation = math.sqrt(float(s["2.running_var"][c]) + 1e-5)
            return np.array([1 / deviation, -float(s["2.running_mean"][c]) / deviation])

        slope, offset = float(state["2.weight"][channel]) * line(state) + [0, float(state["2.bias"][channel])]
        own = line(dense)
        moved["2.weight"][channel] = slope / own[0]
        moved["2.bias"][channel] = offset - slope / own[0] * own[1]
    return moved


def largest_eigenvalue(dense: Tensors, moved: Tensors, samples) -> float:
    """Of the Hessian in all parameters at once, at the dense statistics, in float64."""
    model = small().double()
    model.load_state_dict({name: tensor.clone() for name, tensor in dense.items()})
    model.eval()
    sizes = {name: tensor.shape for name, tensor in model.named_parameters()}
    flat = torch.cat([moved[name].double().reshape(-1) for name in sizes])

    def loss(vector: torch.Tensor) -> torch.Tensor:
        pieces = vector.split([shape.numel() for shape in sizes.values()])
        values = {name: piece.view(sizes[name]) for name, piece in zip(sizes, pieces, strict=True)}
        logits = torch.func.functional_call(model, values, (samples[0].double(),))
        return torch.nn.functional.cross_entropy(logits, samples[1])

    return float(torch.linalg.eigvalsh(torch.func.hessian(loss)(flat)).abs().max())


def test_where_all_layers_are_trained_the_bound_is_an_estimate_from_the_curvature_along_the_way(study, tmp_path):
    name = "experiments.test_iterations:small"
    bench = Bench(msgspec.structs.replace(study, network=name, latents=("gaussian",), curvature_samples=40), tmp_path)
    bench.carry_out(Cell(trial=1))
    found = records_of(bench, ALL)
    dense = load_file(bench.network_path(Cell(trial=1)))
    states = []
    for epochs in range(EPOCHS + 1):
        state = dict(dense)
        if epochs:
            finetuning = msgspec.structs.replace(bench.study.finetuning, epochs=epochs)
            other = Bench(msgspec.structs.replace(bench.study, finetuning=finetuning), tmp_path / str(epochs))
            other.carry_out(Cell(trial=1))
            other.carry_out(ALL)
            state = load_file(other.network_path(ALL))
        else:
            model = load_network_file(bench.network_path(Cell(trial=1)), name)
            prune(model, MagnitudePruning(level=ALL.level))
            state = dict(model.state_dict())
        states.append(at_statistics_of(dense, state))
    start = at_statistics_of(dense, dense)
    split = load_digits_split()
    some = np.linspace(0, len(split.x_train) - 1, 40).round().astype(int)
    samples = split.x_train[some], split.y_train[some]
    points = [torch.utils._pytree.tree_map(lambda a, b: (a + b) / 2, start, end) for end in (states[0], states[-1])]
    bend = max(largest_eigenvalue(dense, point, samples) for point in (start, states[0], states[-1], *points))
    layers = ("1.weight", "4.weight")
    variance = max(float(dense[layer].double().square().mean()) for layer in layers)
    rest = math.sqrt(sum(square(start[key], states[-1][key]) for key in start if key not in layers))
    steps = [math.sqrt(sum(square(a[key], b[key]) for key in a)) for a, b in itertools.pairwise(states)]
    model = small()
    model.load_state_dict(dense)
    model.eval()
    torch.nn.functional.cross_entropy(model(split.x_train), split.y_train).backward()
    slope = math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None))
    for epoch in range(EPOCHS + 1):
        record = found[epoch, "", BOUND + "gaussian"]
        epsilon = number(found[epoch, "", THEOREM + "gaussian"])
        later = sum(by_hand("gaussian", dense[key], states[-1][key], states[epoch][key]) for key in layers)
        distance = math.sqrt(2 * variance * (epsilon + later)) + rest + sum(steps[epoch:])
        # The eigenvalue is found to five per cent, from below; everything else in float32.
        assert 0.94 < number(record) / (slope * distance + bend / 2 * distance**2) < 1.001
        assert (record.unit, record.status) == ("nats", "estimate")
        assert number(record) >= number(found[epoch, "", "pd_loss_train"])


def headless() -> torch.nn.Module:
    """A network whose outputs are not those of its last linear layer."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.ReLU())


def test_a_network_without_a_linear_end_has_no_bound_and_says_so(study, tmp_path):
    other = Bench(msgspec.structs.replace(study, network="experiments.test_iterations:headless"), tmp_path)
    other.carry_out(Cell(trial=1))
    found = records_of(other, LAST)
    assert "not those of its last linear layer" in str(found[0, "", BOUND + "gaussian"].reason)
    assert found[0, "", DEFINITION + "gaussian"].value is not None


def test_only_exact_divergences_are_followed():
    names = ("gaussian", "student_t", "student_t_sampled", "uniform", "gaussian_rotated")
    assert [latent.name for latent in tracked(names)] == ["gaussian", "student_t", "gaussian_rotated"]
    own = Gaussian(name="mine", projection=GroupMeans(groups=3))
    assert tracked([own]) == [own]


def test_a_layer_of_zeros_has_no_scale_and_both_quantities_say_so(bench, tmp_path):
    dense = load_network_file(bench.network_path(Cell(trial=1)), "digits")
    with torch.no_grad():
        dense.get_parameter("head.weight").zero_()
    reference = Reference.of(dense, bench.data)
    model = load_network_file(bench.network_path(Cell(trial=1)), "digits")
    with Snapshots(["head.weight"], tmp_path) as path:
        path.keep(model)
        recorded = epoch_records(reference, model, bench.data, LATENTS, 0)
        found = {
            (record.layer, record.metric): record
            for record in iteration_records(reference.weights, path, recorded, LATENTS, "no bound")
        }
    for layer in ("head.weight", ""):
        assert found[layer, DEFINITION + "gaussian"].value is None
        assert "all dense weights are zero" in str(found[layer, THEOREM + "gaussian"].reason)
        assert found[layer, DEFINITION + "student_t_grouped"].value == 0.0
