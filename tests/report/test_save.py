import json

import pandas as pd
import pytest

from shrinkscope.analysis import Comparison, Explanation
from shrinkscope.errors import OutputError
from shrinkscope.report import save_comparison


def test_the_suffix_decides_what_is_written(comparison: Comparison, tmp_path):
    for name in ("c.html", "c.json", "c.csv", "c.parquet"):
        save_comparison(comparison, tmp_path / name)
    assert (tmp_path / "c.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(json.loads((tmp_path / "c.json").read_text())["rows"]) == len(comparison.rows)
    for table in (pd.read_csv(tmp_path / "c.csv"), pd.read_parquet(tmp_path / "c.parquet")):
        assert list(table["layer"]) == [*(row.layer for row in comparison.rows), "all measured layers"]


def test_an_explanation_keeps_performance_in_json_and_layers_in_tables(explanation: Explanation, tmp_path):
    for name in ("e.html", "e.json", "e.csv"):
        save_comparison(explanation, tmp_path / name)
    assert "accuracy" in json.loads((tmp_path / "e.json").read_text())["performance"]["test"]
    assert list(pd.read_csv(tmp_path / "e.csv")["layer"]) == ["weight", "bias", "all measured layers"]
    assert "Performance before and after" in (tmp_path / "e.html").read_text(encoding="utf-8")


def test_another_suffix_is_refused_before_anything_is_written(comparison: Comparison, tmp_path):
    with pytest.raises(OutputError, match=r"unknown suffix; expected one of \.html, \.json, \.csv, \.parquet"):
        save_comparison(comparison, tmp_path / "c.docx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["layer", "block", "role", "expert"])
def test_groups_are_written_when_they_are_asked_for(comparison: Comparison, explanation: Explanation, tmp_path, by):
    groups = comparison.grouped_by(by).rows
    for name in ("g.json", "g.csv", "g.parquet"):
        save_comparison(comparison, tmp_path / name, group_by=by)
    assert len(json.loads((tmp_path / "g.json").read_text())["groups"]["rows"]) == len(groups)
    assert len(pd.read_csv(tmp_path / "g.csv")) == len(pd.read_parquet(tmp_path / "g.parquet")) == len(groups) + 1
    save_comparison(explanation, tmp_path / "e.json", group_by=by)
    assert "performance" in json.loads((tmp_path / "e.json").read_text())
