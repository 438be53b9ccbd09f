"""Plans of channels: what goes together, what that takes, and that a masked network is what the smaller one is."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from shrinkscope.analysis.plan import Plan, plan
from shrinkscope.analysis.plan.channels.groups import channel_groups
from shrinkscope.analysis.plan.channels.information import gate_information, ordered
from shrinkscope.analysis.plan.channels.path import ChannelPath
from shrinkscope.analysis.plan.prices import counted_operations
from shrinkscope.analysis.traced.follow import followed_channels
from shrinkscope.curvature import input_moments
from shrinkscope.errors import CompressionError, DataError, IntegrationError, StoreError
from shrinkscope.integrations import export
from shrinkscope.performance import Reading, predictive_divergence
from shrinkscope.weights import compressible

INPUTS = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Joined(nn.Module):
    """A sum with a projected shortcut, a depthwise layer, a gate, a concatenation and a flattened end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.widen, self.bn1 = nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12)
        self.deep, self.bn2 = nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12)
        self.narrow, self.bn3 = nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.short = nn.Conv2d(8, 6, 1)
        self.side = nn.Conv2d(6, 4, 3, padding=1, stride=2)
        self.bn4 = nn.BatchNorm2d(10)
        self.hidden, self.last = nn.Linear(10 * 16, 9), nn.Linear(9, 4)
        for norm in (self.bn0, self.bn1, self.bn2, self.bn3, self.bn4):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, images):
        stem = functional.relu6(self.bn0(self.stem(images)))
        deep = self.bn2(self.deep(self.bn1(self.widen(stem)).relu())).relu()
        stream = self.bn3(self.narrow(self.gated(deep))) + self.short(stem)
        both = torch.cat([functional.avg_pool2d(stream, 2), self.side(stream)], dim=1)
        return 3 * self.last(self.hidden(self.bn4(both).relu().flatten(1)).relu())

    def gated(self, deep):
        return deep


class Gated(Joined):
    """With a gate that is given its shape by an index."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(12, 12)

    def gated(self, deep):
        return deep * torch.sigmoid(self.gate(deep.mean((2, 3))))[:, :, None, None]


@pytest.fixture(scope="module")
def network():
    return Joined().to(torch.float64).eval()


def planned(network, **given):
    if not given.keys() & {"flops", "size", "sparsity", "max_drop"}:
        given["flops"] = 0.5
    return plan(network, method="structured", inputs=INPUTS, budget=1500.0, **given)


def applied(network, made):
    changed = copy.deepcopy(network)
    made.apply(changed)
    return changed


def groups_of(network, inputs=INPUTS):
    channels = followed_channels(network, inputs)
    return {group.name: (group.layers, len(group.classes)) for group in channel_groups(channels, channels.layers)}


def test_channels_that_are_added_or_go_through_a_depthwise_layer_are_one(network):
    assert groups_of(network) == {
        "stem.weight": (("stem.weight",), 8),
        "widen.weight": (("widen.weight", "deep.weight"), 12),
        "narrow.weight": (("narrow.weight", "short.weight"), 6),
        "side.weight": (("side.weight",), 4),
        "hidden.weight": (("hidden.weight",), 9),
    }


@pytest.mark.parametrize("allocation", ["joint", "additive", "uniform", "global"])
@pytest.mark.parametrize("target", [{"flops": 0.4}, {"size": "0.5x"}, {"sparsity": 0.6}])
def test_the_smaller_network_gives_what_the_masked_one_gives_and_takes_what_was_promised(network, allocation, target):
    made = planned(network, allocation=allocation, **target)
    masked, smaller = applied(network, made), made.narrowed(network)
    # Float64; sums of fewer terms, which differ by rounding alone.
    torch.testing.assert_close(smaller(INPUTS), masked(INPUTS), rtol=1e-10, atol=1e-10)
    expected = predictive_divergence(network, smaller, INPUTS[1::2])
    assert made.kl.value == pytest.approx(expected.kl.value, abs=1e-6, rel=1e-6)
    weights = compressible(smaller)
    operations, _ = counted_operations(smaller, weights, INPUTS[:1])
    assert made.operations == operations
    assert made.size == sum(t.numel() * t.element_size() for t in smaller.state_dict().values())
    assert {row.layer: row.kept for row in made.rows} == {name: weight.numel() for name, weight in weights.items()}
    (currency, asked), dense = next(iter(target.items())), compressible(network)
    if currency == "flops":
        assert operations <= asked * counted_operations(network, dense, INPUTS[:1])[0]
    elif currency == "size":
        assert made.size <= 0.5 * sum(t.numel() * t.element_size() for t in network.state_dict().values())
    else:
        assert made.sparsity >= asked


def test_what_is_masked_is_what_is_removed(network):
    made = planned(network)
    mask, changed = made.mask(network), applied(network, made)
    assert mask.removed() == made.removed + sum(mask.removed(one.name) for one in made.vectors)
    parameters = dict(changed.named_parameters())
    assert all(not parameters[name][~mask[name]].any() for name in mask)
    assert {name.partition(".")[0] for name in mask} >= {"bn1", "bn2"}
    assert sum(group.removed for group in made.groups) > 0
    found = made.compressed(dict(network.named_parameters()))
    assert all(torch.equal(found[name], parameters[name]) for name in parameters)


def test_what_cannot_be_followed_keeps_what_it_reads_and_nothing_else():
    network = Gated().to(torch.float64).eval()
    assert set(groups_of(network)) == {"stem.weight", "narrow.weight", "side.weight", "hidden.weight"}


class Excited(nn.Module):
    """A gate by a convolution, as in squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 4, 1)

    def forward(self, images):
        hidden = self.first(images).relu()
        gate = functional.adaptive_avg_pool2d(hidden, 1)
        return self.last(hidden * self.gate(gate).sigmoid()).mean((2, 3))


def test_the_masked_network_with_a_gate_is_the_smaller_one():
    torch.manual_seed(0)
    network = Excited().to(torch.float64).eval()
    assert groups_of(network) == {"first.weight": (("first.weight", "gate.weight"), 6)}
    made = planned(network, sparsity=0.5)
    assert made.removed
    torch.testing.assert_close(made.narrowed(network)(INPUTS), applied(network, made)(INPUTS), rtol=1e-10, atol=1e-10)


class Odd(nn.Module):
    """Each of its hidden layers is read by something that a zero does not go through, or that looks at all channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
        self.d, self.norm = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
        self.e, self.plain, self.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Linear(4, 3)

    def forward(self, images):
        a = self.a(images) + 1
        b = self.b(a).softmax(dim=1)
        d = self.norm(self.d(self.c(b).permute(0, 1, 3, 2)))
        return self.last(self.plain(self.e(d)).mean((2, 3)))


def test_what_channels_cannot_be_followed_through_keeps_them():
    network = Odd().to(torch.float64).eval()
    assert groups_of(network) == {}
    with pytest.raises(CompressionError, match="no channel of a.weight, .* can go: each is an output of the network"):
        planned(network)


def test_layers_that_are_kept_lose_neither_channels_nor_inputs(network):
    made = planned(network, keep=["side*"], flops=0.7)
    assert {group.name for group in made.groups} == {"stem.weight", "widen.weight", "hidden.weight"}
    changed = applied(network, made)
    assert torch.equal(changed.side.weight, network.side.weight)
    assert "side.weight" not in {row.layer for row in made.rows}


class Small(nn.Module):
    """Two groups, so that all combinations can be tried."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 7, 3), nn.Linear(7, 5)

    def forward(self, images):
        return 6 * self.last(self.second(self.first(images).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("share", [0.7, 0.4])
def test_the_search_is_near_the_best_of_all_combinations(share):
    network = Small().to(torch.float64).eval()
    made = planned(network, flops=share)
    found = predictive_divergence(network, applied(network, made), INPUTS[::2]).total_variation.value
    channels = followed_channels(network, INPUTS)
    groups, _, _ = ordered(network, channels, channel_groups(channels, channels.layers), [INPUTS[::2]], Reading())
    rows = [len(group.classes) for group in groups]
    assert rows == [8, 7]
    best = float("inf")
    for one, other in itertools.product(range(8), range(7)):
        # 36 places of the first convolution, 16 of the second, one of the last layer; 27 and 9 weights a row and pair.
        first, second = 8 - one, 7 - other
        if 36 * 27 * first + 16 * 9 * first * second + 5 * second > share * (36 * 27 * 8 + 16 * 9 * 56 + 35):
            continue
        changed = copy.deepcopy(network)
        with torch.no_grad():
            for group, gone in zip(groups, (one, other), strict=True):
                path = ChannelPath(network, channels, group)
                path.write([changed.get_parameter(name) for name in path.names], gone)
        best = min(best, predictive_divergence(network, changed, INPUTS[::2]).total_variation.value)
    # A search that exchanges neighbours may end beside the best of all.
    assert best <= found * (1 + 1e-9) <= 1.1 * best


def test_scores_are_those_of_gates_one_at_a_time(network):
    """Closed by a little, a gate costs half its score times the square, in nats: the Fisher information of the gate."""
    channels = followed_channels(network, INPUTS)
    scores, spent = gate_information(network, channels, [INPUTS] * 100, Reading())
    assert spent == 2400 * 9
    step = 1e-3
    for reader in ("narrow", "last", "side"):
        for number in sorted(set(channels.layers[f"{reader}.weight"].read)):
            readers = {key: one.read for key, one in channels.layers.items() if number in one.read}
            changed = copy.deepcopy(network)
            with torch.no_grad():
                for key, read in readers.items():
                    at = [place for place, other in enumerate(read) if other == number]
                    changed.get_parameter(key)[:, at] *= 1 - step
            expected = 2 * predictive_divergence(network, changed, INPUTS).kl.value / step**2
            # 9,600 labels; the information of single labels spreads by less than twice its mean, so that four standard
            # errors are 8 %: fails once in 15,000 such tables of 20. The third order of the KL is below 1 %.
            assert scores[number] == pytest.approx(expected, rel=0.09, abs=1e-9)


def test_the_change_along_a_path_is_its_first_order(network):
    channels = followed_channels(network, INPUTS)
    for group in channel_groups(channels, channels.layers):
        path = ChannelPath(network, channels, group)
        changed = copy.deepcopy(network)
        parameters = [changed.get_parameter(name) for name in path.names]
        gradients = [torch.randn(p.shape, dtype=p.dtype) for p in parameters]
        dense = [parameter.detach().clone() for parameter in parameters]
        found = path.change(*gradients)
        for position in range(path.size + 1):
            with torch.no_grad():
                path.write(parameters, position)
            moved = sum(
                float((g * (p.detach() - d)).sum()) for g, p, d in zip(gradients, parameters, dense, strict=True)
            )
            assert float(found[position]) == pytest.approx(moved, abs=1e-12)


def test_the_same_plan_comes_back_from_a_file_and_from_the_same_arguments(network, tmp_path):
    made = planned(network)
    for suffix in (".toml", ".json"):
        made.save(tmp_path / f"plan{suffix}")
        assert Plan.load(tmp_path / f"plan{suffix}") == made
    assert planned(network) == made
    assert "of 12 channels" in made.summary()
    assert made.start in ("additive", "uniform", "global")


def test_a_drop_is_kept(network):
    made = planned(network, max_drop=0.25)
    assert made.disagreement.value <= 0.25
    assert made.removed


def test_errors_name_what_was_found_and_what_to_do(network, tmp_path):
    with pytest.raises(CompressionError, match="structured is planned alone, .* found structured, bits"):
        plan(network, method="structured,bits", size="0.5x", inputs=INPUTS)
    with pytest.raises(DataError, match="method='structured' needs inputs, .* give inputs=… or shape=…"):
        plan(network, method="structured", sparsity=0.5)
    with pytest.raises(CompressionError, match="allocation 'erk' chooses no channels; expected one of joint, additive"):
        planned(network, allocation="erk")
    with pytest.raises(CompressionError, match="removes channels: leave it out"):
        planned(network, compensate=True)
    with pytest.raises(CompressionError, match=r"flops = 0.001 cannot be reached: with a channel of each group left"):
        planned(network, flops=0.001)
    made = planned(network)
    with pytest.raises(CompressionError, match="the plan is for stem.weight, which is not there"):
        made.narrowed(Small())
    with pytest.raises(CompressionError, match="precisions are for weights that go one by one"):
        made.apply(network, precisions=input_moments(network, INPUTS).precisions())
    with pytest.raises(CompressionError, match="the plan is one of unstructured: only plans of channels"):
        plan(network, sparsity=0.5, allocation="uniform").narrowed(network)
    with pytest.raises(IntegrationError, match="the plan is one of structured: what is exported is pruning of single"):
        export(made, "torch")
    text = made.to_toml()
    (tmp_path / "odd.toml").write_text(text.replace('channels = "', 'channels = "x,', 1))
    with pytest.raises(StoreError, match="channels are 'x,.*; expected numbers and ranges, such as 0,3,5-8"):
        Plan.load(tmp_path / "odd.toml")
    wide = text.replace('channels = "', 'channels = "4000,', 1)
    (tmp_path / "wide.toml").write_text(wide)
    with pytest.raises(CompressionError, match="removes channel 4000 of .*: the plan belongs to another network"):
        Plan.load(tmp_path / "wide.toml").apply(copy.deepcopy(network))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, rows):
        return self.last(self.first(rows)) if rows.sum() > 0 else self.last(-self.first(rows))


def test_a_network_that_cannot_be_traced_is_refused():
    with pytest.raises(CompressionError, match="channels of Branching cannot be followed, .* cannot be traced"):
        plan(Branching(), method="structured", sparsity=0.5, inputs=torch.randn(8, 4))


def test_batch_norm_that_is_re_estimated_is_planned_for(network):
    inputs = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made = plan(network, method="structured", inputs=inputs, flops=0.6, budget=800.0, reestimate=True)
    assert made.settings.reestimate
    assert made.operations <= 0.6 * counted_operations(network, compressible(network), inputs[:1])[0]
