"""Every statistic in every output of diff: of tensors, of groups, in total; on a GPU when there is one."""

import json

import pandas as pd
import pytest
import torch

from commands import Said, command
from shrinkscope.weights import save_tensors

STATISTICS = [
    "parameters",
    "zeros_dense",
    "zeros",
    "sparsity_dense",
    "sparsity",
    "zeros_gained",
    "zeros_lost",
    "pattern",
    "distinct_dense",
    "distinct",
    "effective_bits_dense",
    "effective_bits",
    "effective_rank",
    "ap2",
    "relative_ap2",
    "cosine",
    "max_abs_delta",
    "snr_db",
]
DIVERGENCES = ["ap3_gaussian", "ap3_student_t"]


def run(monkeypatch, capsys, *arguments: str) -> Said:
    monkeypatch.setenv("COLUMNS", "400")
    return command()(monkeypatch, capsys, *arguments)


@pytest.fixture
def files(tmp_path):
    """Two blocks of 2:4 patterns with few values; the second loses more."""
    generator = torch.Generator().manual_seed(0)
    dense = {f"layers.{block}.up.weight": torch.randn(8, 8, generator=generator) for block in range(2)}
    dense = {name: (4 * tensor).round() / 4 for name, tensor in dense.items()}
    kept = torch.tensor([True, True, False, False]).repeat(8, 2)
    pruned = {name: tensor * kept + (0.125 if ".1." in name else 0) * kept for name, tensor in dense.items()}
    paths = (str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"))
    save_tensors(paths[0], dense)
    save_tensors(paths[1], pruned)
    return paths


def test_json_has_every_statistic_of_tensors_groups_and_the_total(files, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "diff", *files, "--rank", "--group-by", "role", "--json")
    found = json.loads(out)
    assert code == 0
    for record in (*found["rows"], *found["groups"]["rows"], found["total"]):
        assert [name for name in STATISTICS if record[name] is None] == []
        assert set(record["divergences"]) == set(DIVERGENCES)
    assert found["rows"][0]["pattern"] == "2:4"
    damage = [row["relative_ap2"] for row in found["rows"]]
    assert damage == sorted(damage, reverse=True)


@pytest.mark.parametrize("group", [(), ("--group-by", "block")])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_have_every_statistic_the_most_damaged_first(files, tmp_path, monkeypatch, capsys, suffix, group):
    path = tmp_path / f"found.{suffix}"
    assert run(monkeypatch, capsys, "diff", *files, "--rank", *group, "--sort", "snr_db", "--out", str(path))[0] == 0
    table = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    assert table[[*STATISTICS, *DIVERGENCES]].notna().all().all()
    assert list(table["total"]) == [False] * (len(table) - 1) + [True]
    assert table["snr_db"][:-1].is_monotonic_increasing


@pytest.mark.parametrize("column", ["zeros", "zeros_dense", "zeros_gained", "zeros_lost", "effective_rank", "cosine"])
@pytest.mark.parametrize("group", [(), ("--group-by", "block")])
def test_the_terminal_shows_what_it_is_sorted_by(files, monkeypatch, capsys, column, group):
    code, out, _ = run(monkeypatch, capsys, "diff", *files, "--rank", "--sort", column, *group)
    assert code == 0
    for heading in ("weights", "zeros", "pattern", "rel. AP2", "SNR", "AP2", "max |Δ|", "distinct", "eff. bits"):
        assert heading in out
    for heading in ("eff. rank", "cosine", "AP3 Gauss", "AP3 t", "all measured layers"):
        assert heading in out


def test_the_rank_is_computed_when_it_is_asked_for_alone(files, monkeypatch, capsys):
    assert "eff. rank" not in run(monkeypatch, capsys, "diff", *files)[1]
    code, _, err = run(monkeypatch, capsys, "diff", *files, "--sort", "effective_rank")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot sort by 'effective_rank'" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_one_line(files, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "diff", *files, "--device", "cuda")
    assert (code, err) == (2, "shrinkscope: --device cuda: torch finds no GPU here; give --device cpu\n")
    code, _, err = run(monkeypatch, capsys, "diff", *files, "--device", "tpu")
    assert (code, err) == (2, "shrinkscope: --device tpu: expected auto, cpu or cuda\n")
    first, second = (
        run(monkeypatch, capsys, "diff", *files, "--json", *more)[1] for more in ((), ("--device", "auto"))
    )
    assert first == second


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_numbers(files, monkeypatch, capsys):
    here, there = (
        json.loads(run(monkeypatch, capsys, "diff", *files, "--json", "--device", device)[1])
        for device in ("cpu", "cuda")
    )
    assert there["settings"]["kernel"] == "cuda"
    for x, y in zip(here["rows"], there["rows"], strict=True):
        # Both sums are of float64.
        assert y["ap2"] == pytest.approx(x["ap2"], rel=1e-12)
        assert (y["zeros"], y["changed"]) == (x["zeros"], x["changed"])


@pytest.mark.parametrize(
    "option", [("--sort", "relativ_ap2"), ("--out", "x.xls"), ("--sort", "x", "--group-by", "block")]
)
def test_a_misspelt_column_or_suffix_is_said_before_anything_is_read(files, monkeypatch, capsys, option):
    monkeypatch.setattr("shrinkscope.weights.open_weights", lambda *_: pytest.fail("something was read"))
    code, _, err = run(monkeypatch, capsys, "diff", *files, *option)
    assert (code, err.count("\n")) == (2, 1)
