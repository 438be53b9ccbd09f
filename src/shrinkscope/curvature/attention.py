"""``nn.MultiheadAttention`` taken apart, so that the input and the output of every projection can be seen."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention


class Projection(nn.Module):
    """One input projection of an attention: a part of a packed weight, or a weight of its own; it owns neither.

    Args:
        attention: The attention whose weights it applies.
        position: 0 for the query, 1 for the key, 2 for the value.
    """

    def __init__(self, attention: nn.MultiheadAttention, position: int) -> None:
        super().__init__()
        self.position = position
        # Past nn.Module, which would register the attention as a part of its own part.
        self.__dict__["attention"] = attention

    def forward(self, inputs: Tensor) -> Tensor:
        """Keys, queries or values of shape (…, embed_dim)."""
        attention: nn.MultiheadAttention = self.__dict__["attention"]
        if attention._qkv_same_embed_dim:
            weight: Tensor = attention.in_proj_weight.chunk(3)[self.position]
        else:
            weight = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)[self.position]
        bias = None if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)[self.position]
        return linear(inputs, weight, bias)


class OpenAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` in evaluation mode, step by step: each projection is a module that is called.

    It computes what torch's module computes, from the same parameters under the same names, to rounding: masks, padded
    keys, ``bias_k``, ``add_zero_attn``, keys and values of other widths, and inputs without a batch. The projections
    see batches first whatever the attention's own order is. Made by ``open_attention``.
    """

    query_projection: Projection
    key_projection: Projection
    value_projection: Projection

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention.forward``."""
        batched = query.ndim == 3
        mask = self._mask(query, key, attn_mask, key_padding_mask)
        if is_causal and attn_mask is not None and key_padding_mask is None and not need_weights:
            mask = None  # torch then takes the hint for the mask
        else:
            is_causal = False
        heads = self._heads(query, key, value, batched)
        mixed, weights = _attend(*heads, mask, is_causal, need_weights)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _heads(self, query: Tensor, key: Tensor, value: Tensor, batched: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each of shape (batch, heads, positions, width of a head)."""
        inputs = [one if self.batch_first else one.transpose(0, 1) for one in (query, key, value)] if batched else None
        q, k, v = (
            projection(one)
            for projection, one in zip(
                (self.query_projection, self.key_projection, self.value_projection),
                inputs or [one.unsqueeze(0) for one in (query, key, value)],
                strict=True,
            )
        )
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (torch.cat([x, b.expand(len(x), 1, -1)], dim=1) for x, b in ((k, self.bias_k), (v, self.bias_v)))
        if self.add_zero_attn:
            k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
        q, k, v = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        return q, k, v

    def _mask(
        self, query: Tensor, key: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None
    ) -> Tensor | None:
        """What is added to the scores, broadcasting to (batch, heads, queries, keys); None for nothing."""
        parts = []
        if attn_mask is not None:
            mask = _additive(attn_mask, query.dtype)
            parts.append(mask.unflatten(0, (-1, self.num_heads)) if mask.ndim == 3 else mask[None, None])
        if key_padding_mask is not None:
            rows = _additive(key_padding_mask, query.dtype)
            parts.append((rows if rows.ndim == 2 else rows[None])[:, None, None])
        if not parts:
            return None
        # What stands behind the keys, a bias or a zero, is never masked.
        return pad(sum(parts[1:], parts[0]), (0, (self.bias_k is not None) + self.add_zero_attn))


def open_attention(plain: nn.Module) -> nn.Module:
    """Take every ``nn.MultiheadAttention`` in a network apart, in place; names and parameters stay as they are.

    Args:
        plain: A plain copy in evaluation mode. Subclasses with a forward of their own are left alone: what they
            compute is not known.

    Returns:
        The same network.
    """
    for module in list(plain.modules()):
        if isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward:
            projections = [Projection(module, position) for position in range(3)]
            module.__class__ = OpenAttention
            module.query_projection, module.key_projection, module.value_projection = projections
    return plain


@contextmanager
def unfused() -> Iterator[None]:
    """Make torch compute attention and encoder layers step by step: the fused step has no parts and no derivatives."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    # Two ways, as torch has them: they differ where all keys of a query are masked (NaN, or zero).
    if not need_weights:
        return scaled_dot_product_attention(query, key, value, mask, is_causal=is_causal), None
    scores = query * math.sqrt(1.0 / query.shape[-1]) @ key.mT
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    return weights @ value, weights


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers that are added to the scores: minus infinity where a boolean one is True."""
    if mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)
