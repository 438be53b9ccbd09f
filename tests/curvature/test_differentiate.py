import subprocess
import sys

import pytest
import torch
from torch import nn

from shrinkscope.curvature import hessian, quadratic_form
from shrinkscope.curvature.differentiate import along, second_along, second_derivatives
from shrinkscope.errors import CurvatureError


def test_derivatives_along_a_tangent_are_those_of_calculus():
    at, tangent = torch.tensor([0.3, 2.0], dtype=torch.float64), torch.tensor([1.0, -2.0], dtype=torch.float64)
    value, slope = along(torch.exp, at, tangent)
    assert torch.equal(value, at.exp())
    torch.testing.assert_close(slope, at.exp() * tangent, rtol=1e-15, atol=0)
    torch.testing.assert_close(second_along(torch.exp, at, tangent), at.exp() * tangent**2, rtol=1e-15, atol=0)


class _Once(torch.autograd.Function):
    """An operation with a gradient and nothing more."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad


class OnlyOnce(nn.Linear):
    def forward(self, inputs):
        return _Once.apply(super().forward(inputs))


@pytest.mark.parametrize(
    "use", [lambda h: h.product(torch.ones(15).double()), lambda h: quadratic_form(h, torch.ones(15))]
)
def test_a_network_that_torch_cannot_differentiate_twice_is_refused(classes, use):
    curvature = hessian(OnlyOnce(4, 3).to(torch.float64), classes)
    with pytest.raises(
        CurvatureError, match=r"the Hessian of weight, bias \(15 weights\) cannot be computed: .*forward"
    ):
        use(curvature)


def test_a_full_card_is_told_with_advice():
    with (
        pytest.raises(CurvatureError, match="x cannot be computed: full; take smaller batches, or one layer instead"),
        second_derivatives("x"),
    ):
        raise torch.OutOfMemoryError("full\nand more")


def test_importing_takes_no_curvlinops_and_using_it_warns_of_nothing():
    script = """
import sys, torch
from torch import nn
from shrinkscope import curvature
assert "curvlinops" not in sys.modules
data = torch.randn(9, 2), torch.randint(2, (9,))
made = curvature.hessian(nn.Linear(2, 2), data)
curvature.quadratic_form(made, torch.ones(6))
curvature.largest_eigenvalue(made)
assert "curvlinops" in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
