"""A plan in the terminal."""

import io

import msgspec
import pytest
import torch
from rich.console import Console

from references.residual import Residual
from shrinkscope.analysis.plan import plan
from shrinkscope.quantity import Quantity
from shrinkscope.report.format import number
from shrinkscope.report.planned import print_plan

INPUTS = torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def printed(made):
    out = io.StringIO()
    print_plan(made, console=Console(file=out, width=120))
    return out.getvalue()


@pytest.fixture(scope="module")
def made():
    return plan(Residual().double().eval(), sparsity=0.6, inputs=INPUTS, allocation="lamp")


def test_every_layer_has_its_row_and_the_total_is_said(made):
    text = printed(made)
    for row in made.rows:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(row.layer)]
        for cell in (f"{row.weights:,}", f"{row.kept:,}", f"{100 * row.level:.1f}", number(row.cost_alone)):
            assert cell in line.split(), (row.layer, cell)
    assert (
        f"lamp: remove {made.removed:,} of {made.weights:,} weights (60.0 %) in 4 layers, the lowest magnitudes" in text
    )
    assert len([line for line in text.splitlines() if f"{100 * made.curve[0].sparsity:.1f}" in line]) >= 1


def test_no_change_of_class_is_said_with_the_number_of_inputs(made):
    none = msgspec.structs.replace(
        made, disagreement=Quantity(value=0.0, unit="fraction", status="estimate", standard_error=0.0)
    )
    assert "Predicted class changes for none of the 12 inputs." in printed(none)


def test_a_plan_without_inputs_says_so():
    text = printed(plan(Residual().double().eval(), sparsity=0.6, allocation="erk"))
    assert "No inputs, so no damage is predicted." in text
    assert "milder and harsher" not in text


def test_what_becomes_of_the_weights_that_stay_is_said(made):
    settings = msgspec.structs.replace(made.settings, within="compensated", damping=0.01)
    assert "in 4 layers; the weights that stay make up for them." in printed(
        msgspec.structs.replace(made, settings=settings)
    )
