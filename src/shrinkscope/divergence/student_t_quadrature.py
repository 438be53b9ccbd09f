"""Quadrature of the Student-t divergence: one integral, one rule, every regime.

With a = (ν + d)/2, b = ν/2 and q = δ²/ν, the divergence of two Student-t distributions in d dimensions that share the
degrees of freedom ν and the scale is a one-dimensional integral (derived in docs/student-t.md),

    KL = a ∫₀¹ tᵃ⁻¹/(1 − t) · [1 − (1 + q t(1 − t))⁻ᵇ] dt = a ∫ w(x) [1 − (1 + q v(x))⁻ᵇ] dx over the whole line,

where t = 1/(1 + eˣ), w(x) = (1 + eˣ)⁻ᵃ and v(x) = eˣ/(1 + eˣ)². Every factor is positive and the bracket is an
``expm1`` of a ``log1p``: nothing cancels, however small δ or large d is. The derivative is of the same kind,

    dKL/dδ = a δ ∫ w(x) v(x) (1 + q v(x))⁻ᵇ⁻¹ dx.

Both are summed by the trapezoidal rule with step h = 3/16. Relative errors, proved in docs/student-t.md for all d ≥ 1,
ν > 0 and δ > 0 at once:

* step: at most C/cos²θ · exp(−2πθ/h) for every θ < π/2, with C = 6.4 for the value and 25 for the derivative, because
  all singularities lie on Im x = ±π whatever q is; θ = 1.48 gives 3e-19 and 9e-19;
* ends: at most 1e-16 together (``_ends`` places them);
* rounding: terms are positive and each is accurate to 120 roundings, so a sum of n ≤ 3,300 of them is accurate to
  (n + 120) · 1.1e-16 < 4e-13. Measured over the grid of the tests: 7e-16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64

STEP = 3 / 16  # a dyadic fraction: the nodes j * STEP are exact
_CUT = 42.0  # both ends are cut where the integrand has fallen by exp(-42) relative to the integral
_BLOCK = 2**16  # elements of one table of distances by nodes: 512 KiB stay in the cache of one core


@dataclass(frozen=True)
class Rule:
    """Trapezoidal rule for one (dim, df) and all distances up to a largest one.

    Attributes:
        total: a = (df + dim)/2.
        df: Degrees of freedom, twice b.
        weights: a h w(x) at each node.
        mixing: v(x) at each node.
    """

    total: float
    df: float
    weights: Float64[np.ndarray, " nodes"]
    mixing: Float64[np.ndarray, " nodes"]

    @property
    def block(self) -> int:
        """Number of distances whose table over the nodes has a bounded size."""
        return max(1, _BLOCK // len(self.mixing))


def trapezoidal_rule(dim: float, df: float, largest: float) -> Rule:
    """Nodes and weights that serve every distance up to ``largest``.

    Args:
        dim: Number of coordinates.
        df: Degrees of freedom.
        largest: Largest distance that will be asked for; it moves the left end only.

    Returns:
        The rule, float64.

    Source: derived here; tests/divergence/test_student_t_quadrature.py checks step and ends.
    """
    total = (df + dim) / 2
    left, right = _ends(total, df, largest)
    return _rule(total, df, math.floor(left / STEP), math.ceil(right / STEP))


@lru_cache(maxsize=64)  # a study asks for few dimensions many times; a rule is 5 to 50 kB
def _rule(total: float, df: float, first: int, last: int) -> Rule:
    """The rule with nodes from first to last, in steps."""
    exponential = np.exp(STEP * np.arange(first, last + 1))
    weights = total * STEP * np.exp(-total * np.log1p(exponential))
    mixing = exponential / (1 + exponential) ** 2
    for shared in (weights, mixing):
        shared.flags.writeable = False
    return Rule(total, df, weights, mixing)


def _ends(total: float, df: float, largest: float) -> tuple[float, float]:
    """Ends of the sum: exp(-42) below the knee of the integrand on the left, w = exp(-42) on the right."""
    knee = max(total + 1, (df / 2 + 1) * largest * largest / df)
    return -_CUT - math.log(knee), math.log(math.expm1(_CUT / total))


def divergence(delta: Float64[np.ndarray, " n"], rule: Rule) -> Float64[np.ndarray, " n"]:
    """KL of each distance, in nats.

    Args:
        delta: Distances, at least 1e-100 (below, their squares underflow) and at most the largest one of ``rule``.
        rule: Nodes and weights.

    Returns:
        Positive divergences.

    Source: the second integral of the module's docstring.
    """
    ratios, result = delta * delta / rule.df, np.empty_like(delta)
    for start in range(0, len(delta), rule.block):
        part = slice(start, start + rule.block)
        table = ratios[part, None] * rule.mixing
        np.log1p(table, out=table)
        table *= -rule.df / 2
        np.expm1(table, out=table)
        result[part] = table @ rule.weights
    return -result
