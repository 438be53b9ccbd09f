"""compare(): agreement with plain NumPy on whole tensors, and every input that cannot be measured."""

import json
import math

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from shrinkscope import compare
from shrinkscope.errors import LatentError, OutputError, PairingError, SelectionError
from shrinkscope.latent import StudentT


@pytest.fixture
def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(3)
    dense = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    compressed = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    compressed.load_state_dict(dense.state_dict())
    prune.l1_unstructured(compressed[0], "weight", amount=0.5)
    prune.random_unstructured(compressed[3], "weight", amount=0.25)
    return dense, compressed


def by_numpy(dense: np.ndarray, compressed: np.ndarray) -> dict[str, float]:
    """Whole-tensor float64 arithmetic with compensated sums: slow, and obviously right."""
    x, y = dense.astype(np.float64).ravel(), compressed.astype(np.float64).ravel()
    squares = math.fsum((x - y) ** 2)
    norm = math.fsum(x**2)
    return {
        "sparsity_dense": np.count_nonzero(x == 0) / x.size,
        "sparsity": np.count_nonzero(y == 0) / x.size,
        "ap2": squares,
        "relative_ap2": squares / norm,
        "cosine": math.fsum(x * y) / math.sqrt(norm * math.fsum(y**2)),
        "max_abs_delta": float(np.max(np.abs(x - y))),
        "square_dense": norm,
        "square_compressed": math.fsum(y**2),
        "product": math.fsum(x * y),
        "ap3_gaussian": squares / (2 * norm / x.size),
    }


def test_every_column_agrees_with_numpy_on_whole_tensors(networks):
    dense, compressed = networks
    compressed(torch.zeros(1, 1, 4, 4))
    table = compare(dense, compressed).to_dataframe().set_index("layer")
    for name, layer in (("0.weight", 0), ("3.weight", 3)):
        truth = by_numpy(dense[layer].weight.detach().numpy(), compressed[layer].weight.detach().numpy())
        for column, value in truth.items():
            assert table.loc[name, column] == pytest.approx(value, rel=1e-12), column
        zeros = int(truth["sparsity"] * dense[layer].weight.numel())
        assert (table.loc[name, "zeros_gained"], table.loc[name, "zeros_lost"]) == (zeros, 0)


def test_the_total_is_the_whole_network_as_one_vector(networks):
    dense, compressed = networks
    comparison = compare(dense, compressed, layers="*.weight")
    before = [dense[i].weight for i in (0, 1, 3)]
    after = [compressed[0].weight_orig * compressed[0].weight_mask, compressed[1].weight]
    after.append(compressed[3].weight_orig * compressed[3].weight_mask)
    whole = by_numpy(*(torch.cat([t.detach().flatten() for t in side]).numpy() for side in (before, after)))
    total = comparison.total
    assert total.ap2 == pytest.approx(whole["ap2"], rel=1e-12)
    assert total.relative_ap2 == pytest.approx(whole["relative_ap2"], rel=1e-12)
    assert total.sparsity == whole["sparsity"]
    assert total.divergences["ap3_gaussian"].value == pytest.approx(
        sum(row.divergences["ap3_gaussian"].value for row in comparison.rows), rel=1e-14
    )


def test_modules_state_dicts_and_files_give_the_same_table(networks, tmp_path):
    dense, compressed = networks
    torch.save(dense.state_dict(), tmp_path / "dense.pt")
    torch.save(compressed.state_dict(), tmp_path / "compressed.pt")
    expected = compare(dense, compressed).to_dataframe().drop(columns="role")
    for a, b in (
        (dense.state_dict(), compressed.state_dict()),
        (tmp_path / "dense.pt", str(tmp_path / "compressed.pt")),
    ):
        # A batch norm's bias is told from a layer's bias only by the module that owns it.
        pd.testing.assert_frame_equal(compare(a, b).to_dataframe().drop(columns="role"), expected)


def test_columns_follow_the_latents_in_order(networks):
    comparison = compare(*networks, latents=["student_t_grouped", StudentT(name="t2", df=2.0)])
    assert comparison.columns() == ["ap3_student_t_grouped", "ap3_t2"]
    assert list(comparison.to_dataframe().columns[-4:]) == ["ap3_student_t_grouped", "ap3_t2", "measurable", "reason"]


def test_the_selection_limits_the_rows(networks):
    assert [row.layer for row in compare(*networks, layers=["0.*"]).rows] == ["0.weight", "0.bias"]
    with pytest.raises(PairingError, match="the selection of layers matches no tensor"):
        compare(*networks, layers="nothing")


def test_what_cannot_be_measured_says_why_and_is_never_zero():
    dense = {
        "nan": torch.tensor([1.0, math.nan]),
        "empty": torch.empty(0),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "zero": torch.zeros(3),
        "fine": torch.ones(3),
    }
    compressed = {name: tensor.clone() for name, tensor in dense.items()} | {
        "nan": torch.tensor([1.0, math.inf]),
        "zero": torch.tensor([0.0, 2.0, 0.0]),
    }
    rows = {row.layer: row for row in compare(dense, compressed).rows}
    reasons = {name: (row.measurable, row.reason) for name, row in rows.items()}
    assert reasons["nan"] == (
        False,
        "1 of 2 values are NaN or infinite on the dense side "
        "and 1 of 2 values are NaN or infinite on the compressed side",
    )
    assert reasons["empty"] == (False, "no elements")
    assert reasons["count"] == (False, "int64 values on the dense side are not weights")
    assert reasons["flags"] == (False, "bool values on the dense side are not weights")
    assert reasons["fine"] == (True, None)
    assert rows["nan"].ap2 is None
    assert rows["nan"].sparsity is None
    zero = rows["zero"]
    assert (zero.measurable, zero.ap2, zero.relative_ap2, zero.cosine, zero.divergences) == (True, 4.0, None, None, {})
    assert zero.reason is not None
    assert zero.reason.startswith(
        "all dense weights are zero: relative measures are undefined; ap3_gaussian: all dense"
    )


def test_identical_is_said_only_when_every_value_was_compared(networks):
    dense, compressed = networks
    assert compare(dense, dense).identical
    assert compare(dense, dense).summary().startswith("identical: all ")
    assert not compare(dense, compressed).identical
    partly = compare(dense, dense, layers="0.*")
    assert not partly.identical
    assert partly.summary().startswith("no difference found in the 2 tensors that were compared; not everything was")
    state = dense.state_dict()
    assert not compare(state, state | {"extra": torch.ones(1)}).identical
    same = compare(state, state)
    zeros = msgspec.structs.replace(
        same, rows=(msgspec.structs.replace(same.rows[0], bitwise_equal=False), *same.rows[1:])
    )
    assert not zeros.identical
    assert zeros.summary().startswith("equal, but not identical: 1 of 9 tensors hold the same numbers in other bits")
    counted = state | {"1.num_batches_tracked": torch.tensor(5)}
    assert not compare(state, counted).identical
    broken = {"w": torch.tensor([math.nan])}
    assert "identical" not in compare(broken, broken).summary()


def test_tied_weights_are_counted_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.decoder = nn.Linear(3, 5, bias=False)
            self.decoder.weight = self.embedding.weight

    assert compare(Tied(), Tied()).total.parameters == 15


def test_negative_zero_and_subnormal_weights_are_fine():
    tiny = torch.tensor([5e-324, -0.0, 1.0], dtype=torch.float64)
    row = compare({"w": tiny}, {"w": torch.zeros(3, dtype=torch.float64)}).rows[0]
    assert (row.sparsity_dense, row.sparsity, row.ap2) == (pytest.approx(1 / 3), 1.0, 1.0)


def test_top_sorts_by_any_column(networks):
    comparison = compare(*networks)
    assert list(comparison.top(1)["layer"]) == ["3.weight"] or list(comparison.top(1)["layer"]) == ["0.weight"]
    by_sparsity = comparison.top(2, by="sparsity")["sparsity"]
    assert list(by_sparsity) == sorted(comparison.to_dataframe()["sparsity"].dropna(), reverse=True)[:2]
    with pytest.raises(SelectionError, match=r"no column 'ap4'; the columns are layer, role"):
        comparison.top(by="ap4")


def test_json_is_strict_and_complete(networks):
    dense, compressed = networks
    state = dense.state_dict() | {"zero": torch.zeros(2)}
    record = json.loads(compare(state, compressed.state_dict() | {"zero": torch.zeros(2)}).to_json())
    assert record["schema"] == 1
    assert {row["layer"] for row in record["rows"]} == set(state)
    assert record["rows"][-1]["relative_ap2"] is None
    assert record["rows"][0]["divergences"]["ap3_gaussian"].keys() == {"value", "unit", "status", "standard_error"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_saved_tables_read_back(networks, tmp_path, suffix):
    comparison = compare(*networks)
    path = tmp_path / f"table{suffix}"
    comparison.save(path)
    readers = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".json": lambda p: pd.DataFrame(json.loads(p.read_text())["rows"]),
    }
    table = readers[suffix](path)
    if suffix != ".json":
        total = table.iloc[-1]
        assert (total["layer"], total["parameters"]) == ("all measured layers", comparison.total.parameters)
        for name in ("ap2", "relative_ap2", "sparsity", "zeros_gained", "max_abs_delta"):
            assert total[name] == pytest.approx(getattr(comparison.total, name), rel=1e-15)
        for name, divergence in comparison.total.divergences.items():
            assert total[name] == pytest.approx(divergence.value, rel=1e-15)
        assert list(table["total"]) == [False] * len(comparison.rows) + [True]
        table = table[~table["total"].astype(bool)]
    np.testing.assert_allclose(table["ap2"].astype(float), comparison.to_dataframe()["ap2"], rtol=1e-15)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_unknown_suffix_or_folder_leaves_nothing_behind(networks, tmp_path):
    comparison = compare(*networks)
    with pytest.raises(OutputError, match=r"unknown suffix; expected one of \.csv, \.json, \.parquet"):
        comparison.save(tmp_path / "table.xls")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        comparison.save(tmp_path / "file" / "table.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_plot_draws_a_bar_a_measured_layer(networks):
    figure = compare(*networks).plot("ap2")
    assert len(figure.axes[0].patches) == compare(*networks).to_dataframe()["ap2"].notna().sum()
    with pytest.raises(SelectionError, match="no column 'nothing'"):
        compare(*networks).plot("nothing")
    empty = {"w": torch.zeros(2)}
    with pytest.raises(SelectionError, match="relative_ap2 is undefined in every layer"):
        compare(empty, empty).plot()


def test_unknown_latent(networks):
    with pytest.raises(LatentError, match="unknown latent 'laplace'"):
        compare(*networks, latents=["laplace"])


def test_progress_is_told_layer_by_layer(networks):
    seen: list[str] = []
    compare(*networks, layers="*.weight", progress=lambda name, size: seen.append(name))
    assert seen == ["0.weight", "1.weight", "3.weight"]


def test_standard_errors_of_estimates_that_share_their_draws_add_up():
    from shrinkscope.latent import SampledStudentT

    generator = torch.Generator().manual_seed(2)
    dense = {name: torch.randn(300, generator=generator) for name in ("a", "b")}
    compressed = {name: tensor * 0.9 for name, tensor in dense.items()}
    comparison = compare(dense, compressed, latents=[SampledStudentT(samples=2000)])
    parts = [row.divergences["ap3_student_t_sampled"] for row in comparison.rows]
    total = comparison.total.divergences["ap3_student_t_sampled"]
    assert total.status == "estimate"
    assert total.standard_error == pytest.approx(sum(part.standard_error or 0.0 for part in parts), rel=1e-14)
    assert "ap3_student_t_sampled_standard_error" in comparison.to_dataframe()


def test_an_overflow_is_null_in_json_and_not_an_error():
    dense, pruned = {"w": torch.tensor([1e200, 1.0], dtype=torch.float64)}, {"w": torch.zeros(2, dtype=torch.float64)}
    comparison = compare(dense, pruned)
    assert comparison.rows[0].ap2 == math.inf
    assert json.loads(comparison.to_json())["rows"][0]["ap2"] is None
