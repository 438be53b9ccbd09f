"""The integral of p^α q^(1−α) for shifted Student-t laws, against three independent derivations."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from references import integrals
from shrinkscope.divergence import student_t_kl
from shrinkscope.divergence.student_t_affinity import log_affinity
from shrinkscope.errors import DivergenceError

ORDERS = [1e-9, 0.01, 0.3, 0.5, 0.999, 1 - 1e-9, 1 + 1e-9, 1.001, 1.5, 2.0, 7.3]
LAWS = [(1, 1.0), (1, 4.0), (3, 4.5), (10, 0.5), (100, 4.0), (2000, 40.0)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("dim", "df"), LAWS)
def test_it_is_the_hypergeometric_function(order, dim, df):
    for delta in (1e-6, 1e-2, 1.0, 30.0, 1e4):
        got = log_affinity(delta, dim=dim, df=df, order=order)
        # Promised: 1e-10. Measured: 4e-13 at worst, so 5e-12 shows a regression long before the promise breaks.
        assert got == pytest.approx(integrals.log_affinity(delta, dim, df, order), rel=5e-12, abs=0), delta


@pytest.mark.parametrize("order", [0.25, 2.0, 3.5])
@pytest.mark.parametrize("df", [0.3, 3.0])
@pytest.mark.parametrize("delta", [0.5, 6.0])
def test_it_is_the_definition_on_the_line(order, df, delta):
    p, q = integrals.student_t(0.0, 1.0, df), integrals.student_t(delta, 1.0, df)
    direct = integrals.renyi_on_the_line(order, p, q, [-delta, 0, delta / 2, delta, 2 * delta], df) * (order - 1)
    assert log_affinity(delta, dim=1, df=df, order=order) == pytest.approx(direct, rel=1e-10)  # what quad leaves


def polynomial(delta: int, dim: int, df: int, order: int) -> float:
    """For an integer (order − 1)(df + dim)/2 the integral is a polynomial in δ², here in exact fractions."""
    a, q, degree = Fraction(df + dim, 2), Fraction(delta * delta, df), (order - 1) * (df + dim) // 2
    term = total = Fraction(1)
    for n in range(degree):
        factor = (Fraction(df, 2) + n) * (order * a + n) * (degree - n) * q
        term *= factor / ((n + 1) * (a + 2 * n) * (a + 2 * n + 1))
        total += term
    return math.log(total.numerator) - math.log(total.denominator)


@pytest.mark.parametrize(
    ("delta", "dim", "df", "order"), [(3, 2, 4, 50), (1, 20, 4, 30), (10**4, 20, 4, 30), (7, 200, 10, 2), (1, 1, 1, 2)]
)
def test_high_orders_are_polynomials(delta, dim, df, order):
    got = log_affinity(delta, dim=dim, df=df, order=order)
    assert got == pytest.approx(polynomial(delta, dim, df, order), rel=1e-12)  # the logarithms of the reference round


@pytest.mark.parametrize("dim", [1, 100, 10**9])
@pytest.mark.parametrize("df", [0.1, 4.0, 1e9])
@pytest.mark.parametrize("delta", [1e-3, 0.3, 1.0])
def test_orders_near_one_lead_to_the_exact_kl(dim, df, delta):
    divergences = [log_affinity(delta, dim=dim, df=df, order=1 + e) / e for e in (-1e-5, 1e-5)]
    expected = float(student_t_kl(delta, dim=dim, df=df))
    # The mean of the two sides has no first-order term; the second-order one is κ₃e²/6, κ₃ the skewness of log(p/q).
    assert sum(divergences) / 2 == pytest.approx(expected, rel=1e-7)
    assert divergences[0] <= expected <= divergences[1]


@given(delta=st.floats(1e-3, 1e3), df=st.floats(0.2, 1e4), dim=st.integers(1, 10**6), order=st.floats(0.01, 0.99))
@settings(max_examples=40)
def test_exchanging_the_laws_exchanges_the_exponents(delta, df, dim, order):
    got = log_affinity(delta, dim=dim, df=df, order=order)
    assert got == pytest.approx(log_affinity(delta, dim=dim, df=df, order=1 - order), rel=2e-10)  # 1e-10 for each


@pytest.mark.parametrize("order", [0.5, 2.0, 5.0])
def test_many_degrees_of_freedom_are_gaussian(order):
    # The correction is of the order of δ⁴/ν and δ²·dim/ν.
    assert log_affinity(1.5, dim=3, df=1e9, order=order) == pytest.approx(order * (order - 1) * 1.125, rel=1e-7)


def test_no_distance_is_exactly_zero():
    assert log_affinity(0.0, dim=3, df=4.0, order=2.0) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": -1.0}, "delta is -1.0; expected a distance from 0"),
        ({"delta": math.nan}, "delta is nan; expected a distance from 0"),
        ({"dim": 0}, "dim is 0; expected a number of coordinates"),
        ({"df": 0.05}, "df is 0.05; expected degrees of freedom from 0.1"),
        ({"order": 0.0}, "order is 0.0; expected a positive finite number other than 1"),
        ({"order": 1.0}, "order is 1.0; expected a positive finite number other than 1"),
        ({"order": math.inf}, "order is inf; expected a positive finite number other than 1"),
        ({"delta": 1e100, "df": 1e9}, "an integral would need .* nodes, at most 4000000 are used"),
    ],
)
def test_what_is_outside_the_range_is_refused(change, message):
    arguments = {"delta": 1.0, "dim": 1, "df": 4.0, "order": 0.5} | change
    with pytest.raises(DivergenceError, match=message):
        log_affinity(arguments.pop("delta"), **arguments)


def test_a_result_that_cannot_be_vouched_for_is_refused(monkeypatch):
    monkeypatch.setattr("shrinkscope.divergence.student_t_affinity.TOLERANCE", 1e-17)  # below what rounding allows
    with pytest.raises(
        DivergenceError, match=r"integral of p\^0.5 q\^0.5 .* is uncertain by .* relative error of 1e-17"
    ):
        log_affinity(1.0, dim=3, df=4.0, order=0.5)
