"""Layers of the chain of Lemma 3.3, Corollary 3.4 and Theorem 3.5: norms of weights, constants of latents."""

import msgspec

from shrinkscope.errors import TheoryError
from shrinkscope.theory.checks import not_negative, positive


class LayerNorms(msgspec.Struct, frozen=True, kw_only=True):
    """Norms of one layer's weights, in their unit.

    Attributes:
        dense: ‖ω^(l)‖.
        compressed: ‖ω̃^(l)‖.

    Raises:
        TheoryError: If a norm is negative or NaN.
    """

    dense: float
    compressed: float

    def __post_init__(self) -> None:
        not_negative(self.dense, "‖ω‖, the norm of the dense weights")
        not_negative(self.compressed, "‖ω̃‖, the norm of the compressed weights")

    @property
    def furthest(self) -> float:
        """(‖ω‖ + ‖ω̃‖)², the most that ‖ω − ω̃‖² can be: the triangle inequality, and nothing about a latent."""
        return (self.dense + self.compressed) ** 2


class GaussianLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer with Gaussian latents of equal covariance Σ.

    Attributes:
        norms: Norms of the weights.
        inverse_min: λ_min, the smallest eigenvalue of Σ⁻¹.
        inverse_max: λ_max, the largest one.

    Raises:
        TheoryError: If an eigenvalue is not positive, or the largest is below the smallest.
    """

    norms: LayerNorms
    inverse_min: float
    inverse_max: float

    def __post_init__(self) -> None:
        low = positive(self.inverse_min, "λ_min, the smallest eigenvalue of Σ⁻¹")
        high = positive(self.inverse_max, "λ_max, the largest eigenvalue of Σ⁻¹")
        if high < low:
            raise TheoryError(f"λ_max of Σ⁻¹ is {high:g} and λ_min is {low:g}; expected λ_min ≤ λ_max")


class BoundedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer whose latents live in a space Z of finite volume, as Lemma 3.3 wants it.

    Attributes:
        norms: Norms of the weights.
        trace_p: tr Σ, the trace of the covariance of P_ω.
        trace_q: tr Σ̃, that of P_ω̃.
        lipschitz: C in |P_ω(z) − P_ω̃(z)| ≤ C‖ω − ω̃‖ for every z.
        volume: Vol(Z). Infinite for Gaussian and Student-t latents.
        inverse_density: ∫ dz/P_ω̃(z), which the paper writes as E[1/P_ω̃²].

    Raises:
        TheoryError: If a number is out of range, or the last is below Vol(Z)², which Cauchy–Schwarz forbids.
    """

    norms: LayerNorms
    trace_p: float
    trace_q: float
    lipschitz: float
    volume: float
    inverse_density: float

    def __post_init__(self) -> None:
        not_negative(self.trace_p, "the trace of Σ")
        not_negative(self.trace_q, "the trace of Σ̃")
        positive(self.lipschitz, "C, the Lipschitz constant of the density")
        if not self.volume > 0:
            raise TheoryError(f"Vol(Z) is {self.volume}; expected a positive number, infinity included")
        # A relative 1e-9 is left for the rounding of a measured integral.
        if not not_negative(self.inverse_density, "∫ dz/P_ω̃") >= self.volume**2 * (1 - 1e-9):
            raise TheoryError(
                f"∫ dz/P_ω̃ is {self.inverse_density:g} and Vol(Z) is {self.volume:g}; expected at least Vol(Z)², "
                "since the densities integrate to 1"
            )


def printed_constant(layer: LayerNorms, following: LayerNorms) -> float:
    """C_ω^(l,l+1) of Eqs. (33)–(35), in print: a sum of squared norms c and of 2·c·c, twice.

    Args:
        layer: Norms of layer l.
        following: Norms of layer l + 1.

    Returns:
        c + c' + 2cc' for the dense layers plus the same for the compressed ones, with c a squared norm. The products
        are of the fourth order, where those of the norms were meant.

    Source: the paper's Eq. (35).
    """
    pairs = ((layer.dense, following.dense), (layer.compressed, following.compressed))
    return sum(first**2 + second**2 + 2 * first**2 * second**2 for first, second in pairs)


def following_square(square: float, layer: LayerNorms, following: LayerNorms) -> float:
    """3·(‖ω^(l+1)‖ + ‖ω^(l)‖)² + 3·‖Δ^(l)‖² + 3·(‖ω̃^(l+1)‖ + ‖ω̃^(l)‖)², what Eqs. (32)–(34) give when put right.

    Proof: Δ^(l+1) is the sum of three vectors (those of the shorter layer padded with zeros), the square of a sum of
    three is at most three times the sum of squares, and ‖a − b‖ ≤ ‖a‖ + ‖b‖.

    Args:
        square: An upper bound on ‖Δ^(l)‖².
        layer: Norms of layer l.
        following: Norms of layer l + 1.

    Returns:
        An upper bound on ‖Δ^(l+1)‖². It is never below `LayerNorms.furthest` of layer l + 1, which needs no layer l:
        3(p² + q²) ≥ (p + q)² for p ≥ ‖ω^(l+1)‖, q ≥ ‖ω̃^(l+1)‖. The detour over layer l gains nothing, ever.

    Source: derived here; tests/theory/test_through_layers.py.
    """
    dense = (following.dense + layer.dense) ** 2
    compressed = (following.compressed + layer.compressed) ** 2
    return 3 * (dense + square + compressed)
