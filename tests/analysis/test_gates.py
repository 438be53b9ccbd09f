"""Gates: which rows fail, and that nothing passes because it could not be compared."""

import json
import math

import pandas as pd
import pytest
import torch

from shrinkscope.analysis import Comparison, compare
from shrinkscope.analysis.gates import GateVerdict
from shrinkscope.errors import SelectionError


def state(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two blocks whose down projections are (3, 4) and (6, 8), zeros, and the counter of a batch norm."""
    tensors = {
        "layers.0.down_proj.weight": torch.tensor([3.0, 4.0]),
        "layers.1.down_proj.weight": torch.tensor([6.0, 8.0]),
        "layers.1.up_proj.weight": torch.tensor([1.0, 0.0]),
        "zero.weight": torch.zeros(2),
        "bn.num_batches_tracked": torch.tensor(3),
    }
    return tensors | {name.replace("__", "."): value for name, value in changes.items()}


def gate(dense: dict, compressed: dict, rule: str) -> GateVerdict:
    (verdict,) = compare(dense, compressed).gated([rule]).gates
    return verdict


def failed(verdict: GateVerdict) -> dict[str, object]:
    return {failure.name: failure.value for failure in verdict.failures}


@pytest.fixture
def damaged() -> Comparison:
    """Relative AP2: 1/25 in the first block; 25/100 in the down projection of the second."""
    return compare(
        state(),
        state(
            layers__0__down_proj__weight=torch.tensor([3.0, 5.0]),
            layers__1__down_proj__weight=torch.tensor([6.0, 3.0]),
            bn__num_batches_tracked=torch.tensor(8),
        ),
    )


def test_rows_that_meet_the_condition_fail_the_worst_first(damaged):
    (verdict,) = damaged.gated(["relative_ap2 > 0.02 in *.down_proj"]).gates
    assert not verdict.passed
    assert verdict.checked == 2
    assert [(failure.name, failure.value) for failure in verdict.failures] == [
        ("layers.1.down_proj.weight", 0.25),
        ("layers.0.down_proj.weight", 0.04),
    ]


def test_a_limit_that_no_row_exceeds_passes(damaged):
    verdicts = damaged.gated(["relative_ap2 > 0.25", "cosine < 0.8", "changed > 1 in *.weight"]).gates
    assert [verdict.passed for verdict in verdicts] == [True] * 3
    # The counter of the batch norm is no weight, and the zeros that stayed zeros are undamaged.
    assert verdicts[0].checked == 4


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("relative_ap2 > 0.2 in total", {"total": 26 / 126}),
        ("relative_ap2 > 0.2 in block", {"layers.1": 25 / 101}),
        ("relative_ap2 > 0.2 in role", {"down_proj": 26 / 125}),
        ("relative_ap2 > 0.2 in layer", {"layers.1.down_proj": 0.25}),
        ("snr_db < 10 in layers.1.*", {"layers.1.down_proj.weight": 10 * math.log10(4)}),
        ("max_abs_delta >= 5", {"layers.1.down_proj.weight": 5.0}),
        ("changed > 0 in total", {"total": 2}),
        ("changed > 0 in bn*", {"bn.num_batches_tracked": 1}),
        ("zeros_lost == 0 in *.up_proj", {"layers.1.up_proj.weight": 0}),
        ("sparsity < 50% in *.up_proj", {}),
        ("ap3_gaussian > 0.2 in layers.1.*", {"layers.1.down_proj.weight": 0.25}),
    ],
)
def test_rules_about_groups_and_other_columns(damaged, rule, expected):
    (verdict,) = damaged.gated([rule]).gates
    assert failed(verdict) == pytest.approx(expected, rel=1e-12)


MISSING = {
    "in one network only": (state(), {k: v for k, v in state().items() if k != "layers.0.down_proj.weight"}, "is in"),
    "another shape": (state(), state(layers__0__down_proj__weight=torch.ones(3)), "not compared value by value"),
    "not a number": (state(), state(layers__0__down_proj__weight=torch.tensor([3.0, math.nan])), "NaN or infinite"),
    "whole numbers": (
        state(layers__0__down_proj__weight=torch.tensor([3, 4])),
        state(layers__0__down_proj__weight=torch.tensor([3, 5])),
        "are not weights",
    ),
    "zero before": (state(layers__0__down_proj__weight=torch.zeros(2)), state(), "all dense weights are zero"),
}


@pytest.mark.parametrize("case", MISSING)
@pytest.mark.parametrize("column", ["relative_ap2", "ap3_gaussian", "cosine"])
@pytest.mark.parametrize("scope", ["in *.down_proj", "in block layers.0", "in total"])
def test_what_could_not_be_compared_does_not_pass(case, column, scope):
    dense, compressed, reason = MISSING[case]
    operator = "<" if column == "cosine" else ">"
    rule = f"{column} {operator} {-1 if column == 'cosine' else 1e6} {scope}"
    if case == "zero before" and scope == "in total" and column != "ap3_gaussian":
        assert gate(dense, compressed, rule).passed  # the norm of all weights is not zero
        return
    verdict = gate(dense, compressed, rule)
    assert not verdict.passed
    assert verdict.failures[0].value is None
    assert reason in (verdict.failures[0].reason or "") or "is undefined" in (verdict.failures[0].reason or "")


def test_missing_rows_can_be_ignored_but_not_all_of_them():
    dense = state()
    compressed = {name: value for name, value in state().items() if name != "layers.0.down_proj.weight"}
    verdict = gate(dense, compressed, "relative_ap2 > 0 in *.down_proj ignoring missing")
    assert (verdict.passed, verdict.checked, verdict.ignored) == (True, 1, 1)
    alone = gate(dense, compressed, "relative_ap2 > 0 in layers.0.* ignoring missing")
    assert (alone.passed, alone.checked, alone.ignored) == (False, 0, 0)
    total = gate(dense, compressed, "relative_ap2 > 0 in total ignoring missing")
    assert (total.passed, total.checked) == (True, 1)


def test_networks_without_difference_pass_whatever_is_undefined():
    for rule in (
        "relative_ap2 > 0",
        "cosine < 1",
        "snr_db < 1000",
        "ap3_student_t > 0",
        "changed > 0",
        "ap2 != 0 in total",
    ):
        assert gate(state(), state(), rule).passed, rule


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "relative_ap2 > 1 in *.downproj",
            "is about no row: no name matches '.*downproj'; a name is like 'layers.*down_",
        ),
        ("relative_ap2 > 1 in block layer.0", "no name matches 'layer.0'; a name is like 'layers.0'"),
        ("cosine < 1 in bn.*", "is about tensors only that are no weights, such as bn.num_batches_tracked"),
        ("relative_ap4 > 1", "no column 'relative_ap4'"),
    ],
)
def test_a_rule_that_is_about_nothing_is_an_error(damaged, rule, message):
    with pytest.raises(SelectionError, match=message):
        damaged.gated([rule])


def test_verdicts_are_written(damaged, tmp_path):
    rules = ["relative_ap2 > 0.02 in *.down_proj", "max_abs_delta > 4"]
    gated = damaged.gated(rules)
    gates = json.loads(gated.to_json())["gates"]
    assert [found["passed"] for found in gates] == [False, False]
    assert gates[0]["failures"][0] == {"name": "layers.1.down_proj.weight", "value": 0.25, "reason": None}
    assert json.loads(gated.grouped_by("block").to_json())["gates"] == gates
    gated.save(tmp_path / "rows.csv")
    table = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False).set_index("layer")
    assert table.loc["layers.1.down_proj.weight", "gates_failed"] == "; ".join(rules)
    assert table.loc["zero.weight", "gates_failed"] == ""
    assert json.loads(damaged.to_json())["gates"] == []
    assert "gates_failed" not in damaged.to_dataframe().columns
