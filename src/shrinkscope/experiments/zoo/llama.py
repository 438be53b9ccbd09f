"""The language model Llama, small enough for a processor, with its weights read from files of llama2.c."""

import os
import struct
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from shrinkscope.errors import WeightsError

_EPSILON = 1e-5
_BASE = 10_000.0  # of the rotary angles
_HEADER = struct.Struct("<7i")
_LARGEST = 1 << 20  # of any number in the header: more is no header


class LlamaSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the network.

    Attributes:
        dim: Width of the residual stream.
        hidden: Width inside the gated layers.
        layers: Number of blocks.
        heads: Number of query heads; divides ``dim`` into heads of even width.
        kv_heads: Number of key and value heads; divides ``heads``.
        vocabulary: Number of tokens.
        positions: Longest sequence.
        tied: Whether the scores are made with the embedding's weight.
    """

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    tied: bool = True


STORIES_260K = LlamaSizes(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, vocabulary=512, positions=512)
"""The stories260K model of llama2.c: 260,000 weights, trained on TinyStories."""


class Attention(nn.Module):
    """Causal self-attention with rotary positions; several query heads share one key and value head."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        width = sizes.dim // sizes.heads
        self.width, self.heads, self.kv_heads = width, sizes.heads, sizes.kv_heads
        self.q_proj = nn.Linear(sizes.dim, sizes.heads * width, bias=False)
        self.k_proj = nn.Linear(sizes.dim, sizes.kv_heads * width, bias=False)
        self.v_proj = nn.Linear(sizes.dim, sizes.kv_heads * width, bias=False)
        self.o_proj = nn.Linear(sizes.heads * width, sizes.dim, bias=False)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """The attended values, shape of ``hidden``: (sequences, positions, dim)."""
        query = self.q_proj(hidden).unflatten(-1, (self.heads, self.width)).transpose(1, 2)
        key = self.k_proj(hidden).unflatten(-1, (self.kv_heads, self.width)).transpose(1, 2)
        value = self.v_proj(hidden).unflatten(-1, (self.kv_heads, self.width)).transpose(1, 2)
        shared = self.heads // self.kv_heads
        query, key = _rotated(query, cosine, sine), _rotated(key, cosine, sine).repeat_interleave(shared, 1)
        value = value.repeat_interleave(shared, 1)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(attended.transpose(1, 2).flatten(2))


class Gated(nn.Module):
    """The feed-forward part: down(silu(gate(x)) · up(x))."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(sizes.dim, sizes.hidden, bias=False)
        self.up_proj = nn.Linear(sizes.dim, sizes.hidden, bias=False)
        self.down_proj = nn.Linear(sizes.hidden, sizes.dim, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Of the shape of ``hidden``."""
        return self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class Block(nn.Module):
    """Attention and the gated layers, each after a norm and added to the residual stream."""

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(sizes.dim, _EPSILON)
        self.self_attn = Attention(sizes)
        self.post_attention_layernorm = nn.RMSNorm(sizes.dim, _EPSILON)
        self.mlp = Gated(sizes)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """The residual stream after the block."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cosine, sine)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Trunk(nn.Module):
    """Everything but the scores, under the name ``model`` as in Hugging Face's LlamaForCausalLM."""

    rates: Tensor

    def __init__(self, sizes: LlamaSizes) -> None:
        super().__init__()
        width = sizes.dim // sizes.heads
        self.embed_tokens = nn.Embedding(sizes.vocabulary, sizes.dim)
        self.layers = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.dim, _EPSILON)
        rates = _BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        self.register_buffer("rates", rates.float(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """The residual stream after the last norm, shape (sequences, positions, dim)."""
        hidden = self.embed_tokens(ids)
        # Of every sequence, so that no step looks at another row of the batch; a dimension of one for the heads.
        positions = (torch.ones_like(ids).cumsum(1) - 1).unsqueeze(1)
        angles = positions.unsqueeze(-1) * self.rates
        cosine, sine = angles.cos(), angles.sin()
        for block in self.layers:
            hidden = block(hidden, cosine, sine)
        return self.norm(hidden)


class Llama(nn.Module):
    """The language model: token ids (sequences, positions) to logits (sequences, positions, vocabulary).

    Modules are named as in Hugging Face's LlamaForCausalLM, but rotary angles turn adjacent pairs of a head's entries,
    as in llama2.c: weights of Hugging Face's own need the rows of q_proj and k_proj reordered first.

    Args:
        sizes: Sizes of the network.
    """

    def __init__(self, sizes: LlamaSizes = STORIES_260K) -> None:
        super().__init__()
        self.model = Trunk(sizes)
        self.lm_head = nn.Linear(sizes.dim, sizes.vocabulary, bias=False)
        if sizes.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token after each position."""
        return self.lm_head(self.model(ids))


def read_llama2c(path: str | os.PathLike[str], *, transpositions: int = 0) -> Llama:
    """A network from a file of llama2.c in its first layout (version 0): seven numbers, then float32 tensors.

    Args:
        path: The file.
        transpositions: How often each matrix of the blocks was transposed, as numbers without a shape, after it had
            been written; they are turned back. A faulty converter does that, and the network then reads, runs, and
            speaks nonsense: text that it samples must be likely under itself.

    Returns:
        The network, in evaluation mode.

    Raises:
        WeightsError: If the file cannot be read, its header is absurd, or its size is not what the header says.

    Source: the layout of ``legacy_export`` in llama2.c; tests/experiments/test_llama.py writes such a file, and reads
        the probability of sampled text with the trained weights.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    sizes = _sizes(path, content)
    network = Llama(sizes).eval()
    tensors = _in_file_order(network, sizes)
    half = sizes.dim // sizes.heads // 2
    skipped = 2 * sizes.positions * half  # rotary angles, which the network computes itself
    head = 0 if sizes.tied else sizes.vocabulary * sizes.dim
    expected = _HEADER.size + 4 * (sum(tensor.numel() for tensor in tensors) + skipped + head)
    if len(content) != expected:
        raise WeightsError(
            f"{path} holds {len(content):,} bytes, and its header stands for {expected:,}; it is truncated, or no "
            "file of llama2.c in its first layout"
        )
    values = torch.frombuffer(bytearray(content), dtype=torch.float32, offset=_HEADER.size)
    if not sizes.tied:
        tensors.append(network.lm_head.weight)
    _fill(tensors, values, at=len(values) - head, skipped=skipped)
    for linear in (module for module in network.model.modules() if isinstance(module, nn.Linear)):
        linear.weight.data = _turned_back(linear.weight.data, transpositions)
    return network


def _sizes(path: str | os.PathLike[str], content: bytes) -> LlamaSizes:
    if len(content) < _HEADER.size:
        raise WeightsError(f"{path} holds {len(content)} bytes, expected a header of {_HEADER.size} and weights")
    dim, hidden, layers, heads, kv_heads, vocabulary, positions = found = _HEADER.unpack_from(content)
    sane = all(0 < abs(number) <= _LARGEST for number in found) and all(
        number > 0 for number in (*found[:5], positions)
    )
    if not sane or dim % heads or (dim // heads) % 2 or heads % kv_heads:
        raise WeightsError(
            f"{path} begins with {', '.join(map(str, found))}; expected dim, hidden, layers, heads, kv_heads, "
            "vocabulary (negative if not tied) and positions of llama2.c, dim divisible by heads, heads by kv_heads"
        )
    return LlamaSizes(
        dim=dim,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        vocabulary=abs(vocabulary),
        positions=positions,
        tied=vocabulary > 0,
    )


def _in_file_order(network: Llama, sizes: LlamaSizes) -> list[Tensor]:
    """The parameters in the order of the file: one kind after the other, each over all blocks."""
    kinds = (
        *("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        *("post_attention_layernorm", "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"),
    )
    blocks = [network.model.get_submodule(f"layers.{index}") for index in range(sizes.layers)]
    inner = [block.get_parameter(f"{kind}.weight") for kind in kinds for block in blocks]
    return [network.model.embed_tokens.weight, *inner, network.model.norm.weight]


def _fill(tensors: list[Tensor], values: Tensor, *, at: int, skipped: int) -> None:
    """Copy the values into the tensors; those from ``at`` on, after the angles, belong to the last of them."""
    start = 0
    with torch.no_grad():
        for tensor in tensors:
            if start + skipped == at < len(values):
                start = at
            tensor.copy_(values[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()


def _turned_back(matrix: Tensor, times: int) -> Tensor:
    """Undo transpositions of a matrix's numbers that left its shape as it is."""
    numbers = matrix
    for _ in range(times):
        numbers = numbers.reshape(matrix.shape).T
    return numbers.reshape(matrix.shape).contiguous()


def _rotated(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each adjacent pair of entries by its position's angle."""
    even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)
