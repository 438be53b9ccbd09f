import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinkscope.quantity import Quantity
from shrinkscope.report.format import number, percent, points, printable, quantity, shorten, unmeasurable, with_error

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
ASCII = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def read(text: str) -> float:
    """The definition: what a person would understand the text to mean."""
    return float(text.translate(ASCII).replace(",", "").replace("×10", "e"))


@given(finite)
def test_a_number_reads_back_to_within_its_digits(value: float):
    # Three significant digits are off by at most half a unit of the third: 0.5 %.
    assert read(number(value)) == pytest.approx(value, rel=0.005001, abs=0)


@given(finite.filter(bool))
def test_only_zero_is_written_as_zero(value: float):
    assert read(number(value)) != 0
    assert number(0.0) == number(-0.0) == "0"


@pytest.mark.parametrize("value", [None, math.nan])
def test_what_was_not_measured_is_not_a_number(value: float | None):
    assert number(value) == percent(value) == points(value) == with_error(value, 0.1) == "n/a"


@given(st.floats(min_value=0, max_value=1))
def test_a_percentage_is_0_or_100_only_when_exact(fraction: float):
    text = percent(fraction)
    shown = read(text.removesuffix(" %"))
    assert (shown == 0) == (fraction == 0)
    if fraction < 0.999999994:  # beyond six decimals of a percentage the text may round up
        assert (shown == 100) == (fraction == 1)
    assert shown == pytest.approx(100 * fraction, rel=0.005001, abs=0.0500001)


def test_infinity_is_shown():
    assert (number(math.inf), number(-math.inf), percent(math.inf)) == ("∞", "−∞", "∞")


def test_rounding_up_to_the_next_power_keeps_the_digits():
    assert number(0.9999) == "1.00"
    assert number(999.9) == "1,000"
    assert number(999_999.9) == "1.00×10⁶"
    assert number(0.00099999) == "0.00100"


@given(finite, st.floats(min_value=1e-6, max_value=1e5))
def test_an_estimate_and_its_error_end_at_the_same_place(value: float, error: float):
    shown, _, spread = with_error(value, error).partition(" ± ")
    assert len(shown.partition(".")[2]) == len(spread.partition(".")[2])
    # The error keeps at least one significant digit.
    assert read(spread) == pytest.approx(error, rel=0.5001)


def test_an_error_of_zero_or_of_nothing():
    assert with_error(0.25, 0.0) == "0.250 ± 0"
    assert with_error(0.25, None) == "0.250"
    assert with_error(0.25, math.nan) == "0.250"


def test_a_quantity_says_its_unit_and_what_kind_it_is():
    assert quantity(Quantity(value=2.0, unit="nats")) == "2.00 nats"
    assert quantity(Quantity(value=2.0, unit="nats", status="bound")) == "2.00 nats (bound)"
    assert quantity(Quantity(value=2.0, unit="", status="estimate", standard_error=0.3)) == "2.0 ± 0.3 (estimate)"


def test_a_reason_is_given_where_it_is_known():
    assert unmeasurable("no elements") == "n/a: no elements"
    assert unmeasurable(None) == "n/a"


@given(st.text())
def test_a_printable_name_has_no_control_characters(name: str):
    assert printable(name).isprintable()
    if name.isprintable():
        assert printable(name) == name


@given(st.text(), st.integers(min_value=2, max_value=40))
def test_a_shortened_name_fits_and_keeps_its_end(name: str, longest: int):
    text = shorten(name, longest)
    assert len(text) <= longest
    assert printable(name).endswith(re.sub("^…", "", text))
