import copy
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn
from torch.nn import functional

import shrinkscope
from shrinkscope.analysis.scan import scan
from shrinkscope.analysis.scan.methods import as_sweeps
from shrinkscope.compression import LowRank, StructuredPruning, compress, hold, prune
from shrinkscope.errors import CompressionError, DataError, LatentError, OutputError, SelectionError
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.experiments.zoo.cifar_resnet import CifarResNet
from shrinkscope.latent import NAMED
from shrinkscope.weights import LayerSelection

METHODS = ("lowest", "highest", "random", "structured", "quantise", "low_rank")
LEVELS = {
    "lowest": (0.5, 0.9),
    "highest": (0.2,),
    "random": (0.3, 0.6),
    "structured": (0.5,),
    "quantise": (4, 2),
    "low_rank": (0.4,),
}


class Attention(nn.Module):
    """Self-attention in functional operations, with a residual sum, an in-place activation and a shared layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.shared = nn.Linear(16, 16)
        self.scale = nn.Parameter(torch.ones(16, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, inputs, mask=None):
        hidden = functional.relu_(self.embed(inputs))
        query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
        weights = torch.softmax(query @ key.transpose(1, 2) / 4.0, dim=-1)
        if mask is not None:
            weights = weights * mask
        hidden = hidden + torch.matmul(weights, value)
        hidden += self.shared(self.norm(hidden))
        hidden = functional.gelu(self.shared(hidden)) + functional.linear(hidden, self.scale)
        return self.head(hidden.mean(dim=1))


class InPlace(nn.Module):
    """Writes into values, and into views of values, that later steps read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, inputs):
        inputs.mul_(0.5)
        hidden = self.first(inputs)
        half = hidden[:, :4]
        later = self.second(hidden)
        half.relu_()
        later.add_(hidden)
        return self.third(later + hidden)


class Branching(nn.Module):
    """Control flow on values: cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, inputs):
        hidden = self.first(inputs)
        if inputs.abs().sum() > 0:
            hidden = hidden.relu()
        return self.second(hidden)


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


def trained():
    """A network that tells digits apart, so that there is something to lose."""
    model, split = seeded(DigitsNet).train(), load_digits_split()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for index in torch.randperm(len(split.x_train)).repeat(6).split(128):
        optimiser.zero_grad()
        functional.cross_entropy(model(split.x_train[index]), split.y_train[index]).backward()
        optimiser.step()
    model.zero_grad()
    return model.eval()


def encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)
    return nn.Sequential(nn.Linear(6, 16), nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(16 * 7, 5))


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


NETWORKS = {
    "digits": (DigitsNet, (24, 1, 8, 8)),
    "resnet with shortcuts": (lambda: CifarResNet(1), (6, 3, 32, 32)),
    "transformer encoder": (encoder, (12, 7, 6)),
    "functional attention": (Attention, (12, 7, 6)),
    "in place": (InPlace, (16, 8)),
    "branching": (Branching, (16, 8)),
}


def reference(model, row, sweeps, inputs, targets):
    """The candidate applied by compress to a copy, and the whole copy run; distances computed with NumPy."""
    method = next(sweep for sweep in sweeps if sweep.name == row.method).methods[row.level]
    other = copy.deepcopy(model)
    method = replace(method, layers=LayerSelection(include=(row.layer,)))
    compress(other, method, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = model(inputs.clone()), other(inputs.clone())
    p, q = (torch.softmax(outputs.double(), 1).numpy() for outputs in (before, after))
    rows = np.arange(len(targets))
    delta = (
        dict(model.named_parameters())[row.layer].detach().double()
        - dict(other.named_parameters())[row.layer].detach().double()
    )
    return {
        "ap2": float(delta.square().sum()),
        "predictive_kl": float((p * np.log(p / q)).sum(1).mean()),
        "total_variation": float(np.abs(p - q).sum(1).mean() / 2),
        "disagreement": float((before.argmax(1) != after.argmax(1)).double().mean()),
        "loss": float((np.log(p[rows, targets]) - np.log(q[rows, targets])).mean()),
        "accuracy": float((after.argmax(1) == targets).double().mean() - (before.argmax(1) == targets).double().mean()),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_is_that_of_compressing_and_running_the_whole_network(name):
    make, shape = NETWORKS[name]
    model, inputs = seeded(make), draw(*shape)
    with torch.no_grad():
        targets = model(inputs.clone()).argmax(1)
    # Three batches, the last one smaller.
    found = scan(
        model, data=(inputs, targets), methods=METHODS, levels=LEVELS, batch_size=shape[0] // 2 - 1, early_stop=False
    )
    sweeps = as_sweeps(METHODS, LEVELS)
    assert found.cost.prefix_cached is (name != "branching")
    measured = [row for row in found.rows if row.measurable]
    assert len(measured) > 0.9 * len(found.rows)
    for row in measured:
        expected = reference(model, row, sweeps, inputs, targets)
        got = {
            "ap2": row.ap2,
            **{column: getattr(row, column).value for column in ("predictive_kl", "total_variation", "disagreement")},
            **{metric: difference.difference for metric, difference in row.measured.items()},
        }
        # float32 networks: the same operations in the same order up to the batch size, which moves the last bits.
        assert got == pytest.approx(expected, abs=1e-6, rel=1e-5), (row.layer, row.description)


def test_a_pass_costs_only_what_comes_after_the_layer():
    model, inputs = seeded(lambda: CifarResNet(1)), draw(4, 3, 32, 32)
    found = scan(model, inputs=inputs, methods=["lowest"], levels=[0.3, 0.6])
    costs = {row.layer: row.forward_equivalents for row in found.rows if row.level == 0.6}
    # Multiply-adds by hand: 32² pixels in the first stage, 16² and 8² in the others; 3×3 kernels; the head 64 × 10.
    work = [3 * 16 * 9 * 1024, 2 * [16 * 16 * 9 * 1024], [16 * 32 * 9 * 256, 32 * 32 * 9 * 256]]
    flat = [work[0], *work[1], *work[2], 32 * 64 * 9 * 64, 64 * 64 * 9 * 64, 640]
    total = sum(flat)
    assert list(costs.values()) == pytest.approx([sum(flat[index:]) / total for index in range(len(flat))], rel=1e-9)
    # Two whole passes to begin with, one for the prefix on its way, the suffixes.
    walked = 1 - flat[-1] / total
    assert found.cost.forward_equivalents == pytest.approx(2 + walked + 2 * sum(costs.values()), rel=1e-9)
    assert found.cost.held > 0


def test_what_does_not_fit_into_memory_is_computed_again_and_gives_the_same_numbers():
    model, inputs = seeded(DigitsNet), draw(30, 1, 8, 8)
    # Before conv2 a sample holds 12 × 4 × 4 numbers: room for two of the three batches of ten.
    sizes = {"none": 0, "two batches": 20 * 12 * 16 * 4, "all": 1 << 30}
    found = {
        name: scan(model, inputs=inputs, batch_size=10, memory=size, early_stop=False) for name, size in sizes.items()
    }
    kls = {name: [row.predictive_kl.value for row in result.rows] for name, result in found.items()}
    assert kls["none"] == pytest.approx(kls["all"], abs=1e-9)
    assert kls["two batches"] == pytest.approx(kls["all"], abs=1e-9)
    spent = {name: result.cost.forward_equivalents for name, result in found.items()}
    assert spent["all"] < spent["two batches"] < spent["none"]
    assert found["none"].cost.held == 0
    assert 0 < found["two batches"].cost.held <= sizes["two batches"]


def test_a_network_that_cannot_be_traced_is_run_whole_and_says_so():
    found = scan(seeded(Branching), inputs=draw(8, 8), methods=["lowest"], levels=[0.5])
    assert not found.cost.prefix_cached
    assert "control flow" in found.cost.reason
    assert [row.forward_equivalents for row in found.rows] == [1.0, 1.0]
    assert "whole forward passes, because" in found.summary()


class Remembering(nn.Module):
    """Counts its calls in a buffer and adds the count to the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs):
        self.calls += 1
        return self.second(self.first(inputs).relu()) * self.calls


def test_a_network_that_changes_its_buffers_begins_each_pass_from_the_same_ones():
    model = seeded(Remembering)
    found = scan(model, inputs=draw(8, 8), methods=["lowest"], levels=[0.5])
    assert "changes its buffers" in found.cost.reason
    assert float(model.calls) == 0
    for row in found.rows:
        expected = reference(model, row, as_sweeps(["lowest"], [0.5]), draw(8, 8), torch.zeros(8).long())
        model.calls.zero_()
        assert row.predictive_kl.value == pytest.approx(expected["predictive_kl"], abs=1e-6)


class Unused(nn.Module):
    """Has a layer that its forward pass does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, inputs):
        return self.used(inputs)


def test_what_changes_nothing_is_not_measurable_and_never_the_most_robust():
    found = scan(seeded(Unused), inputs=draw(8, 8), methods=["lowest"], levels=[0.01, 0.5])
    rows = {(row.layer, row.level): row for row in found.rows}
    # 1 % of 32 weights rounds to none.
    assert rows["used.weight", 0.01].reason.startswith("changes nothing")
    assert rows["used.weight", 0.01].ap2 is None
    assert rows["unused.weight", 0.5].reason.startswith("changes no output: 16 weights differ")
    assert [row.measurable for row in found.rows] == [False, True, False, False]
    ranking = found.ranking()
    assert list(ranking["layer"]) == ["used.weight", "unused.weight"]
    assert np.isnan(ranking["score"][1])
    assert list(found.top()["layer"]) == ["used.weight"]


def test_tied_weights_change_together_and_say_so():
    model = seeded(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)))
    model[2].weight = model[0].weight
    found = scan(model, inputs=draw(8, 8), methods=["lowest"], levels=[0.5])
    assert [row.layer for row in found.rows] == ["0.weight", "3.weight"]
    assert found.rows[0].reason == "tied with 2.weight: all change together"
    expected = reference(model, found.rows[0], as_sweeps(["lowest"], [0.5]), draw(8, 8), torch.zeros(8).long())
    assert found.rows[0].predictive_kl.value == pytest.approx(expected["predictive_kl"], abs=1e-6)


def test_layers_that_cannot_be_written_or_pruned_by_channel_say_why():
    model = seeded(lambda: nn.Sequential(nn.ConvTranspose1d(2, 4, 3), nn.Flatten(), nn.Linear(24, 8), nn.Linear(8, 3)))
    hold(model, prune(model, shrinkscope.MagnitudePruning(level=0.5, layers="2.weight")))
    found = scan(model, inputs=draw(6, 2, 4), methods=["structured", "quantise"], levels={"quantise": [3]})
    reasons = {(row.layer, row.method): row.reason for row in found.rows}
    assert "transposed convolution" in reasons["0.weight", "structured"]
    assert reasons["0.weight", "quantise"] is None
    assert "held by a mask" in reasons["2.weight", "quantise"]
    assert reasons["3.weight", "quantise"] is None


def test_a_layer_with_nan_has_rows_with_a_reason_and_the_others_their_numbers():
    model = seeded(Unused)
    with torch.no_grad():
        model.unused.weight[0, 0] = torch.nan
    found = scan(model, inputs=draw(8, 8), methods=["lowest", "random"], levels=[0.5])
    reasons = [(row.layer, row.measurable, row.reason) for row in found.rows]
    assert reasons[0][1]
    assert reasons[1][1]
    assert "1 NaN or infinite values" in reasons[2][2]
    assert "NaN or infinite on the dense side" in reasons[3][2]


def test_a_candidate_with_infinite_outputs_is_collapsed_and_not_measurable():
    class Inverse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 3)

        def forward(self, inputs):
            return self.second(1 / self.first(inputs))

    found = scan(seeded(Inverse), inputs=draw(8, 4), methods=["lowest"], levels=[0.5, 0.9, 1.0])
    first = [row for row in found.rows if row.layer == "first.weight"]
    assert "NaN or infinite logits" in first[-1].reason or first[-1].reason.startswith("not run")
    assert not first[-1].measurable


def test_harsher_levels_of_a_collapsed_layer_are_not_run_unless_asked_for():
    model, inputs = trained(), load_digits_split().x_test[:64]
    levels = [0.3, 0.9, 0.99, 1.0]
    found = scan(model, inputs=inputs, methods=["highest"], levels=levels)
    whole = scan(model, inputs=inputs, methods=["highest"], levels=levels, early_stop=False)
    assert whole.cost.not_run == 0
    assert found.cost.not_run > 0
    for row, full in zip(found.rows, whole.rows, strict=True):
        agreeing = round(64 * (1 - full.disagreement.value))
        # By hand for ten classes and 64 inputs: 6.4 + 2 √(64 · 0.09) = 11.2.
        assert full.collapsed is (agreeing <= 11)
        if row.reason and row.reason.startswith("not run: collapsed at level"):
            stopped = float(row.reason.split()[5])
            assert next(r for r in whole.rows if (r.layer, r.level) == (row.layer, stopped)).collapsed
            assert row.predictive_kl is None
            assert row.ap2 == full.ap2
        else:
            assert row.predictive_kl == full.predictive_kl
    assert found.ranking()["score"].notna().all()


def state_of(model):
    tensors = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    flags = [(module.training, sorted(vars(module))) for module in model.modules()]
    gradients = [parameter.requires_grad for parameter in model.parameters()]
    return tensors, flags, gradients, [id(parameter) for parameter in model.parameters()]


def assert_same_state(before, after):
    assert before[1:] == after[1:]
    for name, (place, tensor) in before[0].items():
        assert after[0][name][0] == place
        assert torch.equal(after[0][name][1], tensor)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_left_as_it_was_found(name):
    make, shape = NETWORKS[name]
    model = seeded(make).train()
    list(model.modules())[1].eval()
    inputs = draw(*shape)
    kept = inputs.clone()
    before = state_of(model)
    scan(model, inputs=inputs, methods=["lowest"], levels=[0.5])
    assert_same_state(before, state_of(model))
    assert torch.equal(inputs, kept)


def test_the_network_is_left_as_it_was_found_when_interrupted_within_a_pass():
    model, passes = seeded(DigitsNet), []

    def interrupt(*_):
        passes.append(None)
        if len(passes) == 6:
            raise KeyboardInterrupt

    handle = model.head.register_forward_hook(interrupt)
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        scan(model, inputs=draw(8, 1, 8, 8), methods=["lowest"])
    assert_same_state(before, state_of(model))
    handle.remove()


def test_without_inputs_the_weights_alone_are_scanned():
    found = scan(seeded(DigitsNet), methods=["lowest"], levels=[0.5], latents=["gaussian"])
    assert all(row.measurable and row.predictive_kl is None for row in found.rows)
    assert found.damage == "relative_ap2"
    assert found.cost.forward_equivalents == 0
    for row in found.rows:
        # AP3 Gaussian at the layer's own scale is d/2 times the relative AP2.
        assert row.divergences["ap3_gaussian"].value == pytest.approx(row.parameters / 2 * row.relative_ap2, rel=1e-9)


def test_regression_is_measured_on_data_and_has_no_predictions():
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
    inputs = draw(20, 4)
    targets = draw(20, 1)
    metrics = {"error": squared}
    found = scan(model, data=(inputs, targets), methods=["lowest"], levels=[0.5], metrics=metrics)
    assert all("which may mean anything; say kind='regression'" in row.reason for row in found.rows)
    assert all(row.measured["error"].difference is not None for row in found.rows)
    with pytest.raises(DataError, match="regression"):
        scan(model, inputs=inputs, methods=["lowest"])


def squared(outputs, targets):
    return (outputs - targets).square().mean(dim=1)


def test_measured_differences_have_the_paired_standard_error():
    model, inputs = seeded(DigitsNet), draw(40, 1, 8, 8)
    targets = torch.arange(40) % 10
    found = scan(model, data=(inputs, targets), methods=["lowest"], levels=[0.7], layers="head.weight")
    other = copy.deepcopy(model)
    prune(other, shrinkscope.MagnitudePruning(level=0.7, layers="head.weight"))
    with torch.no_grad():
        losses = [functional.cross_entropy(net(inputs).double(), targets, reduction="none") for net in (model, other)]
    change = (losses[1] - losses[0]).numpy()
    assert found.rows[0].measured["loss"].standard_error == pytest.approx(change.std(ddof=1) / 40**0.5, rel=1e-6)
    table = found.to_dataframe()
    assert table["loss_difference"][0] == pytest.approx(change.mean(), rel=1e-6)
    assert table["loss_difference_standard_error"][0] == found.rows[0].measured["loss"].standard_error


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": []}, CompressionError, "expected a list of lowest"),
        ({"methods": "lowest"}, CompressionError, "expected a list of lowest"),
        ({"methods": ["smallest"]}, CompressionError, "unknown method 'smallest'"),
        ({"methods": [3]}, CompressionError, "a int is no compression method"),
        ({"methods": ["lowest", "lowest"]}, CompressionError, "lowest is given twice"),
        ({"levels": {"random": [0.5]}}, CompressionError, "levels are given for random"),
        ({"levels": []}, CompressionError, "expected at least one"),
        ({"levels": [0.5, 0.5]}, CompressionError, "each once"),
        ({"methods": ["quantise"], "levels": [0.5]}, CompressionError, "bits is 0.5"),
        ({"methods": ["lowest"], "levels": [2]}, CompressionError, "expected a fraction"),
        ({"layers": "nothing*"}, SelectionError, "selects nothing to scan; the layers are conv1.weight"),
        ({"inputs": torch.zeros(0, 1, 8, 8)}, DataError, "no sample"),
        ({"inputs": torch.zeros(3, 7)}, DataError, "the network failed on inputs of shape"),
        ({"latents": ["cauchy"]}, LatentError, "unknown latent"),
        ({"metrics": {"error": squared}, "cache": "x"}, DataError, "whether a function has changed"),
    ],
)
def test_what_cannot_be_scanned_is_an_error_of_one_line(options, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        scan(seeded(DigitsNet), **options)
    assert "\n" not in str(caught.value)


def test_dense_outputs_that_are_not_finite_are_an_error():
    model = seeded(DigitsNet)
    with torch.no_grad():
        model.conv1.weight[0, 0, 0, 0] = torch.inf
    with pytest.raises(DataError, match="dense returned NaN or infinite logits"):
        scan(model, inputs=draw(8, 1, 8, 8))


def test_methods_have_names_and_levels_from_mild_to_harsh():
    sweeps = as_sweeps(
        ["quantise", LowRank(energy=0.5), LowRank(rank=3), StructuredPruning(level=0, order="random", norm="l2")], None
    )
    assert [sweep.name for sweep in sweeps] == ["quantise", "low_rank_energy", "low_rank_rank", "structured_random"]
    assert [next(iter(sweep.methods)) for sweep in sweeps] == [8, 0.99, 64, 0.3]
    for sweep in sweeps:
        levels = list(sweep.methods)
        assert all((a < b) is (sweep.quantity == "level") for a, b in pairwise(levels))
        assert all(getattr(method, sweep.quantity) == level for level, method in sweep.methods.items())
    names = [sweep.name for sweep in as_sweeps([StructuredPruning(level=0, order="highest", norm="l2")], [0.5])]
    assert names == ["structured_highest_l2"]


def test_the_result_as_table_text_figure_and_files(tmp_path):
    inputs = draw(16, 1, 8, 8)
    found = scan(seeded(DigitsNet), inputs=inputs, methods=["lowest", "highest"], levels=[0.001, 0.5], latents=NAMED)
    table = found.to_dataframe()
    assert len(table) == 12
    assert {"predictive_kl_standard_error", "ap3_gaussian", "w2_uniform", "collapsed"} <= set(table.columns)
    found.save(tmp_path / "scan.csv")
    found.save(tmp_path / "scan.parquet")
    found.save(tmp_path / "scan.json")
    read = json.loads((tmp_path / "scan.json").read_text())
    assert [row["layer"] for row in read["rows"]] == list(table["layer"])
    assert read["cost"]["candidates"] == 12
    with pytest.raises(OutputError, match="unknown suffix"):
        found.save(tmp_path / "scan.txt")
    text = found.summary()
    assert "DigitsNet: 3 layers, lowest, highest: 12 candidates, measured on 16 inputs." in text
    assert "Not measured" in text
    figure = found.plot()
    figure.savefig(tmp_path / "scan.png")
    drawn = figure.axes[0].images[0].get_array()
    assert drawn.shape == (3, 4)
    assert int(drawn.mask.sum()) == sum(row.predictive_kl is None for row in found.rows)
    with pytest.raises(SelectionError, match="no column 'size'"):
        found.top(by="size")
    with pytest.raises(SelectionError, match="no method 'random'"):
        found.ranking(method="random")
    with pytest.raises(SelectionError, match="measured nowhere"):
        scan(seeded(DigitsNet), methods=["lowest"], levels=[0.0]).plot("ap2")


def test_ranking_is_the_mean_rank_over_the_levels():
    found = scan(seeded(DigitsNet), inputs=draw(32, 1, 8, 8), methods=["lowest", "quantise"], early_stop=False)
    table = found.to_dataframe()
    scores = {name: [] for name in dict.fromkeys(table["layer"])}
    for _, cell in table.groupby(["method", "level"]):
        values = cell.dropna(subset=["predictive_kl"]).set_index("layer")["predictive_kl"]
        for name, value in values.items():
            scores[name].append(sum(values < value) / (len(values) - 1))
    expected = {name: sum(found) / len(found) for name, found in scores.items()}
    ranking = found.ranking().set_index("layer")["score"]
    assert ranking.to_dict() == pytest.approx(expected)
    assert list(ranking) == sorted(ranking, reverse=True)


def test_progress_counts_every_candidate():
    told = []
    scan(seeded(DigitsNet), methods=["lowest"], progress=lambda *args: told.append(args))
    assert told == [(index + 1, 12, told[index][2]) for index in range(12)]


def test_scan_is_part_of_the_public_interface():
    assert shrinkscope.scan is scan
    assert isinstance(scan(seeded(DigitsNet), methods=["lowest"]), shrinkscope.Scan)
