"""Plans of a small network: exact sizes, predictions as measured, and what is refused."""

import copy

import msgspec
import pytest
import torch
from torch import nn

from references.residual import Residual
from shrinkscope.analysis.plan import NAMES, Plan, PlanRow, plan
from shrinkscope.analysis.plan.importance import importances
from shrinkscope.curvature import input_moments
from shrinkscope.errors import CompressionError, DataError, OutputError, SelectionError, StoreError
from shrinkscope.performance import predictive_divergence, synthetic_inputs
from shrinkscope.weights import compressible

INPUTS = torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    return Residual().to(torch.float64).eval()


@pytest.fixture(scope="module")
def found(network):
    return plan(network, sparsity=0.6, inputs=INPUTS, budget=2000.0)


@pytest.mark.parametrize("allocation", NAMES)
def test_a_plan_prunes_to_the_nearest_weight(network, allocation):
    made = plan(network, sparsity=0.55, inputs=INPUTS, allocation=allocation, budget=300.0)
    pruned = copy.deepcopy(network)
    mask = made.apply(pruned)
    total = sum(weight.numel() for weight in compressible(network).values())
    assert mask.removed() == made.removed == round(0.55 * total)
    assert sum(int((weight == 0).sum()) for weight in compressible(pruned).values()) == made.removed


def test_the_prediction_is_that_of_the_pruned_network_on_the_inputs_not_searched(network, found):
    pruned = copy.deepcopy(network)
    found.apply(pruned)
    expected = predictive_divergence(network, pruned, INPUTS[1::2])
    assert found.kl.value == pytest.approx(expected.kl.value, rel=1e-9)
    assert found.kl.standard_error == pytest.approx(expected.kl.standard_error, rel=1e-9)
    assert found.disagreement.value == expected.disagreement.value


def test_rows_say_what_each_layer_does(network, found):
    assert found.kl.value > 0.001  # something is at stake
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)
    for row in found.rows:
        alone = copy.deepcopy(network)
        Plan(rows=(row,), settings=found.settings).apply(alone)
        expected = predictive_divergence(network, alone, INPUTS[1::2]).kl.value
        assert row.cost_alone == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert row.lower <= row.level <= row.upper


def test_the_search_is_no_worse_than_its_start_on_what_it_was_not_shown(network, found):
    start = plan(network, sparsity=0.6, inputs=INPUTS, allocation=found.start)
    distances = []
    for made in (found, start):
        pruned = copy.deepcopy(network)
        made.apply(pruned)
        distances.append(predictive_divergence(network, pruned, INPUTS[1::2]).total_variation.value)
    assert distances[0] <= distances[1]


def test_the_same_arguments_give_the_same_plan(network, found):
    assert plan(network, sparsity=0.6, inputs=INPUTS, budget=2000.0) == found


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_plan_is_read_as_it_was_written(found, tmp_path, suffix):
    found.save(tmp_path / f"plan{suffix}")
    assert Plan.load(tmp_path / f"plan{suffix}") == found


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_written_plan_says_the_level_of_each_row(found, tmp_path, suffix):
    found.save(tmp_path / f"plan{suffix}")
    decode = {".toml": msgspec.toml.decode, ".json": msgspec.json.decode}[suffix]
    written = decode((tmp_path / f"plan{suffix}").read_bytes())["rows"]
    assert [row["kept"] for row in written] == [row.weights - row.removed for row in found.rows]
    assert [row["level"] for row in written] == [row.removed / row.weights for row in found.rows]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("level = 0.3333", None),  # rounded, still one of three weights
        ("kept = 2", None),
        (
            "level = 0.9",
            r"plan.toml contradicts itself: level of a is 0.9, but it removes 1 of 3 weights; removed counts",
        ),
        ("kept = 1", "kept of a is 1, but it removes 1 of 3 weights"),
        ('level = "a third"', "level of a is 'a third', but"),
        ("share_of = 1", "unknown field `share_of`"),
    ],
)
def test_what_a_hand_written_row_adds_must_agree(tmp_path, said, message):
    text = f'[settings]\nallocation = "hand"\n\n[[rows]]\nlayer = "a"\nweights = 3\nremoved = 1\n{said}\n'
    (tmp_path / "plan.toml").write_text(text)
    if message is None:
        assert Plan.load(tmp_path / "plan.toml").rows == (PlanRow(layer="a", weights=3, removed=1),)
    else:
        with pytest.raises(StoreError, match=message):
            Plan.load(tmp_path / "plan.toml")


def test_layers_left_alone_are_not_pruned(network):
    made = plan(network, sparsity=0.5, allocation="erk", keep=["head*", "first.weight"])
    assert [row.layer for row in made.rows] == ["second.weight", "third.weight"]
    assert made.kl is None
    assert "No inputs" in made.summary()


def test_a_drop_is_kept_within(network):
    made = plan(network, max_drop=0.3, inputs=INPUTS, budget=600.0)
    assert made.removed > 0
    assert made.disagreement.value <= 0.3
    milder = plan(network, max_drop=0.05, inputs=INPUTS, allocation="uniform")
    assert milder.disagreement.value <= 0.05
    assert milder.removed <= made.removed


def test_synthetic_inputs_serve_where_there_are_none(network):
    made = plan(network, sparsity=0.5, shape=(2, 6, 6), allocation="uniform")
    assert made.settings.source.startswith("synthetic")
    assert "of inputs made from the network itself (matched noise), not of data" in made.summary()
    assert made.kl is not None
    normalised = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4)).eval()
    fitted = plan(normalised, sparsity=0.5, shape=(2, 6, 6), allocation="uniform")
    same = synthetic_inputs(normalised, (2, 6, 6), 128, torch.Generator().manual_seed(0)).inputs
    given = plan(normalised, sparsity=0.5, inputs=same, allocation="uniform")
    # Sixty steps, each forwards and backwards over 128 inputs, are part of what it took.
    assert fitted.forward_equivalents - given.forward_equivalents == 3 * 60 * 128


def test_importances_are_magnitudes_times_norms_of_the_inputs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, groups=2, dtype=torch.float64), nn.Flatten())
    images = torch.randn(3, 4, 7, 7, dtype=torch.float64)
    weights = compressible(network)
    found = importances(network, weights, images)["0.weight"]
    weight = weights["0.weight"]
    for group in range(2):
        windows = nn.functional.unfold(images[:, 2 * group : 2 * group + 2], 3, stride=2)
        norms = (windows.square().sum(dim=(0, 2)) / len(images)).sqrt().view(2, 3, 3)
        part = slice(3 * group, 3 * group + 3)
        # Sums in another order.
        assert torch.allclose(found[part], weight[part].abs() * norms, rtol=1e-10)


def test_what_cannot_be_planned_is_refused(network, tmp_path, found):
    with pytest.raises(CompressionError, match="no target; expected one of sparsity, max_drop, size, flops"):
        plan(network)
    with pytest.raises(CompressionError, match="sparsity is 1.5; expected a fraction"):
        plan(network, sparsity=1.5)
    with pytest.raises(CompressionError, match="max_drop is 0; expected a fraction"):
        plan(network, max_drop=0)
    with pytest.raises(CompressionError, match="allocation is 'best'; expected one of joint"):
        plan(network, sparsity=0.5, allocation="best")  # type: ignore[arg-type]
    with pytest.raises(CompressionError, match="budget is 0; expected a positive number"):
        plan(network, sparsity=0.5, budget=0)
    with pytest.raises(SelectionError, match="leaves no layer to prune"):
        plan(network, sparsity=0.5, keep=["*"])
    with pytest.raises(DataError, match="allocation 'joint' needs inputs"):
        plan(network, sparsity=0.5)
    with pytest.raises(DataError, match="max_drop needs inputs"):
        plan(network, max_drop=0.1, allocation="erk")
    with pytest.raises(DataError, match="fewer than 4 inputs"):
        plan(network, sparsity=0.5, inputs=INPUTS[:3])
    with pytest.raises(DataError, match="max_drop of a regression needs calibration"):
        plan(network, max_drop=0.1, inputs=INPUTS, kind="regression", scale=1.0, allocation="uniform")
    with pytest.raises(OutputError, match="unknown suffix; expected .toml or .json"):
        found.save(tmp_path / "plan.txt")
    with pytest.raises(StoreError, match="cannot read a plan from"):
        Plan.load(tmp_path / "missing.toml")
    row = PlanRow(layer="head.weight", weights=20, removed=21)
    (tmp_path / "plan.json").write_text(msgspec.structs.replace(found, rows=(row,)).to_json())
    with pytest.raises(StoreError, match="removes 21 of 20 in head.weight"):
        Plan.load(tmp_path / "plan.json")
    with pytest.raises(CompressionError, match="the plan is for first.weight, which is not there"):
        found.apply(nn.Sequential(nn.Linear(2, 2)))
    other = copy.deepcopy(network)
    other.head = nn.Linear(5, 3)
    with pytest.raises(CompressionError, match="the plan belongs to another network"):
        found.apply(other)


def test_the_weights_that_stay_make_up_for_those_that_go(network, found):
    moments = input_moments(network, INPUTS).precisions()
    plain, moved = copy.deepcopy(network), copy.deepcopy(network)
    found.apply(plain)
    mask = found.apply(moved, precisions=moments)
    weights = compressible(moved)
    for row in found.rows:
        assert mask.removed(row.layer) == int((weights[row.layer] == 0).sum()) == row.removed
        dense, precision = compressible(network)[row.layer], moments[row.layer]
        lost = [precision.quadratic((dense - compressible(p)[row.layer]).flatten()) for p in (moved, plain)]
        # Damping trades a little of the optimum away, and the removal is greedy: no more than the plain one still.
        assert lost[0] <= lost[1]
        assert row.removed == 0 or lost[0] < lost[1]


def test_layers_that_lose_nothing_need_no_moments(network, found):
    first = found.rows[0]
    spared = msgspec.structs.replace(found, rows=(msgspec.structs.replace(first, removed=0), *found.rows[1:]))
    moments = input_moments(network, INPUTS, layers=[row.layer for row in found.rows[1:]]).precisions()
    pruned = copy.deepcopy(network)
    assert spared.apply(pruned, precisions=moments).removed(first.layer) == 0
    assert torch.equal(compressible(pruned)[first.layer], compressible(network)[first.layer])


@pytest.mark.parametrize("allocation", ["joint", "uniform"])
def test_a_plan_for_compensated_weights_predicts_what_carrying_it_out_gives(network, allocation):
    made = plan(network, sparsity=0.6, inputs=INPUTS, allocation=allocation, budget=1000.0, compensate=True)
    assert (made.settings.within, made.settings.damping) == ("compensated", 0.01)
    pruned = copy.deepcopy(network)
    mask = made.apply(pruned, precisions=input_moments(network, INPUTS).precisions())
    assert mask.removed() == made.removed
    expected = predictive_divergence(network, pruned, INPUTS[1::2])
    # The moments are summed over other batches, the same up to rounding; solving multiplies it by a condition number.
    assert made.kl.value == pytest.approx(expected.kl.value, rel=1e-6)


def test_a_compensated_plan_is_read_as_it_was_written_and_needs_moments(network, tmp_path):
    made = plan(network, sparsity=0.5, inputs=INPUTS, allocation="erk", compensate=True, damping=0.05)
    made.save(tmp_path / "plan.toml")
    found = Plan.load(tmp_path / "plan.toml")
    assert found == made
    with pytest.raises(CompressionError, match=r"for weights that make up for those that go: give input moments"):
        found.apply(copy.deepcopy(network))
    with pytest.raises(DataError, match="compensate needs inputs"):
        plan(network, sparsity=0.5, allocation="erk", compensate=True)


def test_a_plan_for_statistics_estimated_anew_predicts_those_of_each_batch(network):
    inputs = torch.cat([INPUTS, INPUTS + 0.3])
    made = plan(network, sparsity=0.6, inputs=inputs, allocation="lamp", reestimate=True)
    plain = plan(network, sparsity=0.6, inputs=inputs, allocation="lamp")
    assert [row.removed for row in made.rows] == [row.removed for row in plain.rows]  # lamp looks at no input
    own, judged = copy.deepcopy(network), inputs[1::2]
    made.apply(own)
    with torch.no_grad():
        before = own.first(judged)
        own.norm.running_mean.copy_(before.mean(dim=(0, 2, 3)))
        own.norm.running_var.copy_(before.var(dim=(0, 2, 3), correction=0))
    expected = predictive_divergence(network, own, judged).kl.value
    assert made.kl.value == pytest.approx(expected, rel=1e-9)
    assert made.kl.value != pytest.approx(plain.kl.value, rel=1e-3)
    assert "batch norm's statistics re-estimated afterwards." in made.summary()
    assert made.settings.reestimate


def test_what_cannot_be_planned_for_statistics_estimated_anew_is_said(network):
    options = {"sparsity": 0.5, "reestimate": True}
    with pytest.raises(DataError, match="reestimate needs batches of 32 inputs or more"):
        plan(network, inputs=INPUTS, **options)
    with pytest.raises(CompressionError, match="no batch norm statistics to re-estimate: leave out reestimate"):
        plan(nn.Sequential(nn.Linear(4, 3)).double(), inputs=torch.randn(64, 4, dtype=torch.float64), **options)


@pytest.mark.parametrize("options", [{"method": "bits", "bits": 3.0}, {"method": "n:m", "sparsity": 0.5}])
def test_choices_for_statistics_estimated_anew_predict_those_of_each_batch(network, options):
    inputs = torch.cat([INPUTS, INPUTS + 0.3])
    made = plan(network, inputs=inputs, reestimate=True, **options)
    own, judged = copy.deepcopy(network), inputs[1::2]
    made.apply(own)
    with torch.no_grad():
        before = own.first(judged)
        own.norm.running_mean.copy_(before.mean(dim=(0, 2, 3)))
        own.norm.running_var.copy_(before.var(dim=(0, 2, 3), correction=0))
    assert made.kl.value == pytest.approx(predictive_divergence(network, own, judged).kl.value, rel=1e-9)
    assert made.settings.reestimate
