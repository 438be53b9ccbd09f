import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.analysis import Comparison, compare
from shrinkscope.report import comparison_report
from shrinkscope.report.heatmap import SHADES, heat_map, shade


def network(blocks: int, damage: float = 0.1) -> Comparison:
    """Blocks of two parts; the damage of the second grows with depth, the first is left alone but in the last block."""
    generator = torch.Generator().manual_seed(3)
    dense, compressed = {}, {}
    for index in range(blocks):
        for part in ("attn.q_proj", "mlp.down_proj"):
            name = f"model.layers.{index}.{part}.weight"
            dense[name] = torch.randn(4, 4, generator=generator, dtype=torch.float64)
            keep = 1.0 if part == "attn.q_proj" and index < blocks - 1 else 1 - damage * (index + 1) / blocks
            compressed[name] = keep * dense[name]
        dense[f"model.layers.{index}.norm.weight"] = compressed[f"model.layers.{index}.norm.weight"] = torch.ones(4)
    dense["lm_head.weight"], compressed["lm_head.weight"] = torch.ones(2, 2), torch.full((2, 2), 0.5)
    dense["zero.weight"], compressed["zero.weight"] = torch.zeros(2), torch.ones(2)
    return compare(dense, compressed, latents=["gaussian"])


def test_a_cell_is_the_damage_of_a_part_of_a_block():
    found = heat_map(network(4))
    assert found is not None
    assert found.families == [("model.layers", 4)]
    assert found.blocks == [(f"model.layers.{index}", str(index)) for index in range(4)]
    assert [part for part, _ in found.parts] == ["attn.q_proj", "mlp.down_proj"]
    assert found.same == ["norm"]
    untouched, damaged = (cells for _, cells in found.parts)
    assert [cell.style for cell in untouched[:3]] == ["unchanged"] * 3
    # Relative AP2 of a tensor scaled by 1 − x is x².
    assert [cell.text for cell in damaged] == ["6.3×10⁻⁴", "0.0025", "0.0056", "0.010"]
    assert damaged[3].told.startswith(
        "model.layers.3 · mlp.down_proj: relative AP2 0.0100, zeros 0 % → 0 %, 16 weights"
    )


def test_what_is_outside_of_the_blocks_stands_apart():
    found = heat_map(network(4))
    assert found is not None
    assert [(cell.name, cell.style, cell.text) for cell in found.outside] == [
        ("lm_head", "heat-15", "0.25"),
        ("zero", "undefined", "n/a"),
    ]


def test_a_network_without_blocks_has_its_modules_as_columns():
    dense = {name: torch.ones(3) for name in ("fc1.weight", "fc1.bias", "fc2.weight")}
    found = heat_map(compare(dense, dense | {"fc1.bias": torch.zeros(3)}))
    assert found is not None
    assert found.families == [("", 2)]
    assert found.blocks == [("fc1", "fc1"), ("fc2", "fc2")]
    assert [(part, [cell.style for cell in cells]) for part, cells in found.parts] == [("bias", ["heat-15", "nothing"])]
    assert found.outside == []


def test_without_change_or_with_one_cell_there_is_no_map():
    weights = {"fc1.weight": torch.ones(3), "fc2.weight": torch.ones(3)}
    assert heat_map(compare(weights, weights)) is None
    one = {"fc1.weight": torch.ones(3)}
    assert heat_map(compare(one, {"fc1.weight": torch.zeros(3)})) is None
    assert 'id="heat"' not in comparison_report(compare(weights, weights))


def test_experts_of_a_block_share_a_cell():
    dense = {f"layers.{block}.experts.{i}.w1.weight": torch.ones(2) for block in range(2) for i in range(8)}
    found = heat_map(compare(dense, dense | {"layers.1.experts.3.w1.weight": torch.zeros(2)}))
    assert found is not None
    ((part, cells),) = found.parts
    assert part == "experts.*.w1"
    assert [cell.text for cell in cells] == ["0", "0.12"]  # 2 of 16
    assert cells[1].told.endswith("16 weights, 8 tensors")


@pytest.mark.parametrize(("blocks", "size", "labels"), [(1, "numbers", 1), (13, "dense", 13), (200, "densest", 20)])
def test_columns_and_labels_find_room_from_one_block_to_two_hundred(blocks, size, labels):
    found = heat_map(network(blocks))
    assert found is not None
    assert found.size == size
    assert sum(label != "" for _, label in found.blocks) == labels
    assert len(found.blocks) == len(found.parts[0][1]) == blocks
    assert len(found.table.rows) == blocks


@given(st.floats(1e-12, 1e3), st.floats(1e-12, 1e3))
def test_more_damage_is_never_a_weaker_colour(first, second):
    low, high = 1e-6, 1.0
    shades = [shade(damage, low, high) for damage in sorted((first, second))]
    assert 0 <= shades[0] <= shades[1] < SHADES


def test_the_scale_is_cut_six_decades_below_the_worst():
    dense = {f"layers.{i}.w.weight": torch.ones(2, dtype=torch.float64) for i in range(3)}
    kept = [1 - 1e-9, 1 - 1e-3, 0.5]
    found = heat_map(compare(dense, {name: value * kept[i] for i, (name, value) in enumerate(dense.items())}))
    assert found is not None
    assert found.scale == ("≤ 2.5×10⁻⁷", "0.25")
    assert [cell.style for cell in found.parts[0][1]] == [
        "heat-0",
        f"heat-{math.floor(16 * math.log10(4) / 6)}",
        "heat-15",
    ]
