"""What a comparison returns: one record a layer, the totals, and everything that could not be compared."""

import msgspec

from shrinkscope.quantity import Quantity
from shrinkscope.weights import Mismatch, Role


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One layer before and after compression.

    Attributes:
        layer: Name of its tensor in the plain network.
        role: What it does in the network.
        shape: Its shape.
        dtype: How it is stored after compression.
        parameters: Number of elements.
        changed: Elements whose values differ; None when the values could not be compared.
        zeros_dense, zeros: Elements equal to zero before and after.
        sparsity_dense, sparsity: These as a fraction of the elements, in [0, 1].
        zeros_gained, zeros_lost: Elements that became zero, and that ceased to be zero.
        stored: Numbers that the compressed network keeps in place of this tensor, such as those of two factors; None
            where it keeps the tensor itself.
        ap2: ‖Δ‖² = ‖ω − ω̃‖² in squared weight units; within 1e-7, or 1e-12 where exact sums were asked for.
        relative_ap2: ‖Δ‖²/‖ω‖²; None when all dense weights are zero.
        cosine: Cosine of the angle between ω and ω̃; None when either is all zero.
        max_abs_delta: max |Δ| in weight units.
        square_dense, square_compressed, product: Σω² = ‖ω‖², Σω̃² and Σωω̃ in squared weight units; float64 sums, from
            which rows are merged exactly.
        bitwise_equal: Whether both tensors hold the same bits: 0 and −0 are equal numbers of different bits. None when
            the bits were not compared, as those of different types cannot be.
        snr_db: 10·log₁₀(‖ω‖²/‖Δ‖²) in dB; None when nothing changed or all dense weights are zero.
        pattern: The N:M pattern after compression, at most N of M consecutive weights of a row non-zero, such as
            ``"2:4"``; None without one.
        distinct_dense, distinct: Number of distinct values before and after, exact; None for more than 1,024.
        effective_bits_dense, effective_bits: log₂ of these numbers, in bits; None for more than 10 bits.
        effective_rank: Effective rank of Δ as a matrix, if asked for: see ``effective_rank``.
        divergences: Column → divergence, for the latents that are defined for this layer.
        measurable: False when the layer was not compared; then the numbers above are None.
        reason: Why it was not compared, or which measures are undefined; None when there is nothing to say.
    """

    layer: str
    role: Role
    shape: tuple[int, ...]
    dtype: str
    parameters: int
    stored: int | None = None
    changed: int | None = None
    zeros_dense: int | None = None
    zeros: int | None = None
    sparsity_dense: float | None = None
    sparsity: float | None = None
    zeros_gained: int | None = None
    zeros_lost: int | None = None
    ap2: float | None = None
    relative_ap2: float | None = None
    cosine: float | None = None
    max_abs_delta: float | None = None
    square_dense: float | None = None
    square_compressed: float | None = None
    product: float | None = None
    bitwise_equal: bool | None = None
    snr_db: float | None = None
    pattern: str | None = None
    distinct_dense: int | None = None
    distinct: int | None = None
    effective_bits_dense: float | None = None
    effective_bits: float | None = None
    effective_rank: float | None = None
    divergences: dict[str, Quantity] = {}
    measurable: bool = True
    reason: str | None = None


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """The measured layers together, tied weights once.

    Attributes:
        layers: Layers measured.
        changed_layers: Layers in which at least one value differs.
        parameters: Their elements.
        changed: Elements whose values differ.
        zeros_dense, zeros: Elements equal to zero before and after.
        sparsity_dense, sparsity: Fraction of zeros among them before and after; None when there are no elements.
        zeros_gained, zeros_lost: Elements that became zero, and that ceased to be zero.
        ap2: Sum of the layers' AP2, in squared weight units.
        relative_ap2: Σ‖Δ‖²/Σ‖ω‖²; None when all dense weights are zero.
        cosine, max_abs_delta, snr_db, pattern, distinct_dense, distinct, effective_bits_dense, effective_bits,
            effective_rank: Of all layers as one group, as ``GroupRecord`` defines them.
        divergences: Column → sum over the layers for which it is defined: the divergence of the product measure.
    """

    layers: int
    changed_layers: int
    parameters: int
    changed: int
    zeros_dense: int
    zeros: int
    sparsity_dense: float | None
    sparsity: float | None
    zeros_gained: int
    zeros_lost: int
    ap2: float
    relative_ap2: float | None
    cosine: float | None
    max_abs_delta: float
    snr_db: float | None
    pattern: str | None
    distinct_dense: int | None
    distinct: int | None
    effective_bits_dense: float | None
    effective_bits: float | None
    effective_rank: float | None
    divergences: dict[str, Quantity]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and how: enough to do it again.

    Attributes:
        dense, compressed: Where the weights came from.
        latents: The latent distributions as JSON texts.
        layers: The selection of layers as a JSON text.
        version: Version of shrinkscope.
        exact: Whether all sums were taken in float64, within 1e-12; otherwise within 1e-7.
        kernel: What took the sums: an instruction set of the kernel, or "torch", or the device.
    """

    dense: str
    compressed: str
    latents: tuple[str, ...]
    layers: str
    version: str
    exact: bool = True
    kernel: str = "torch"


class ComparisonRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison as it is written to JSON; the schema's version changes when a field changes its meaning."""

    schema: int
    settings: Settings
    rows: tuple[LayerRecord, ...]
    total: Total
    unpaired: tuple[Mismatch, ...]
