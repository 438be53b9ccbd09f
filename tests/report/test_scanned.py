import io

import pytest
import torch
from rich.console import Console
from torch import nn

from shrinkscope.analysis import scan
from shrinkscope.errors import OutputError, SelectionError
from shrinkscope.report import print_scan, save_scan
from shrinkscope.report.scanned import candidate_sheet, layer_sheet


def found(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    return scan(model, inputs=inputs, methods=["lowest"], levels=[0.001, 0.5, 0.8], **options)


def test_candidates_are_sorted_and_carry_their_standard_errors():
    result = found()
    sheet = candidate_sheet(result, "predictive_kl", None)
    kls = [row[2].order for row in sheet.rows]
    assert kls == sorted(kls, reverse=True)
    assert len(kls) == 4  # 0.1 % of 48 and of 32 weights is none
    assert all(" ± " in row[2].text for row in sheet.rows)
    assert len(candidate_sheet(result, "ap2", 1).rows) == 1
    assert candidate_sheet(result, "ap2", 1).columns[2].title == "AP2"
    with pytest.raises(SelectionError, match="no column 'size'"):
        candidate_sheet(result, "size", None)


def test_layers_say_what_was_not_measured():
    sheet = layer_sheet(found(), None)
    assert [row[2].order for row in sheet.rows] == [2, 2]
    assert all(row[3].text.startswith("changes nothing") for row in sheet.rows)
    assert all(len(row[3].text) <= 60 for row in sheet.rows)


def test_everything_fits_into_eighty_columns():
    out = io.StringIO()
    print_scan(found(), Console(file=out, width=80, highlight=False), top=3)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("Most sensitive" in line for line in lines)


def test_another_suffix_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="unknown suffix; expected one of .json, .csv, .parquet, .png, .svg"):
        save_scan(found(), tmp_path / "scan.txt")


def test_no_layer_is_called_both_most_and_least_sensitive():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4) for _ in range(5)]
    for count in (2, 5):
        found = scan(nn.Sequential(*layers[:count]), inputs=torch.randn(40, 4), methods=("lowest",), levels=(0.5,))
        line = next(line for line in found.summary().splitlines() if line.startswith("Most sensitive"))
        names = line.removesuffix(".").partition(" (")[0].replace("Most sensitive: ", "").replace("; least: ", ", ")
        assert len(set(names.split(", "))) == len(names.split(", ")) == count


def test_rankings_of_rounding_say_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model[2].weight.mul_(1e-7)  # every class as probable as the others, whatever the inputs
        quiet = scan(model, inputs=inputs, methods=["lowest"], levels=[0.5])
    assert "That is rounding: on these inputs no candidate changes the predictions" in quiet.summary()
    assert "rounding" not in found().summary()
