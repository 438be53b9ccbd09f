"""The Gaussian prediction of a regression: its distances by quadrature, its scale by NumPy, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from shrinkscope.errors import DataError
from shrinkscope.performance import residual_scale
from shrinkscope.performance.regression import gaussian_distances


@given(dense=st.floats(-3, 3), step=st.floats(-4, 4), scale=st.floats(0.3, 3), angle=st.floats(0, 2 * math.pi))
def test_the_distances_are_integrals_over_the_densities(dense, step, scale, angle):
    # In the plane, along a direction: everything across it integrates to 1.
    move = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64) * step
    found = gaussian_distances(torch.full((1, 2), dense, dtype=torch.float64), dense + move, scale)
    p, q = norm(0, scale), norm(abs(step), scale)
    ends = {"points": [0.0, abs(step) / 2, abs(step)], "limit": 200}
    far = 12 * scale
    kl, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -far, abs(step) + far, **ends)
    total_variation, _ = quad(lambda x: abs(p.pdf(x) - q.pdf(x)) / 2, -far, abs(step) + far, **ends)
    # quad's absolute error on request is 1.5e-8; a sum of squares of a rounded direction is good to 1e-15.
    assert float(found.kl) == pytest.approx(kl, abs=1e-7)
    assert float(found.total_variation) == pytest.approx(total_variation, abs=1e-7)


def test_the_scale_is_the_root_mean_square_residual():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 2).double()
    x = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    y = model(x).detach() + 0.7 * torch.randn(400, 2, generator=generator, dtype=torch.float64)
    found = residual_scale(model, (x, y), batch_size=64)
    residuals = (y - model(x).detach()).numpy()
    assert found.value == pytest.approx(np.sqrt((residuals**2).mean()), rel=1e-13)
    # Of 800 Gaussian residuals the deviation has relative standard error 1/√1600; the estimate of that error itself
    # varies by some 5 %, so that a fifth is four of its standard errors.
    assert found.standard_error == pytest.approx(0.7 / 40, rel=0.2)
    assert (found.status, found.unit) == ("estimate", "units of the target")
    assert residual_scale(model, (x[:1], y[:1])).standard_error is None


def test_what_has_no_scale_or_no_distance_is_refused():
    model, x = nn.Linear(3, 2).double(), torch.ones(4, 3, dtype=torch.float64)
    with pytest.raises(DataError, match="the residuals have standard deviation 0.0; a Gaussian prediction needs"):
        residual_scale(model, (x, model(x).detach()))
    one = torch.ones(4, 2, dtype=torch.float64)
    with pytest.raises(DataError, match=r"scale = 0.0; expected a positive standard deviation"):
        gaussian_distances(one, one, 0.0)
    with pytest.raises(DataError, match=r"compressed returned NaN, infinite or torch.float64 outputs"):
        gaussian_distances(one, one * math.nan, 1.0)
    with pytest.raises(DataError, match=r"dense returned shape \(4, 2\) and compressed \(4, 1\); expected the same"):
        gaussian_distances(one, one[:, :1], 1.0)
