"""Selection by rank against sorting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from references.pruning import first_ranked_globally
from shrinkscope.compression import ranking
from shrinkscope.compression.ranking import Order, Scores, order_statistic, removed_by_rank

# Few distinct values, so that ties are the rule; the extremes of float64 and its smallest numbers are among them.
few_values = st.sampled_from([0.0, 5e-324, 1e-300, 0.5, 1.0, 1.0 + 2**-52, 3.0, 1.7976931348623157e308])
layers_of_scores = st.lists(st.lists(few_values, max_size=9), min_size=1, max_size=4)


def scores_of(values: list[float]) -> Scores:
    tensor = torch.tensor(values, dtype=torch.float64)
    return Scores(size=len(values), read=lambda: tensor)


@given(layers=layers_of_scores, data=st.data(), order=st.sampled_from(["lowest", "highest"]))
def test_agrees_with_a_stable_sort(layers: list[list[float]], data: st.DataObject, order: Order) -> None:
    number = data.draw(st.integers(0, sum(map(len, layers))))
    expected = first_ranked_globally({str(i): values for i, values in enumerate(layers)}, number, order)
    got = removed_by_rank([scores_of(values) for values in layers], number, order)
    assert [set(flags.nonzero().flatten().tolist()) for flags in got] == list(expected.values())


@pytest.mark.parametrize("order", ["lowest", "highest"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_ties_across_chunks(monkeypatch: pytest.MonkeyPatch, order: Order, size: int) -> None:
    monkeypatch.setattr(ranking, "CHUNK", size)
    generator = torch.Generator().manual_seed(1)
    layers = [torch.randint(4, (n,), generator=generator).to(torch.float64).tolist() for n in (150, 1, 83)]
    for number in (1, 60, 100, 200, 234):
        expected = first_ranked_globally({str(i): values for i, values in enumerate(layers)}, number, order)
        got = removed_by_rank([scores_of(values) for values in layers], number, order)
        assert [set(flags.nonzero().flatten().tolist()) for flags in got] == list(expected.values())


@given(values=st.lists(few_values, min_size=1, max_size=30), data=st.data())
def test_order_statistic_counts_what_is_below_and_equal(values: list[float], data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, len(values)))
    found = order_statistic([scores_of(values)], rank)
    assert found.value == sorted(values)[rank - 1]
    assert found.below == sum(value < found.value for value in values)
    assert found.equal == values.count(found.value)


def test_layers_of_different_precision_are_compared_exactly() -> None:
    # 0.1 in float32 is above 0.1 in float64, by less than float32 can tell.
    single, double = torch.tensor([0.1], dtype=torch.float32), torch.tensor([0.1], dtype=torch.float64)
    layers = [Scores(size=1, read=lambda: single), Scores(size=1, read=lambda: double)]
    assert [flags.tolist() for flags in removed_by_rank(layers, 1, "lowest")] == [[False], [True]]
