"""Groups of rows: agreement with the tensors of a group concatenated to one vector."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from shrinkscope.analysis import Comparison, compare
from shrinkscope.analysis.group import merged
from shrinkscope.errors import SelectionError

PARTS = ("attn.q_proj", "mlp.down_proj")


@pytest.fixture(scope="module")
def states() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Three blocks of two weights and a bias, an expert mixture, a head; one tensor unchanged, one never measured."""
    generator = torch.Generator().manual_seed(11)

    def weights(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    dense = {f"layers.{block}.{part}.weight": weights(4 + block, 5) for block in range(3) for part in PARTS}
    dense |= {f"layers.{block}.mlp.down_proj.bias": weights(3) for block in range(3)}
    dense |= {f"layers.2.mlp.experts.{expert}.w1.weight": weights(2, 6) for expert in range(4)}
    dense |= {"head.weight": weights(3, 3), "layers.0.attn.q_proj.scale": torch.ones(2)}
    compressed = {name: value * (value.abs() > 0.4) + 0.01 * weights(*value.shape) for name, value in dense.items()}
    compressed["layers.1.attn.q_proj.weight"] = dense["layers.1.attn.q_proj.weight"]
    compressed["layers.0.attn.q_proj.scale"] = torch.tensor([1.0, math.nan])
    return dense, compressed


@pytest.fixture(scope="module")
def comparison(states) -> Comparison:
    return compare(*states)


def as_one_vector(states, names: list[str]) -> dict[str, Any]:
    """The statistics of concatenated tensors, with compensated sums."""
    x, y = (np.concatenate([side[name].numpy().ravel() for name in names]) for side in states)
    square = math.fsum(x * x)
    delta = math.fsum((x - y) ** 2)
    return {
        "parameters": x.size,
        "changed": np.count_nonzero(x != y),
        "sparsity_dense": np.count_nonzero(x == 0) / x.size,
        "sparsity": np.count_nonzero(y == 0) / x.size,
        "zeros_gained": np.count_nonzero((y == 0) & (x != 0)),
        "zeros_lost": np.count_nonzero((y != 0) & (x == 0)),
        "ap2": delta,
        "relative_ap2": delta / square,
        "cosine": math.fsum(x * y) / math.sqrt(square * math.fsum(y * y)),
        "max_abs_delta": np.abs(x - y).max(),
        "snr_db": 10 * math.log10(square / delta) if delta else None,
        "square_dense": square,
        "square_compressed": math.fsum(y * y),
        "product": math.fsum(x * y),
    }


@pytest.mark.parametrize("by", ["layer", "block", "role", "expert"])
def test_a_group_is_its_tensors_as_one_vector(states, comparison, by):
    grouped = comparison.grouped_by(by)
    measured = {row.layer for row in comparison.rows if row.measurable}
    for group in grouped.rows:
        names = [name for name in group.layers if name in measured]
        if not names:
            assert (group.measurable, group.ap2) == (False, None)
            continue
        for column, truth in as_one_vector(states, names).items():
            # A dozen float64 operations on each side.
            expected = None if truth is None else pytest.approx(truth, rel=1e-13)
            assert getattr(group, column) == expected, (group.group, column)
        parts = [row.divergences["ap3_gaussian"].value for row in comparison.rows if row.layer in names]
        assert group.divergences["ap3_gaussian"].value == pytest.approx(math.fsum(parts), rel=1e-14)
    assert sorted(name for group in grouped.rows for name in group.layers) == sorted(r.layer for r in comparison.rows)


def test_the_groups_are_named_after_what_they_share(comparison):
    names = {
        by: [group.group for group in comparison.grouped_by(by).rows] for by in ("layer", "block", "role", "expert")
    }
    assert names["block"] == ["layers.0", "layers.1", "layers.2", "head"]
    assert names["role"] == [
        "attn.q_proj",
        "mlp.down_proj",
        "mlp.down_proj.bias",
        "mlp.experts.*.w1",
        "head",
        "attn.q_proj.scale",
    ]
    assert "layers.0.mlp.down_proj" in names["layer"]
    assert "layers.2.mlp.experts.*.w1" in names["expert"]
    assert "layers.0.mlp.down_proj.bias" in names["expert"]


def test_all_rows_together_are_the_total(comparison):
    everything = merged("total", comparison.rows)
    total = comparison.total
    assert everything.ap2 == pytest.approx(total.ap2, rel=1e-14)
    assert everything.relative_ap2 == pytest.approx(total.relative_ap2, rel=1e-14)
    assert (everything.parameters, everything.sparsity) == (total.parameters, total.sparsity)
    assert everything.reason == f"1 of {len(comparison.rows)} tensors were not measured"


def test_a_group_without_change_keeps_its_norm():
    dense = {"layers.0.a.weight": torch.full((3,), 2.0), "layers.0.b.weight": torch.full((1,), 2.0)}
    compressed = dense | {"layers.0.b.weight": torch.zeros(1)}
    (block,) = compare(dense, compressed).grouped_by("block").rows
    # ‖ω‖² = 3·4 + 4, of which the second tensor loses 4: dividing AP2 by relative AP2 would lose the first.
    assert (block.square_dense, block.relative_ap2, block.sparsity) == (16.0, 0.25, 0.25)
    unchanged = compare(dense, dense).grouped_by("block").rows[0]
    assert (unchanged.ap2, unchanged.cosine, unchanged.snr_db) == (0.0, 1.0, None)


def test_groups_are_written_as_table_and_as_json(comparison, tmp_path):
    grouped = comparison.grouped_by("block")
    grouped.save(tmp_path / "groups.csv")
    grouped.save(tmp_path / "groups.parquet")
    table = pd.read_csv(tmp_path / "groups.csv")
    assert list(table["group"]) == ["layers.0", "layers.1", "layers.2", "head", "all measured layers"]
    assert list(table["total"]) == [False] * 4 + [True]
    assert table["ap3_gaussian"][:-1].sum() == pytest.approx(table["ap3_gaussian"].iloc[-1], rel=1e-12)
    assert table["ap3_gaussian"].iloc[-1] == pytest.approx(
        comparison.total.divergences["ap3_gaussian"].value, rel=1e-12
    )
    assert list(pd.read_parquet(tmp_path / "groups.parquet").columns) == list(table.columns)
    found = json.loads(grouped.to_json())
    assert found["groups"]["by"] == "block"
    assert found["groups"]["rows"][3]["layers"] == ["head.weight"]
    assert len(found["rows"]) == len(comparison.rows)


def test_an_unknown_grouping_names_those_there_are(comparison):
    with pytest.raises(
        SelectionError, match="cannot group by 'blocks'; did you mean 'block'\\? the groupings are layer, "
    ):
        comparison.grouped_by("blocks")
