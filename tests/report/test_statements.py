import io
import json

import pandas as pd
import pytest
from rich.console import Console

from shrinkscope.analysis import OptimalSparsity, SparsityCurve, SparsityPoint
from shrinkscope.analysis.statements import StatementRow, untried
from shrinkscope.analysis.statements.table import StatementTable
from shrinkscope.errors import OutputError
from shrinkscope.report import print_statements, save_statements
from shrinkscope.report.statements import sparsity_sheet, statements_in_markdown


def row(form: str, bound: float | None, violations: int = 0) -> StatementRow:
    return StatementRow(
        case="digits",
        statement="Lemma 3.1",
        form=form,
        quantity="D",
        side="upper",
        unit="loss",
        instances=12,
        void=11 if bound is None else 0,
        violations=violations,
        bound=bound,
        measured=0.25,
        tightness=None if bound is None else bound / 0.25,
        assumptions=None,
    )


def point(level: float, bound: float | None, within: bool) -> SparsityPoint:
    return SparsityPoint(
        level=level, sparsity=level, ap2=1.5, relative_ap2=0.1, divergences={}, bound=bound, within=within
    )


def table() -> StatementTable:
    sparsity = OptimalSparsity(
        tolerance=0.05,
        bound="predictive",
        quantity="the accuracy difference",
        unit="fraction",
        confidence=0.95,
        samples=100,
        method="lowest magnitude",
        curves=(
            SparsityCurve(layer="network", points=(point(0.5, 0.04, True), point(0.7, 0.2, False))),
            SparsityCurve(layer="a.weight", points=(point(0.5, 0.3, False),)),
            SparsityCurve(layer="b.weight", points=(point(0.5, None, False),), reason="nothing is known"),
        ),
    )
    return StatementTable(
        rows=(
            row("published", 0.1, violations=3),
            row("corrected", None),
            untried("digits", "Lemma 3.3", "it is void"),
        ),
        cases={"digits": "the digits network"},
        version="0",
        sparsity=sparsity,
    )


def test_the_terminal_shows_bounds_violations_reasons_and_sparsities():
    output = io.StringIO()
    print_statements(table(), Console(file=output, width=100))
    text = output.getvalue()
    assert "the digits network" in text
    assert "digits, Lemma 3.3: it is void" in text
    published, corrected = (
        next(line for line in text.splitlines() if name in line) for name in ("published ", "corrected ")
    )
    assert published.split()[-5:] == ["0", "0.100", "0.250", "0.400", "loss"]
    assert corrected.split()[-4:] == ["∞", "0.250", "∞", "loss"]
    assert "50.0 %" in text


def test_a_layer_without_bound_or_below_the_first_level_is_not_a_number():
    network, first, second = sparsity_sheet(table().sparsity).rows
    assert [cell.text for cell in network] == ["network", "50.0 %", "1.50", "0.100", "4.0 pp"]
    assert [cell.text for cell in first] == ["a.weight", "below 50 %", "n/a", "n/a", "n/a"]
    assert [cell.text for cell in second] == ["b.weight", "n/a", "n/a", "n/a", "n/a"]


def test_markdown_has_a_table_for_each_case():
    lines = statements_in_markdown(table()).splitlines()
    assert lines[0] == "**The digits network**"
    assert lines[2].startswith("| statement | form | tried | violated |")
    assert lines[4] == "| Lemma 3.1 | published | 12 | 3 | 0 | 0.100 | 0.250 | 0.400 | loss |"


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet", ".md"])
def test_files_hold_the_rows(tmp_path, suffix):
    path = tmp_path / f"theory{suffix}"
    save_statements(table(), path)
    if suffix == ".json":
        assert json.loads(path.read_text())["rows"][0]["violations"] == 3
    elif suffix == ".md":
        assert "Lemma 3.1" in path.read_text()
    else:
        read = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        assert list(read["violations"]) == [3, 0, 0]


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"unknown suffix; expected one of \.csv, \.json, \.md, \.parquet"):
        save_statements(table(), tmp_path / "theory.pdf")
    with pytest.raises(OutputError, match=r"unknown suffix; expected one of \.csv, \.json, \.parquet"):
        table().save(tmp_path / "theory.pdf")
