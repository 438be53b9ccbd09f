"""Undoing packed formats: stored tensors that together stand for one weight become a view of that weight."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.checks import first_line
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.view import TensorView


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Stored tensors that together stand for one weight.

    Attributes:
        name: The weight's plain name.
        parts: What each part is to the format → the stored tensor.
    """

    name: str
    parts: Mapping[str, TensorView]


class Decoder(Protocol):
    """A packed format."""

    def recognise(self, stored: Stored) -> Iterable[Group]:
        """The groups of this format among stored tensors, by their names, types and the file's settings."""
        ...

    def decode(self, group: Group, stored: Stored) -> TensorView:
        """The weight that a group stands for, which is computed window by window when it is read.

        Raises:
            WeightsError: If it cannot be: one sentence that becomes the reason why the weight is unreadable.
        """
        ...


def unpacked(stored: Stored) -> Stored:
    """The tensors with every known packing undone.

    Args:
        stored: Tensors as a file holds them.

    Returns:
        The same under plain names; a group that a decoder recognises and cannot decode is unreadable.
    """
    for decoder in decoders():
        stored = _undone(decoder, stored)
    return stored


def decoders() -> tuple[Decoder, ...]:
    """The formats that are known, in the order in which they are undone: a sparse weight may be a quantised one."""
    # Here, not above: each format builds on this module.
    from shrinkscope.weights.formats import awq, bitmask, bitsandbytes, fp4, gptq, pack_quantized, scaled, torchao_names

    return (
        torchao_names.Torchao(),
        bitmask.Bitmask(),
        pack_quantized.PackQuantized(),
        fp4.PackedFloat4(),
        bitsandbytes.Table4Bit(),
        bitsandbytes.Int8Rows(),
        scaled.Scaled(),
        gptq.Gptq(),
        awq.Awq(),
    )


def gather(stored: Stored, anchor: str, others: Iterable[str], plain: str = "weight") -> Iterable[Group]:
    """Groups of tensors whose names differ in their ends.

    Args:
        stored: The tensors.
        anchor: End of the name that makes a group, for example ``"weight_packed"``.
        others: Ends of further names that belong to it where they are there.
        plain: What the weight is called in place of the anchor.

    Returns:
        The groups, the parts named by their ends.
    """
    for name in stored.views:
        stem = name.removesuffix(anchor)
        if stem == name or not (stem == "" or stem.endswith(".")):
            continue
        ends = (anchor, *(end for end in others if stem + end in stored.views))
        yield Group(name=stem + plain, parts={end: stored.views[stem + end] for end in ends})


def _undone(decoder: Decoder, stored: Stored) -> Stored:
    views, unreadable = dict(stored.views), dict(stored.unreadable)
    for group in decoder.recognise(stored):
        # The weight takes the place of its first part, so that the order stays the network's.
        used = {part.name for part in group.parts.values()}
        try:
            found = {group.name: decoder.decode(group, stored)}
        except WeightsError as error:
            found = {}
            unreadable[group.name] = str(error)
        except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
            # Parts whose shapes or values fit no format in a way that the decoder did not foresee.
            found = {}
            unreadable[group.name] = f"its parts do not fit together ({first_line(error)})"
        first = next(name for name in views if name in used)
        ordered: dict[str, TensorView] = {}
        for name, view in views.items():
            if name == first:
                ordered |= found
            if name not in used:
                ordered[name] = view
        views = ordered
    return msgspec.structs.replace(stored, views=views, unreadable=unreadable)
