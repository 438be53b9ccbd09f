"""Imports that wait until they are needed: PyTorch takes seconds to load, which comparing two files does not need."""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _Torch:
        """Stands for PyTorch, which is imported when one of its names is used."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module("torch"), name)

    torch = _Torch()

__all__ = ["defer", "torch"]


class _Package(ModuleType):
    """A package whose names are imported from its modules when they are first used."""

    _homes: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        home = self._homes.get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = import_module(f"{self.__name__}.{home or name}")
        setattr(self, name, getattr(found, name) if home else found)
        return self.__dict__[name]

    def __setattr__(self, name: str, value: object) -> None:
        # The import of a module binds it to its package, also where the package gives that name to a function of it.
        if isinstance(value, ModuleType) and self._homes.get(name):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self._homes})


def defer(package: str, homes: Mapping[str, str]) -> None:
    """Make the names of a package be imported when they are first used.

    Args:
        package: The package's own ``__name__``.
        homes: Name → module of the package that has it; an empty text where the name is such a module itself.
    """
    module = sys.modules[package]
    module.__dict__["_homes"] = dict(homes)
    module.__class__ = _Package
