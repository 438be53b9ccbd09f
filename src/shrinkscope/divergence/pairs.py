"""A table of functions by a pair of types, private to whoever makes it (never torch's global one)."""

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


class PairTable:
    """Functions registered under pairs of types; the most specific pair of base classes comes first.

    Example:
        >>> table = PairTable()
        >>> @table.register(int, object)
        ... def describe(first, second):
        ...     return "an integer and something"
        >>> table.find(True, "x")(True, "x")
        'an integer and something'
    """

    def __init__(self) -> None:
        self._functions: dict[tuple[type, type], Function] = {}

    def register(self, first: type, second: type) -> Callable[[Function], Function]:
        """Decorator that files a function under a pair of types, replacing what was there."""

        def file(function: Function) -> Function:
            self._functions[first, second] = function
            return function

        return file

    def matches(self, first: object, second: object) -> list[Function]:
        """The functions of all registered pairs of base classes, the closest first.

        Closest: the smallest sum of the two distances along the method resolution orders; the first argument decides
        ties.
        """
        found = [
            (i + j, i, pair)
            for i, base_of_first in enumerate(type(first).__mro__)
            for j, base_of_second in enumerate(type(second).__mro__)
            if (pair := (base_of_first, base_of_second)) in self._functions
        ]
        return [self._functions[pair] for _, _, pair in sorted(found, key=lambda match: match[:2])]

    def find(self, first: object, second: object) -> Function | None:
        """The function of the closest registered pair of base classes, or None."""
        return next(iter(self.matches(first, second)), None)

    def known(self) -> str:
        """The registered pairs, for error messages: 'int–object, …'."""
        return ", ".join(f"{first.__name__}–{second.__name__}" for first, second in self._functions)
