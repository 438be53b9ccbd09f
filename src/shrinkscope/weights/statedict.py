"""Weights given as a mapping of names to tensors, and weights made of what a file stores."""

from collections.abc import Mapping
from typing import Any

from shrinkscope.errors import WeightsError
from shrinkscope.weights.formats.packed import unpacked
from shrinkscope.weights.formats.stored import Stored
from shrinkscope.weights.remote.path import AnyPath
from shrinkscope.weights.reparametrised import plain_tensors
from shrinkscope.weights.view import Weights


def weights_of_state_dict(state: Mapping[str, Any], origin: str = "state dict") -> Weights:
    """The tensors of a state dict; tensors that share one storage are tied and listed once.

    Args:
        state: Name → tensor or NumPy array. Entries that are neither (an epoch counter, say) are passed over.
        origin: Where it comes from, for messages.

    Returns:
        Effective tensors under plain names.

    Raises:
        WeightsError: If it holds no tensor at all.
    """
    from shrinkscope.weights.formats.mapping import stored_of_mapping

    return weights_of_stored(stored_of_mapping(state, origin), origin)


def weights_of_stored(stored: Stored, origin: str, place: AnyPath | None = None) -> Weights:
    """The tensors of a file: packings and masks undone, under plain names.

    Args:
        stored: What lies in the file.
        origin: Where it comes from, for messages.
        place: The file or directory itself.

    Returns:
        Effective tensors; what cannot be decoded is listed as unreadable with the reason.

    Raises:
        WeightsError: If there is no tensor at all.
    """
    if not stored.views and not stored.unreadable:
        raise WeightsError(f"{origin}: no tensors found; is it the file of the weights?")
    plain = unpacked(stored)
    views = plain_tensors(plain.views, origin)
    listed = list(views.values())
    return Weights(listed, origin=origin, tied=plain.tied, unreadable=plain.unreadable, place=place)
