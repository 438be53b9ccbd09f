"""Sums over a pair of tensors without rounding: rational arithmetic, or math.fsum of products that float64 holds."""

import math
from collections.abc import Sequence
from fractions import Fraction

SUMS = ("square_dense", "square_compressed", "square_delta", "product")
COUNTS = (
    "zeros_dense",
    "zeros_compressed",
    "zeros_gained",
    "zeros_lost",
    "changed",
    "nonfinite_dense",
    "nonfinite_compressed",
)


def rational_sums(xs: Sequence[float], ys: Sequence[float]) -> dict[str, Fraction]:
    """The four sums over the pairs that are finite on both sides."""
    pairs = [(Fraction(x), Fraction(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return {
        "square_dense": sum((x * x for x, _ in pairs), Fraction(0)),
        "square_compressed": sum((y * y for _, y in pairs), Fraction(0)),
        "square_delta": sum(((x - y) ** 2 for x, y in pairs), Fraction(0)),
        "product": sum((x * y for x, y in pairs), Fraction(0)),
    }


def correctly_rounded_sums(xs: Sequence[float], ys: Sequence[float]) -> dict[str, float]:
    """The four sums rounded once, for values of 16 bits, whose products and squared differences float64 holds."""
    return {
        "square_dense": math.fsum(x * x for x in xs),
        "square_compressed": math.fsum(y * y for y in ys),
        "square_delta": math.fsum((x - y) ** 2 for x, y in zip(xs, ys, strict=True)),
        "product": math.fsum(x * y for x, y in zip(xs, ys, strict=True)),
    }


def counts(xs: Sequence[float], ys: Sequence[float]) -> dict[str, int]:
    """The seven counts, element by element."""
    pairs = list(zip(xs, ys, strict=True))
    return {
        "zeros_dense": sum(x == 0 for x, _ in pairs),
        "zeros_compressed": sum(y == 0 for _, y in pairs),
        "zeros_gained": sum(x != 0 and y == 0 for x, y in pairs),
        "zeros_lost": sum(x == 0 and y != 0 for x, y in pairs),
        "changed": sum(x != y for x, y in pairs),
        "nonfinite_dense": sum(not math.isfinite(x) for x, _ in pairs),
        "nonfinite_compressed": sum(not math.isfinite(y) for _, y in pairs),
    }
