"""Small codes packed densely into 32-bit words, lowest bits first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shrinkscope.deferred import torch
from shrinkscope.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

WORD = 32


def unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """The codes in packed words.

    Args:
        words: int32, shape (rows, words).
        bits: Bits of a code, 1 to 8; code i begins at bit i·bits of its row, and may straddle two words.
        count: Codes in a row.

    Returns:
        uint8 codes, shape (rows, count).
    """
    if WORD % bits == 0:
        # Bytes hold whole codes: nothing is widened beyond a byte.
        packed = words.contiguous().view(torch.uint8)
        if bits == 8:
            return packed[:, :count]
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
        return (packed[:, :, None] >> shifts & (2**bits - 1)).flatten(1)[:, :count]
    begin = torch.arange(count) * bits
    word, shift = begin // WORD, (begin % WORD).to(torch.int64)
    wide = words.to(torch.int64) & 0xFFFFFFFF
    following = torch.nn.functional.pad(wide, (0, 1))[:, word + 1]
    return ((wide[:, word] >> shift | following << (WORD - shift)) & (2**bits - 1)).to(torch.uint8)


def words_for(count: int, bits: int) -> int:
    """Words that so many codes take."""
    return -(-count * bits // WORD)


def demand(condition: bool, found: str) -> None:
    """Raise the reason why a packed weight cannot be decoded unless the condition holds.

    Raises:
        WeightsError: The reason.
    """
    if not condition:
        raise WeightsError(f"{found}; the packing contradicts its format")
