"""From a pair of tensors to the record of one layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from shrinkscope.analysis.group import decibels
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.deferred import torch
from shrinkscope.errors import DivergenceError, LatentError
from shrinkscope.kernel import Numbers, as_tensor, is_floating
from shrinkscope.latent import Latent
from shrinkscope.quantity import Quantity
from shrinkscope.weights import CHUNK, PairMoments, PairSummary, TensorPair, summarise
from shrinkscope.weights.summary import pieces_of

if TYPE_CHECKING:
    from torch import Tensor


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a layer is read; none of it changes more than the last digits of a number.

    Attributes:
        exact: Float64 sums throughout (within 1e-12), or the faster ones (within 1e-7).
        threads: Threads that read and sum; the processor's cores by default.
        device: Where PyTorch takes the sums; on the CPU by default.
        values: Whether distinct values and N:M patterns are looked for.
        rank: Whether the effective rank of Δ is computed.
        progress: Called with the number of elements of each finished chunk.
    """

    exact: bool = True
    threads: int | None = None
    device: str | None = None
    values: bool = True
    rank: bool = False
    progress: Callable[[int], None] | None = None


def measure(
    pair: TensorPair, latents: Sequence[Latent], reading: Reading | None = None
) -> tuple[LayerRecord, PairMoments]:
    """Compare one layer, or say why it cannot be compared.

    Args:
        pair: The layer before and after compression.
        latents: Latent distributions to take divergences of.
        reading: How it is read; exactly by default.

    Returns:
        Its record and its sums, the latter empty when it was not measured.
    """
    reading = reading or Reading()
    summary = (
        None
        if not_weights(pair)
        else summarise(
            pair,
            groups=groups_of(latents),
            exact=reading.exact,
            values=reading.values,
            threads=reading.threads,
            device=reading.device,
            progress=reading.progress,
        )
    )
    return recorded(pair, summary, latents, reading)


def recorded(
    pair: TensorPair, summary: PairSummary | None, latents: Sequence[Latent], reading: Reading
) -> tuple[LayerRecord, PairMoments]:
    """The record of a layer of which the sums are known.

    Args:
        pair: The layer before and after compression.
        summary: Its sums; None for what ``not_weights`` says is none.
        latents: Latent distributions to take divergences of.
        reading: How it was read.

    Returns:
        Its record and its sums, the latter empty when it was not measured.
    """
    if summary is None:
        reason, changed = not_weights(pair) or "", _changed(pair)
        return _unmeasured(pair, reason, changed, bitwise=changed == 0 if _same_type(pair) else None), PairMoments()
    if not summary.moments.finite:
        reason = _not_finite(summary.moments)
        return _unmeasured(pair, reason, changed=None, bitwise=_bitwise(summary.moments)), PairMoments()
    row = _measured(summary, latents)
    if reading.rank:
        from shrinkscope.weights.rank import effective_rank

        row = msgspec.structs.replace(row, effective_rank=effective_rank(pair))
    return row, summary.moments


def groups_of(latents: Sequence[Latent]) -> list[int]:
    """The numbers of groups whose means the latents ask for."""
    return sorted({latent.groups for latent in latents if latent.groups is not None})


def _same_type(pair: TensorPair) -> bool:
    return pair.dense.type == pair.compressed.type


def _bitwise(moments: PairMoments) -> bool | None:
    return None if moments.bits_differ is None else moments.bits_differ == 0


def not_weights(pair: TensorPair) -> str | None:
    """Why the tensors of a pair are none that can be measured; None when they can."""
    for side, view in (("dense", pair.dense), ("compressed", pair.compressed)):
        if not is_floating(view.type):
            return f"{view.type} values on the {side} side are not weights"
    return "no elements" if pair.dense.parameters == 0 else None


def _not_finite(moments: PairMoments) -> str:
    found = [
        f"{count} of {moments.count} values are NaN or infinite on the {side} side"
        for side, count in (("dense", moments.nonfinite_dense), ("compressed", moments.nonfinite_compressed))
        if count
    ]
    return " and ".join(found)


def _changed(pair: TensorPair) -> int:
    """Elements that differ in tensors that are not weights, such as batch counters."""
    before, after = pieces_of(pair.dense), pieces_of(pair.compressed)
    total = pair.dense.parameters
    places = [(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    return sum(_different(before(*place), after(*place)) for place in places)


def _different(before: "Tensor | Numbers", after: "Tensor | Numbers") -> int:
    mine, theirs = (values.array() if isinstance(values, Numbers) else None for values in (before, after))
    if mine is not None and theirs is not None:
        return int(np.count_nonzero(mine != theirs))
    return int(torch.count_nonzero(as_tensor(before) != as_tensor(after)))


def _unmeasured(pair: TensorPair, reason: str, changed: int | None, *, bitwise: bool | None) -> LayerRecord:
    return LayerRecord(
        layer=pair.dense.name,
        role=pair.dense.role,
        shape=pair.dense.shape,
        dtype=pair.compressed.type,
        parameters=pair.dense.parameters,
        stored=pair.compressed.stored,
        changed=changed,
        bitwise_equal=bitwise,
        measurable=False,
        reason=reason,
    )


def _measured(summary: PairSummary, latents: Sequence[Latent]) -> LayerRecord:
    moments = summary.moments
    divergences, reasons = _divergences(summary, latents)
    if moments.square_dense == 0.0:
        reasons.insert(0, "all dense weights are zero: relative measures are undefined")
    norms = math.sqrt(moments.square_dense) * math.sqrt(moments.square_compressed)
    return LayerRecord(
        layer=summary.pair.dense.name,
        role=summary.pair.dense.role,
        shape=summary.pair.dense.shape,
        dtype=summary.pair.compressed.type,
        parameters=moments.count,
        stored=summary.pair.compressed.stored,
        changed=moments.changed,
        zeros_dense=moments.zeros_dense,
        zeros=moments.zeros_compressed,
        sparsity_dense=moments.zeros_dense / moments.count,
        sparsity=moments.zeros_compressed / moments.count,
        zeros_gained=moments.zeros_gained,
        zeros_lost=moments.zeros_lost,
        ap2=moments.square_delta,
        relative_ap2=relative(moments),
        cosine=min(1.0, max(-1.0, moments.product / norms)) if norms else None,
        max_abs_delta=moments.largest_delta,
        square_dense=moments.square_dense,
        square_compressed=moments.square_compressed,
        product=moments.product,
        bitwise_equal=_bitwise(moments),
        snr_db=decibels(moments.square_dense, moments.square_delta),
        **_of_values(summary),
        divergences=divergences,
        reason="; ".join(reasons) or None,
    )


def _of_values(summary: PairSummary) -> dict[str, Any]:
    dense, compressed = summary.dense_values, summary.compressed_values
    if dense is None or compressed is None:
        return {}
    return {
        "pattern": compressed.pattern,
        "distinct_dense": dense.distinct,
        "distinct": compressed.distinct,
        "effective_bits_dense": dense.effective_bits,
        "effective_bits": compressed.effective_bits,
    }


def relative(moments: PairMoments) -> float | None:
    """Relative AP2, ‖Δ‖²/‖ω‖², without unit; None when all dense weights are zero."""
    return moments.square_delta / moments.square_dense if moments.square_dense else None


def _divergences(summary: PairSummary, latents: Sequence[Latent]) -> tuple[dict[str, Quantity], list[str]]:
    values: dict[str, Quantity] = {}
    reasons: list[str] = []
    for latent in latents:
        try:
            values[latent.column] = latent.divergence(summary)
        except (LatentError, DivergenceError) as error:
            reasons.append(f"{latent.column}: {error}")
    return values, reasons
