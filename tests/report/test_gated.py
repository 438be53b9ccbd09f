import io

import pytest
from rich.console import Console

from shrinkscope.analysis import Comparison
from shrinkscope.report import print_gates
from shrinkscope.report.gated import failures_sheet, gates_in_words

RULES = (
    "relative_ap2 > 100",
    "relative_ap2 > 0.01 in block*",
    "changed > 3 in bn.*",
    "zeros_lost > 15 in zero",
    "pattern != 2:4 in total",
)


@pytest.fixture
def gated(comparison: Comparison) -> Comparison:
    return comparison.gated(RULES[:4])


def test_every_gate_says_what_became_of_it(gated: Comparison):
    sentences = gates_in_words(gated)
    # Of the rows with a value none fails; two are in one network only, one holds NaN, one was all zero.
    assert sentences[0].startswith("failed: relative_ap2 > 100: 5 of 12 rows: ")
    assert "gone.weight (no value: gone.weight 2×2 is in " in sentences[0]
    assert sentences[1].startswith("failed: relative_ap2 > 0.01 in block*: ")
    assert "block5.weight (0." in sentences[1]
    assert sentences[2] == "passed: changed > 3 in bn.* (1 row)"
    assert sentences[3] == "failed: zeros_lost > 15 in zero: 1 of 1 row: zero.weight (16)"


def test_what_was_ignored_is_counted(comparison: Comparison):
    (sentence,) = gates_in_words(comparison.gated(["relative_ap2 > 100 ignoring missing"]))
    assert sentence.startswith("passed: relative_ap2 > 100 ignoring missing (7 rows, 5 rows without a value ignored)")


def test_all_failures_are_in_the_table_with_their_reasons(gated: Comparison):
    sheet = failures_sheet(gated)
    assert sheet is not None
    assert len(sheet.rows) == sum(len(gate.failures) for gate in gated.gates)
    assert [column.title for column in sheet.columns] == ["must not be", "row", "value", "why there is none"]
    without = failures_sheet(gated.gated([RULES[3]]))
    assert without is not None
    assert [column.title for column in without.columns] == ["must not be", "row", "value"]
    assert failures_sheet(gated.gated([RULES[2]])) is None


def test_gates_are_printed_a_line_each_and_names_do_not_drive_the_terminal(gated: Comparison):
    stream = io.StringIO()
    print_gates(gated.gated(["ap2 > 0"]), Console(file=stream, force_terminal=True, highlight=False))
    text = stream.getvalue()
    assert text.startswith("gate failed: ap2 > 0: ")
    assert text.count("\n") == 1
    assert "\x1b" not in text
