"""What a file holds under the names that it is stored under, before any packing is undone."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shrinkscope.weights.view import TensorView


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The tensors of a file as they lie in it.

    Attributes:
        views: By name, in the order of the file.
        tied: Names that share the storage of a view, each mapped to the name of that view.
        unreadable: Names of what is there and cannot be read as numbers, each with the reason.
        metadata: Text that the file keeps beside the tensors.
        quantization: How the network was quantised, as its config.json says; empty when it says nothing.
    """

    views: Mapping[str, TensorView]
    tied: Mapping[str, str] = {}
    unreadable: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    quantization: Mapping[str, Any] = {}
