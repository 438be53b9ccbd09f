"""The one tensor of scores in what a network returns, whatever it is wrapped in."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from shrinkscope.errors import DataError

Outputs = Callable[[Any], Tensor]
"""Takes what a network returns for a batch, and returns the tensor that is to be compared, a row for each input."""


def scores_of(name: str, returned: object, outputs: Outputs | None = None) -> Tensor:
    """The tensor of scores in what a network returned.

    Args:
        name: What the network is called in messages.
        returned: A tensor; a mapping with a tensor under ``"logits"``; or an object with a tensor as ``.logits``, as
            the outputs of transformers are. With ``outputs``, anything.
        outputs: Function that finds the tensor. None finds it as above, and guesses nothing: which item of a tuple
            holds the scores differs between networks.

    Returns:
        The tensor itself.

    Raises:
        DataError: If there is no such tensor.
    """
    found: object = returned if outputs is None else outputs(returned)
    if outputs is None and not isinstance(returned, Tensor):
        found = returned.get("logits") if isinstance(returned, Mapping) else getattr(returned, "logits", None)
    if isinstance(found, Tensor):
        return found
    if outputs is not None:
        raise DataError(f"outputs= found a {type(found).__name__} in what {name} returned, expected a tensor")
    raise DataError(
        f"{name} returned a {type(returned).__name__}, expected a tensor; wrap it in a module that returns one, or "
        "something with a tensor called logits"
    )
