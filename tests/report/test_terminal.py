import io
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.analysis.predictive import Predictive
from shrinkscope.errors import SelectionError
from shrinkscope.report import print_comparison, print_demo, print_explanation


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, highlight=False, color_system=None)


def printed(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_summary_fits_the_terminal(records: Any, width: int):
    to = console(width)
    print_demo(records, conclusions=["AP2 explains the loss. " * 9], files={"report": "out/report.html"}, console=to)
    text = printed(to)
    assert max(cell_len(line) for line in text.splitlines()) <= min(width, 120)
    assert "…" not in text  # no number or heading was cut
    for title in ("AP2", "AP3 t grp", "accuracy", "PD loss"):
        assert title in text


def test_the_summary_explains_itself_and_ends_with_the_conclusions(records: Any):
    to = console(120)
    print_demo(records, conclusions=["First.", "Second.", "Third."], files={"report": "out/report.html"}, console=to)
    text = " ".join(printed(to).split())
    assert "Before pruning: 98.1 % accuracy" in text
    assert "Squared distance ‖ω − ω̃‖²" in text
    assert "means over 3 trials" in text
    assert text.endswith("1. First. 2. Second. 3. Third. report out/report.html")
    assert text.count("lowest") == 8  # four levels in two tables


def test_without_conclusions_or_files_nothing_is_promised(records: Any):
    to = console(100)
    print_demo(records, console=to)
    assert "What the numbers say" not in printed(to)


@pytest.mark.parametrize("width", [80, 120])
def test_a_comparison_fits_the_terminal(comparison: Comparison, width: int):
    to = console(width)
    print_comparison(comparison, to)
    assert max(cell_len(line) for line in printed(to).splitlines()) <= width


@pytest.mark.parametrize("by", ["layer", "block", "role", "expert"])
@pytest.mark.parametrize("width", [80, 120])
def test_groups_fit_the_terminal(comparison: Comparison, width: int, by: str):
    to = console(width)
    print_comparison(comparison, to, group_by=by, sort="snr_db", top=3)
    text = printed(to)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "(3 of 8 " in text
    assert "SNR" in text


def test_names_are_neither_markup_nor_commands_of_the_terminal(comparison: Comparison):
    to = console(120)
    print_comparison(comparison, to)
    text = printed(to)
    assert "\x1b" not in text
    assert "evil[red]<script>alert(1)</script>\\x1b[31m&" in text


def test_a_comparison_says_what_was_left_out(comparison: Comparison):
    to = console(120)
    print_comparison(comparison, to, top=3)
    text = printed(to)
    assert "3 of 8 layers" in text
    assert "all measured layers" in text
    assert "gone.weight 2×2 is in" in text
    assert "broken.weight: 4 of 4 values are NaN" in text


def test_a_long_list_of_what_was_left_out_is_cut(comparison: Comparison):
    many = comparison.unpaired[:1] * 40
    to = console(100)
    print_comparison(replace(comparison, unpaired=many), to)
    assert "and 31 more" in printed(to)  # 40 and the three reasons of rows, twelve shown


def test_an_unknown_column_is_refused_before_anything_is_printed(comparison: Comparison):
    to = console(100)
    with pytest.raises(SelectionError, match="cannot sort by 'no_such'"):
        print_comparison(comparison, to, sort="no_such")
    assert printed(to) == ""


def test_an_explanation_begins_with_performance(explanation: Explanation):
    to = console(110)
    print_explanation(explanation, to)
    text = printed(to)
    assert text.index("Performance before and after") < text.index("Damage by layer")
    assert "95% interval" in text
    assert max(cell_len(line) for line in text.splitlines()) <= 110


def test_an_explanation_says_what_is_proved_about_the_accuracy(explanation: Explanation):
    to = console(110)
    print_explanation(explanation, to)
    text = " ".join(printed(to).split())
    bound = explanation.predictive["test"].accuracy
    assert bound is not None
    assert f"Accuracy drops by at most {100 * bound.value:.3g} points (with 95 % confidence; from 60 inputs" in text
    assert text.index("Performance before") < text.index("Accuracy drops") < text.index("Damage by layer")


def test_bounds_that_do_not_exist_are_explained(explanation: Explanation):
    to = console(110)
    absent = Predictive(confidence=0.95, measurable=False, reason="a regression")
    print_explanation(replace(explanation, predictive={"test": absent}), to)
    assert "bound from the predictions on test: a regression" in printed(to)


def test_an_explanation_without_data_is_a_comparison(explanation: Explanation):
    to = console(110)
    print_explanation(replace(explanation, performance={}, predictive={}), to)
    assert "Performance" not in printed(to)
    assert "Accuracy" not in printed(to)


def test_columns_without_room_are_named(records: Any, comparison: Comparison):
    narrow, wide = console(80), console(200)
    print_demo(records, console=narrow)
    assert "No room here for: AP3 t pruned, AP3 Gauss pruned" in printed(narrow)
    print_comparison(comparison, narrow)
    assert "No room here for: shape" in printed(narrow)
    plain = {"distinct": None, "distinct_dense": None, "effective_bits": None, "effective_bits_dense": None}
    small = [replace(row, **plain) for row in comparison.rows if row.layer.startswith("block")]
    print_comparison(replace(comparison, rows=tuple(small)), wide)
    assert "No room" not in printed(wide)


def test_the_names_of_files_are_not_commands_of_the_terminal(comparison: Comparison):
    to = console(100)
    print_comparison(replace(comparison, settings=replace(comparison.settings, dense="a\x1b[2J.npz")), to)
    assert "a\\x1b[2J.npz → " in printed(to)
