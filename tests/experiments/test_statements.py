from pathlib import Path

import pytest
import torch
from torch import nn

from shrinkscope.analysis.statements import StatementRow
from shrinkscope.compression import MagnitudePruning, prune
from shrinkscope.errors import DataError, TheoryError
from shrinkscope.experiments import statements
from shrinkscope.experiments.statements import put_to_the_test
from shrinkscope.experiments.zoo import load_data, load_network

DATA = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(scope="module")
def table():
    stages = []
    found = put_to_the_test(instances=20, tolerance=0.2, progress=lambda *stage: stages.append(stage))
    return found, stages


def rows(table, case: str) -> dict[tuple[str, str], StatementRow]:
    return {(row.statement, row.form): row for row in table.rows if row.case == case}


def test_every_statement_is_tried_on_quadratics_and_on_the_digits_or_says_why_not(table):
    found, stages = table
    statements_of_the_paper = {
        "Eq. (3)", "Eq. (4)", "Eq. (5)", "Definition 2.3", "Lemma 2.5", "Corollary 2.6", "Eq. (16)", "Definition 2.7",
        "Lemma 3.1", "Corollary 3.2", "Lemma 3.3", "Corollary 3.4", "Theorem 3.5", "Theorem 3.6",
    }  # fmt: skip
    for case in ("quadratics", "digits"):
        tried = rows(found, case)
        assert {statement for statement, _ in tried} - {"predictive bound"} == statements_of_the_paper
        assert tried["Lemma 3.3", "corrected"].instances > 0
        assert tried["Definition 2.7", "published"].violations > 0
    assert rows(found, "digits")["Lemma 3.1", "corrected"].instances == 12
    assert rows(found, "digits")["Theorem 3.6", "corrected"].instances == 36
    assert [done for _, done, _ in stages] == [0, 1, 2, 3]
    assert {total for _, _, total in stages} == {3}


def test_no_corrected_form_is_violated_and_some_printed_ones_are(table):
    found, _ = table
    assert {row.form for row in found.violated()} == {"published"}
    assert {row.statement for row in found.violated("published")} >= {"Eq. (3)", "Eq. (5)", "Corollary 3.4"}
    assert "corrected: 0 of" in found.summary()


def test_on_digits_the_predictive_bound_is_tighter_than_every_statement_of_the_paper(table):
    digits = rows(table[0], "digits")
    predictive = digits["predictive bound", "disagreement"].tightness
    assert 1 <= predictive < 2
    for statement in ("Corollary 3.2", "Theorem 3.5", "Theorem 3.6"):
        assert digits[statement, "corrected"].tightness > 100 * predictive


def test_the_sparsity_that_the_bound_allows_comes_with_the_table(table):
    sparsity = table[0].sparsity
    assert [curve.layer for curve in sparsity.curves] == ["network", "conv1.weight", "conv2.weight", "head.weight"]
    for curve in sparsity.curves:
        assert curve.optimal.measured["accuracy"].absolute <= curve.optimal.bound <= 0.2


def test_a_pair_of_the_users_is_a_case_of_its_own():
    model = load_network("digits").eval()
    pruned = load_network("digits").eval()
    pruned.load_state_dict(model.state_dict())
    prune(pruned, MagnitudePruning(level=0.5))
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(80, 1, 8, 8, generator=generator), torch.randint(10, (80,), generator=generator)
    found = statements._on_pair(model, pruned, data, 40, 0)
    by_name = {(row.statement, row.form): row for row in found}
    assert by_name["Corollary 3.2", "corrected"].instances == 1
    assert by_name["Theorem 3.5", "corrected"].instances == 1
    assert "a pair has none" in by_name["Theorem 3.6", "all forms"].reason
    assert not [name for name, row in by_name.items() if row.violations and name[1] != "published"]


@pytest.mark.parametrize("layers", ["conv*", "none"])
def test_a_last_layer_that_was_not_compressed_is_said(layers):
    model = load_network("digits").eval()
    pruned = load_network("digits").eval()
    pruned.load_state_dict(model.state_dict())
    if layers != "none":
        prune(pruned, MagnitudePruning(level=0.5, layers=layers))
    data = torch.zeros(20, 1, 8, 8), torch.zeros(20, dtype=torch.long)
    found = {row.statement: row for row in statements._on_pair(model, pruned, data, 20, 0)}
    assert found["Lemma 3.1"].reason == "head.weight, the last layer, was not compressed"
    if layers == "none":
        assert "Theorem 3.5 chains at least 2" in found["Theorem 3.5"].reason


def test_a_network_that_does_not_end_in_a_linear_layer_is_said():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    other = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh())
    found = {
        row.statement: row
        for row in statements._last_layer_rows(model, other, (torch.randn(9, 4), torch.zeros(9).long()))
    }
    assert found["Lemma 3.1"].instances == 0
    assert "linear layer" in found["Lemma 3.1"].reason


def test_a_pair_needs_data():
    with pytest.raises(DataError, match="a pair of networks needs data"):
        put_to_the_test((nn.Linear(2, 2), nn.Linear(2, 2)))


def test_a_tolerance_is_checked_before_anything_is_computed():
    with pytest.raises(TheoryError, match=r"tolerance is -1.0; expected a positive number"):
        put_to_the_test(tolerance=-1.0, progress=lambda *stage: pytest.fail("began"))


@pytest.mark.skipif(not (DATA / "weights").is_dir(), reason="real weights are not laid out")
def test_on_a_real_pair_the_predictive_bound_is_far_below_the_paper_s():
    from shrinkscope.weights import runnable

    network, data = load_network("lenet300"), load_data(str(DATA / "mnist_t10k"))
    pair = [runnable(DATA / "weights" / f"lenet300_rjoe_{name}.npz", network) for name in ("dense", "pruned_retrained")]
    rows = {(row.statement, row.form): row for row in statements._on_pair(*pair, data, 128, 0)}
    assert not [name for name, row in rows.items() if row.violations and name[1] != "published"]
    accuracy = rows["predictive bound", "disagreement"]
    assert accuracy.measured == pytest.approx(0.0021, abs=1e-9)  # 98.16 and 98.37 %
    assert accuracy.bound == pytest.approx(0.015, abs=1e-9)  # 150 of 10,000
    assert rows["Corollary 3.2", "corrected"].tightness > 1000 * accuracy.tightness
