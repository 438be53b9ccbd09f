import math

import pytest
import torch

from shrinkscope.divergence import student_t_quadrature as quadrature
from shrinkscope.divergence.student_t import derivative

DELTAS = torch.logspace(-8, 8, 60, dtype=torch.float64)
CASES = [(1.0, 1e-6), (1.0, 0.5), (3.0, 1e6), (100.0, 4.0), (1e5, 30.0), (1e10, 0.5), (1e15, 1e15)]


def both(dim: float, df: float) -> torch.Tensor:
    rule = quadrature.trapezoidal_rule(dim, df, 1e8)
    return torch.stack([torch.from_numpy(quadrature.divergence(DELTAS.numpy(), rule)), derivative(DELTAS, rule)])


@pytest.mark.parametrize(("dim", "df"), CASES)
def test_half_the_step_changes_nothing(dim, df, monkeypatch):
    coarse = both(dim, df)
    monkeypatch.setattr(quadrature, "STEP", quadrature.STEP / 2)
    # The error of the step is below 1e-18; what is left is the rounding of the sums.
    torch.testing.assert_close(coarse, both(dim, df), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("dim", "df"), CASES)
def test_farther_ends_change_nothing(dim, df, monkeypatch):
    near = both(dim, df)
    monkeypatch.setattr(quadrature, "_CUT", 60.0)
    torch.testing.assert_close(near, both(dim, df), rtol=1e-13, atol=0)


@pytest.mark.parametrize("step", [0.6, 0.8])
@pytest.mark.parametrize(("dim", "df"), CASES)
def test_the_error_of_a_coarse_step_stays_below_its_bound(dim, df, step, monkeypatch):
    exact = both(dim, df)[0]
    monkeypatch.setattr(quadrature, "STEP", step)
    bound = min(6.4 / math.cos(s) ** 2 * math.exp(-2 * math.pi * s / step) for s in (1.2, 1.3, 1.4, 1.45, 1.48, 1.5))
    error = float((both(dim, df)[0] / exact - 1).abs().max())
    assert error < bound + 1e-13


def test_a_coarse_step_has_an_error_that_is_seen(monkeypatch):
    exact = both(100.0, 4.0)[0]
    monkeypatch.setattr(quadrature, "STEP", 1.0)
    assert float((both(100.0, 4.0)[0] / exact - 1).abs().max()) > 1e-6  # so the bound above is not empty


def test_blocks_cover_every_distance_once(monkeypatch):
    whole = both(100.0, 4.0)
    monkeypatch.setattr(quadrature, "_BLOCK", 1)
    torch.testing.assert_close(whole, both(100.0, 4.0), rtol=1e-14, atol=0)
