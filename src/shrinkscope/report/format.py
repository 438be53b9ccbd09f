"""Numbers, units and names as people read them; what was not measured is never shown as zero."""

import math
from collections.abc import Iterable

from shrinkscope.quantity import Quantity

NOT_AVAILABLE = "n/a"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-3, 1e6  # outside these a plain number is harder to read than a power of ten

_MOST_DECIMALS = 7  # a standard error with more leading zeros is written as a power of ten


def number(value: float | None, digits: int = 3) -> str:
    """Write ``value`` with ``digits`` significant digits, as a power of ten where a plain number would be unreadable.

    Args:
        value: The number; ``None`` and NaN mean that it was not measured.
        digits: Significant digits, at least 1; digits before the decimal point are never rounded away.

    Returns:
        For example ``0.0123``, ``12,346``, ``1.23×10⁻⁵``, ``0`` (exactly zero only) or ``n/a``.

    >>> number(0.0123456), number(12345.6), number(-1.234e-5), number(0.0), number(None)
    ('0.0123', '12,346', '−1.23×10⁻⁵', '0', 'n/a')
    """
    if value is None or math.isnan(value):
        return NOT_AVAILABLE
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    rounded, power = float(f"{mantissa}e{exponent}"), int(exponent)
    if _SMALLEST_PLAIN <= rounded < _LARGEST_PLAIN:
        text = f"{abs(value):,.{max(0, digits - 1 - power)}f}"
    else:
        text = f"{mantissa}×10{superscript(power)}"
    return f"−{text}" if value < 0 else text


def superscript(exponent: int) -> str:
    """Write an integer as an exponent.

    >>> superscript(-12)
    '⁻¹²'
    """
    return str(exponent).translate(_SUPERSCRIPTS)


def percent(fraction: float | None, decimals: int = 1) -> str:
    """Write a fraction as a percentage; a fraction that would round to 0 or to 100 without being so keeps its digits.

    >>> percent(0.3), percent(0.9999), percent(0.00004), percent(1.0), percent(None)
    ('30.0 %', '99.99 %', '0.00400 %', '100 %', 'n/a')
    """
    if fraction is None or not math.isfinite(fraction):
        return number(fraction)
    if fraction in (0, 1):
        return f"{fraction:.0%}".replace("%", " %")
    hundredfold = 100 * fraction
    if abs(hundredfold) < 0.5 * 10.0**-decimals:
        return f"{number(hundredfold)} %"
    while decimals < 6 and abs(hundredfold) < 100 <= round(abs(hundredfold), decimals):
        decimals += 1
    return f"{hundredfold:.{decimals}f} %".replace("-", "−")


def points(fraction: float | None, decimals: int = 1) -> str:
    """Write a difference of two fractions in percentage points.

    >>> points(0.0312), points(-0.5), points(0.0), points(float("nan"))
    ('3.1 pp', '−50.0 pp', '0 pp', 'n/a')
    """
    text = percent(fraction, decimals)
    return text.replace(" %", " pp")


def count(value: int) -> str:
    """Write a number of things with separated thousands.

    >>> count(1797)
    '1,797'
    """
    return f"{value:,}"


def counted(number_of: int, thing: str) -> str:
    """Write a number of things with their name, in the plural where it is not one.

    >>> counted(1, "trial"), counted(3, "trial")
    ('1 trial', '3 trials')
    """
    return f"{count(number_of)} {thing}{'' if number_of == 1 else 's'}"


def shape(sizes: Iterable[int]) -> str:
    """Write the shape of a tensor.

    >>> shape((64, 3, 3, 3)), shape(())
    ('64×3×3×3', 'scalar')
    """
    return "×".join(map(str, sizes)) or "scalar"


def quantity(reported: Quantity, digits: int = 3) -> str:
    """Write a reported number with its unit, and with what its status says about it.

    >>> quantity(Quantity(value=0.1234, unit="nats"))
    '0.123 nats'
    >>> quantity(Quantity(value=0.1234, unit="nats", status="estimate", standard_error=0.02))
    '0.12 ± 0.02 nats (estimate)'
    >>> quantity(Quantity(value=2.0, unit="nats", status="bound"))
    '2.00 nats (bound)'
    """
    text = with_error(reported.value, reported.standard_error, digits)
    unit = f" {reported.unit}" if reported.unit else ""
    return f"{text}{unit}{'' if reported.status == 'exact' else f' ({reported.status})'}"


def with_error(value: float | None, standard_error: float | None, digits: int = 3) -> str:
    """Write an estimate with one standard error, both to the same place: the error's first digit, its second after a 1.

    >>> with_error(0.12345, 0.0123), with_error(-0.5, 0.034), with_error(1234.5, 96.0), with_error(None, 0.1)
    ('0.123 ± 0.012', '−0.50 ± 0.03', '1,234 ± 96', 'n/a')
    """
    if standard_error is None or value is None or not (math.isfinite(value) and math.isfinite(standard_error)):
        return number(value, digits)
    leading, _, power = f"{standard_error:.0e}".partition("e")
    decimals = max(0, (1 if leading == "1" else 0) - int(power))
    if not 0 < standard_error < _LARGEST_PLAIN or decimals > _MOST_DECIMALS:
        return f"{number(value, digits)} ± {number(standard_error, 1)}"
    return f"{value:,.{decimals}f} ± {standard_error:,.{decimals}f}".replace("-", "−")


def unmeasurable(reason: str | None) -> str:
    """Say that something could not be measured, and why.

    >>> unmeasurable("all weights are zero"), unmeasurable(None)
    ('n/a: all weights are zero', 'n/a')
    """
    return f"{NOT_AVAILABLE}: {printable(reason)}" if reason else NOT_AVAILABLE


def printable(name: str) -> str:
    r"""Escape control characters, with which the name of a layer could drive a terminal or break a table.

    >>> printable("conv1.weight"), printable("a\x1b[31mb\n")
    ('conv1.weight', 'a\\x1b[31mb\\n')
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def shorten(name: str, longest: int) -> str:
    """Shorten the name of a layer to its end, which tells layers apart.

    >>> shorten("conv1.weight", 20), shorten("model.layers.31.self_attn.q_proj.weight", 20)
    ('conv1.weight', '…_attn.q_proj.weight')
    """
    whole = printable(name)
    return whole if len(whole) <= longest else "…" + whole[len(whole) - longest + 1 :]


def ellipsis(text: str, longest: int) -> str:
    """Cut a text at its end.

    >>> ellipsis("lowest 50 %", 20), ellipsis("lowest L1 channels 50 %", 20)
    ('lowest 50 %', 'lowest L1 channels …')
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
