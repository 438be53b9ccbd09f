"""The path through the complex plane against the real line, where both apply."""

import pytest

from shrinkscope.divergence.student_t_affinity import log_affinity
from shrinkscope.divergence.student_t_contour import log_affinity_above


@pytest.mark.parametrize(("dim", "df"), [(1, 1.0), (3, 4.5), (100, 4.0), (10**6, 0.2)])
@pytest.mark.parametrize("delta", [1e-6, 0.1, 3.0, 1e3])
def test_it_continues_the_real_line(dim, df, delta):
    a = (dim + df) / 2
    order = 1 + 0.49 / a  # the largest order for which log_affinity stays on the real line, nearly
    value, error = log_affinity_above(delta, a, df, order)
    expected = log_affinity(delta, dim=dim, df=df, order=order)
    # The path is to be used for larger orders: at this one up to 1e-16·a of its digits cancel.
    assert value == pytest.approx(expected, rel=1e-13 + 1e-15 * a)
    assert abs(value - expected) <= error + 1e-13 * expected


@pytest.mark.parametrize("order", [1.2, 2.0, 50.0, 1e4])
@pytest.mark.parametrize("delta", [1e-3, 2.0, 1e80])
def test_its_error_estimate_is_small(order, delta):
    for dim, df in ((1, 4.0), (50, 0.1), (10**8, 30.0)):
        value, error = log_affinity_above(delta, (dim + df) / 2, df, order)
        assert 0 < error < 1e-10 * value
