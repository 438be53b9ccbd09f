"""Blocks of GGML's quantised types, dequantised as the format's reference implementation does, bit for bit."""

import importlib.util
from collections.abc import Callable, Mapping

import msgspec
import torch
from torch import Tensor


class BlockType(msgspec.Struct, frozen=True):
    """A type of GGML.

    Attributes:
        name: Its name.
        elements: Elements of a block.
        nbytes: Bytes of a block.
    """

    name: str
    elements: int
    nbytes: int


TYPES: Mapping[int, BlockType] = {
    2: BlockType("Q4_0", 32, 18),
    3: BlockType("Q4_1", 32, 20),
    6: BlockType("Q5_0", 32, 22),
    7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34),
    9: BlockType("Q8_1", 32, 40),
    10: BlockType("Q2_K", 256, 84),
    11: BlockType("Q3_K", 256, 110),
    12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176),
    14: BlockType("Q6_K", 256, 210),
    15: BlockType("Q8_K", 256, 292),
    16: BlockType("IQ2_XXS", 256, 66),
    17: BlockType("IQ2_XS", 256, 74),
    18: BlockType("IQ3_XXS", 256, 98),
    19: BlockType("IQ1_S", 256, 50),
    20: BlockType("IQ4_NL", 32, 18),
    21: BlockType("IQ3_S", 256, 110),
    22: BlockType("IQ2_S", 256, 82),
    23: BlockType("IQ4_XS", 256, 136),
    29: BlockType("IQ1_M", 256, 56),
    34: BlockType("TQ1_0", 256, 54),
    35: BlockType("TQ2_0", 256, 66),
    39: BlockType("MXFP4", 32, 17),
    40: BlockType("NVFP4", 64, 36),
}
"""Number in the file → quantised type."""

PLAIN: Mapping[int, torch.dtype] = {
    0: torch.float32,
    1: torch.float16,
    24: torch.int8,
    25: torch.int16,
    26: torch.int32,
    27: torch.int64,
    28: torch.float64,
    30: torch.bfloat16,
}
"""Number in the file → type whose elements stand alone."""


def dequantiser(kind: BlockType) -> Callable[[Tensor], Tensor] | None:
    """The function that makes float32 values of blocks, shape (blocks, nbytes) → (blocks, elements).

    Args:
        kind: The type. Common ones are decoded here, others by the package ``gguf`` where it is installed.

    Returns:
        The function; None where there is none.
    """
    if kind.name in _HERE:
        return _HERE[kind.name]
    if importlib.util.find_spec("gguf") is None:
        return None
    return _by_package(kind.name)


def _by_package(name: str) -> Callable[[Tensor], Tensor] | None:
    from gguf import GGMLQuantizationType, quants

    kind = getattr(GGMLQuantizationType, name, None)
    if kind is None or kind not in quants._type_traits:
        return None
    return lambda blocks: torch.from_numpy(quants.dequantize(blocks.numpy(), kind))


def _half(blocks: Tensor, place: int) -> Tensor:
    """The float16 at a place of each block, in float32, shape (blocks, 1)."""
    return blocks[:, place : place + 2].clone().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """The lower halves of all bytes, then the upper ones, along the last dimension."""
    return torch.cat([packed & 15, packed >> 4], dim=-1)


def _fifth_bits(blocks: Tensor, place: int) -> Tensor:
    """The 32 single bits in four bytes of each block, lowest first, as 16 where they are set."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return (blocks[:, place : place + 4, None] >> shifts & 1).flatten(1) << 4


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).float() + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * ((_nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)).float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)).float() + _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].view(torch.int8).float() * _half(blocks, 0)


def _scales_and_offsets(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight offsets of six bits each, in twelve bytes: the first four whole, the others split."""
    scale, offset, both = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = torch.cat([scale & 63, (both & 15) | (scale >> 2 & 48)], dim=1)
    offsets = torch.cat([offset & 63, (both >> 4) | (offset >> 2 & 48)], dim=1)
    return scales.float(), offsets.float()


def _affine(blocks: Tensor, codes: Tensor) -> Tensor:
    """Eight groups of 32 codes under the scales and offsets in the first 16 bytes of each block."""
    scales, offsets = _scales_and_offsets(blocks[:, 4:16])
    scale, offset = (_half(blocks, 0) * scales)[:, :, None], (_half(blocks, 2) * offsets)[:, :, None]
    return (scale * codes.float() - offset).flatten(1)


def _q4_k(blocks: Tensor) -> Tensor:
    return _affine(blocks, _nibbles(blocks[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def _q5_k(blocks: Tensor) -> Tensor:
    low = _nibbles(blocks[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    high = blocks[:, None, 16:48] >> torch.arange(8, dtype=torch.uint8)[:, None] & 1
    return _affine(blocks, low | high << 4)


def _q6_k(blocks: Tensor) -> Tensor:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 8, 32)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8)[:, None]
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3).reshape(-1, 8, 32)
    codes = (low | high << 4).float() - 32
    scales = _half(blocks, 208) * blocks[:, 192:208].view(torch.int8).float()
    return (scales[:, :, None] * codes.reshape(-1, 16, 16)).flatten(1)


_HERE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
