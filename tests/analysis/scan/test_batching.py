"""Several candidates in one pass: the numbers of one by one where rows are independent, openly refused elsewhere."""

import copy
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn import functional

from shrinkscope import MagnitudePruning, compress, scan
from shrinkscope.analysis.scan.batching import MixingError, established, join_of
from shrinkscope.analysis.traced.trace import Steps
from shrinkscope.experiments.digits import DigitsNet
from shrinkscope.performance import predictive_divergence
from shrinkscope.weights import LayerSelection

passes = import_module("shrinkscope.analysis.scan.passes")  # the package's attribute scan is the function


class Tail(nn.Module):
    """A layer, and several steps after it that ``mix`` decides on."""

    def __init__(self, mix) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.mix = mix

    def forward(self, inputs):
        hidden = self.first(inputs).relu()
        hidden = self.mix(self.second(hidden), hidden)
        return self.third(hidden.tanh() + hidden)


def folded(hidden, before):
    """Sizes of the batch, a folded batch dimension, a pair of values: all row by row."""
    values, _ = hidden.view(hidden.shape[0] * 2, 4).sort(dim=1)
    return values.reshape(before.shape[0], 8) * before


MIXES = {
    "plain": lambda hidden, before: hidden + before,
    "folded": folded,
    "in place": lambda hidden, before: before.add_(hidden).mul_(2.0),
    "transposed": lambda hidden, before: (hidden.t() * 2).t() + before,
}
MIXING = {
    "mean of the batch": lambda hidden, before: hidden - hidden.mean(0),
    "largest of all": lambda hidden, before: hidden / hidden.abs().max(),
    "first row": lambda hidden, before: hidden + before[:1],
    "size of the batch": lambda hidden, before: hidden / hidden.shape[0],
    "order reversed": lambda hidden, before: hidden.flip(0),
    "batch statistics": lambda hidden, before: functional.batch_norm(hidden, None, None, training=True),
    "gram matrix": lambda hidden, before: hidden + (hidden @ hidden.t()).softmax(1) @ before,
}


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def rows_of(found):
    return {(row.layer, row.method, row.level): row for row in found.rows}


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("early_stop", [True, False])
def test_candidates_in_one_pass_have_the_numbers_of_compressing_each(name, early_stop, monkeypatch):
    model, inputs = seeded(lambda: Tail(MIXES[name])), draw(21, 8)
    options = {"inputs": inputs, "batch_size": 8, "early_stop": early_stop}
    together = scan(model, **options)
    monkeypatch.setattr(passes, "TOGETHER", 0)
    alone = rows_of(scan(model, **options))
    assert together.cost.apart is None
    # Before a step that writes into what is held, candidates go alone.
    assert together.cost.batched >= together.cost.forwards / 3
    for key, row in rows_of(together).items():
        assert row.measurable is alone[key].measurable, key
        if row.method == "lowest" and row.measurable:
            other = copy.deepcopy(model)
            compress(other, MagnitudePruning(level=row.level, layers=LayerSelection(include=(row.layer,))))
            expected = predictive_divergence(model, other, inputs.clone())
            assert row.predictive_kl.value == pytest.approx(expected.kl.value, abs=1e-6)
        if row.measurable:
            assert row.predictive_kl.value == pytest.approx(alone[key].predictive_kl.value, abs=1e-6)
            assert row.disagreement == alone[key].disagreement
            assert row.forward_equivalents == alone[key].forward_equivalents


@pytest.mark.parametrize("name", MIXING)
def test_rows_that_depend_on_each_other_go_apart_and_the_cost_says_why(name):
    model, inputs = seeded(lambda: Tail(MIXING[name])), draw(12, 8)
    found = scan(model, inputs=inputs, methods=["lowest", "quantise"])
    assert found.cost.batched == 0
    assert "of a batch cannot be" in found.cost.apart
    assert f"Candidates of a layer went one by one: {found.cost.apart}." in found.summary()
    for row in found.rows:
        if row.method == "lowest":
            other = copy.deepcopy(model)
            compress(other, MagnitudePruning(level=row.level, layers=LayerSelection(include=(row.layer,))))
            assert row.predictive_kl.value == pytest.approx(
                predictive_divergence(model, other, inputs).kl.value, abs=1e-6
            )


def test_what_changes_no_output_is_told_from_a_pass_of_its_own():
    class Dead(nn.Module):
        """A unit that no input reaches: its incoming weights may be what they like."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
            self.second.bias.data[:] = -1e6

        def forward(self, inputs):
            hidden = self.first(inputs).relu()
            return self.third((hidden + self.second(hidden).relu()).tanh() * 3.0)

    found = scan(seeded(Dead), inputs=draw(16, 8), methods=["lowest", "quantise"], levels={"quantise": [3, 2]})
    reasons = {(row.layer, row.method): row.reason for row in found.rows}
    assert reasons["second.weight", "lowest"].startswith("changes no output")
    assert reasons["second.weight", "quantise"].startswith("changes no output")
    assert reasons["first.weight", "lowest"] is None
    assert found.cost.batched > 0


def test_one_candidate_that_fails_does_not_spoil_the_others():
    class Inverse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 3)

        def forward(self, inputs):
            return self.second((1 / self.first(inputs)).tanh() + (1 / self.first(inputs)))

    found = scan(seeded(Inverse), inputs=draw(8, 4), methods=["lowest"], levels=[0.25, 1.0], early_stop=False)
    mild, harsh = (row for row in found.rows if row.layer == "first.weight")
    assert mild.measurable
    assert not harsh.measurable
    assert "NaN or infinite logits" in harsh.reason


def test_no_more_go_together_than_the_memory_and_the_limit_allow(monkeypatch):
    model, inputs = seeded(DigitsNet), draw(16, 1, 8, 8)
    seen = []
    kept = passes.Passes.grouped

    def watched(self, parameter, weights, position):
        seen.append(len(weights))
        return kept(self, parameter, weights, position)

    monkeypatch.setattr(passes.Passes, "grouped", watched)
    options = {"inputs": inputs, "methods": ["lowest"], "layers": "conv2*", "early_stop": False}
    levels = [0.1 * step for step in range(1, 9)]
    scan(model, levels=levels, **options)
    assert seen == [8]
    # After conv2 the largest value is its input, 16 × 12 × 4 × 4 float32 numbers: room for three.
    seen.clear()
    largest = 16 * 12 * 16 * 4
    monkeypatch.setattr(passes, "TOGETHER", 3 * largest)
    scan(model, levels=levels, **options)
    assert max(seen) <= 3
    seen.clear()
    scan(model, levels=levels, memory=0, **options)
    assert seen == []


def test_values_are_joined_as_they_grow():
    a, b = draw(2, 3), draw(4, 3) + 1
    both = torch.cat([a, b])
    assert torch.equal(join_of(a, b, both)([a, a, b]), torch.cat([a, a, b]))
    assert torch.equal(join_of(a.t(), b.t(), both.t())([a.t(), b.t()]), both.t())
    assert join_of(2 * 5, 4 * 5, 6 * 5)([10, 10, 10]) == 30
    assert join_of(7, 7, 7)([7, 7]) == 7
    assert join_of("mean", "mean", "mean")(["mean", "mean"]) == "mean"
    size = join_of(a.shape, b.shape, both.shape)([a.shape, a.shape])
    assert size == torch.Size([4, 3])
    assert isinstance(size, torch.Size)
    pair = join_of(a.max(1), b.max(1), both.max(1))([a.max(1), b.max(1)])
    assert torch.equal(pair.values, both.max(1).values)
    assert torch.equal(join_of({"x": a}, {"x": b}, {"x": both})([{"x": a}, {"x": b}])["x"], both)


@pytest.mark.parametrize(
    ("first", "second", "both", "message"),
    [
        (torch.ones(2), torch.ones(4), torch.zeros(6), "not independent of each other"),
        (torch.ones(3), torch.ones(3), torch.zeros(3), "not independent of each other"),
        (torch.ones(2, 2), torch.ones(4, 4), torch.ones(6, 6), "not independent of each other"),
        (torch.ones(2), torch.ones(4), torch.ones(6, 1), "other dimensions in a larger batch"),
        (0.5, 0.25, 1 / 6, "a float is not the same for all batches"),
        ([1, 2], [1, 2, 3], [1, 2, 3, 4], "a list grows with the batch"),
    ],
)
def test_values_that_are_not_those_of_the_parts_are_refused(first, second, both, message):
    with pytest.raises(MixingError, match=message):
        join_of(first, second, both)


def test_a_shared_value_that_differs_between_candidates_is_refused():
    one = torch.ones(3)
    join = join_of(one, one, one)
    assert join([one, one.clone()]) is one
    with pytest.raises(MixingError, match="differs between candidates"):
        join([one, 2 * one])


def test_telling_takes_two_rows():
    steps = Steps(seeded(lambda: Tail(MIXES["plain"])))
    with pytest.raises(MixingError, match="a batch holds one input"):
        established(steps, draw(1, 8))
