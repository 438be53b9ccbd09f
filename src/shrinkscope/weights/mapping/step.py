"""What a step of the mapping hands on: two networks, and what it did in words."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from shrinkscope.weights.view import Weights

NoteKind = Literal["renamed", "split", "fused", "factors", "adapter", "channels", "refused"]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A decision of the mapping.

    Attributes:
        layer: Name of the tensor it is about, or of the first of several, as the dense network has it.
        kind: What was done; ``refused`` when something was recognised and left alone.
        text: One sentence for people: what was done, to which tensors, and by which rule.
        layers: The names of all tensors that it changed.
    """

    layer: str
    kind: NoteKind
    text: str
    layers: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Two networks after one step.

    Attributes:
        dense, compressed: The networks.
        notes: What was decided.
        reasons: Tensor → why its shapes still differ.
    """

    dense: Weights
    compressed: Weights
    notes: tuple[Note, ...] = ()
    reasons: Mapping[str, str] = {}


def examples(names: "list[str] | tuple[str, ...]", count: int = 3) -> str:
    """The first few names for a message."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "") or "none"
