"""Several candidates in one pass: how the values of each step of a network grow with the batch, and joining them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from shrinkscope.analysis.traced.trace import Environment, Steps

Join = Callable[[list[Any]], Any]
"""Makes the value of a larger batch out of the values of the batches that it is made of."""

# What sums in another order may move a value inside the network, relative to its largest entry. An operation that mixes
# rows (a mean over the batch, a maximum) moves it by far more; the outputs are compared more closely by the caller.
_SAME = 1e-4


class MixingError(Exception):
    """A value of a larger batch is not that of its parts side by side."""


class Rows:
    """How to join the values of a network's steps.

    Args:
        joins: Of each step.
    """

    def __init__(self, joins: dict[fx.Node, Join]) -> None:
        self._joins = joins

    def joined(self, environments: Sequence[Environment]) -> Environment:
        """The environment of one pass for several candidates.

        Args:
            environments: What the remaining steps need, of each candidate.

        Raises:
            MixingError: If a value that all should share differs between them.
        """
        first = environments[0]
        return {node: self._joins[node]([environment[node] for environment in environments]) for node in first}


def established(steps: Steps, both: Tensor) -> tuple[Rows, object]:
    """How to join values, found by running two parts of a batch apart and together: every step must make the same.

    Args:
        steps: The network, surveyed.
        both: A batch on the network's device and in its floating type; left as it is.

    Returns:
        The rows, and what the network returns for the batch.

    Raises:
        MixingError: If a step does not treat the rows of a batch independently, or there is one row.
    """
    if len(both) < 2:
        raise MixingError("a batch holds one input, and telling takes two")
    # Of different lengths, so that what grows with the batch shows.
    first = max(1, len(both) // 3)
    environments = [steps.start(batch.clone()) for batch in (both[:first], both[first:], both)]
    joins: dict[fx.Node, Join] = {}
    for position, node in enumerate(steps.nodes):
        for environment in environments:
            steps.run(environment, position, position + 1)
        values = [environment[node] for environment in environments if node in environment]
        if node.op != "output" and len(values) == len(environments):
            try:
                joins[node] = join_of(*values)
            except MixingError as error:
                raise MixingError(f"{error} (step {node.name})") from None
    return Rows(joins), steps.result(environments[-1])


def join_of(first: Any, second: Any, both: Any) -> Join:
    """How the value of two batches together comes from the values of each.

    Args:
        first: The value of one batch.
        second: The value of the other.
        both: The value of the two, one after the other.

    Raises:
        MixingError: If it does not come from them by laying them side by side, adding counts, or being the same.
    """
    if isinstance(both, Tensor):
        return _join_of_tensors(first, second, both)
    if isinstance(both, (tuple, list)):
        if len({len(first), len(second), len(both)}) > 1:
            raise MixingError("a list grows with the batch")
        joins = [join_of(*items) for items in zip(first, second, both, strict=True)]
        return lambda values: _rebuilt(
            both, [join(list(v)) for join, v in zip(joins, zip(*values, strict=True), strict=True)]
        )
    if isinstance(both, dict):
        joins_by_key = {key: join_of(first[key], second[key], both[key]) for key in both}
        return lambda values: {key: join([value[key] for value in values]) for key, join in joins_by_key.items()}
    if bool(first == second) and bool(first == both):
        return _shared
    if type(both) is int and first + second == both:
        return sum
    raise MixingError(f"a {type(both).__name__} is not the same for all batches")


def _join_of_tensors(first: Tensor, second: Tensor, both: Tensor) -> Join:
    if not first.ndim == second.ndim == both.ndim:
        raise MixingError("a tensor has other dimensions in a larger batch")
    grown = [d for d in range(both.ndim) if not first.shape[d] == second.shape[d] == both.shape[d]]
    if not grown:
        if not (_same(first, both) and _same(second, both)):
            raise MixingError("the rows of a batch are not independent of each other")
        return _shared
    dimension = grown[0]
    expected = first.shape[dimension] + second.shape[dimension]
    if len(grown) > 1 or both.shape[dimension] != expected or not _same(torch.cat([first, second], dimension), both):
        raise MixingError("the rows of a batch are not independent of each other")
    return lambda values: torch.cat(values, dimension)


def _shared(values: list[Any]) -> Any:
    """The value that all candidates have."""
    first = values[0]
    for other in values[1:]:
        same = other is first or (torch.equal(first, other) if isinstance(first, Tensor) else bool(first == other))
        if not same:
            raise MixingError("a value that does not grow with the batch differs between candidates")
    return first


def _same(found: Tensor, expected: Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    finite = expected[expected.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return torch.allclose(found, expected, rtol=0, atol=_SAME * largest, equal_nan=True)


def _join_of_items(joins: list[Join], like: Any) -> Join:
    def join(values: list[Any]) -> Any:
        columns = zip(*values, strict=True)
        return _rebuilt(like, [one(list(column)) for one, column in zip(joins, columns, strict=True)])

    return join


def _rebuilt(like: Any, items: list[Any]) -> Any:
    return type(like)(*items) if hasattr(like, "_fields") else type(like)(items)
