"""How many of a number of things a fraction means: an exact integer, never a tolerance."""

import math
from fractions import Fraction


def nearest_count(fraction: float, size: int) -> int:
    """The whole number nearest to fraction × size, halves up.

    Args:
        fraction: In [0, 1]. Taken as the decimal that a person writes for it (0.35 is 35/100, not the binary number
            just below), since 35 % of 10 weights is 3.5 and has to become 4.
        size: Number of things counted, at least 0.

    Returns:
        An integer in [0, size].

    Source: derived here (tests/compression/test_count.py compares it with decimal arithmetic).
    """
    # repr is the shortest decimal that denotes the float; the rest is exact rational arithmetic, for any size.
    return math.floor(Fraction(repr(float(fraction))) * size + Fraction(1, 2))
