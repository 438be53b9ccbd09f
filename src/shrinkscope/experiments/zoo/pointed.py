"""Functions of the user's, named on the command line as ``package.module:function``."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from shrinkscope.errors import ShrinkscopeError


def pointed_at(name: str, what: str, error: type[ShrinkscopeError]) -> Callable[[], object]:
    """The function that a name points at; modules in the working directory are found.

    Args:
        name: ``package.module:function``.
        what: What the function is to return, for the message.
        error: What to raise.

    Raises:
        ShrinkscopeError: Of the type asked for, if there is no such function.
    """
    module_name, _, function_name = name.partition(":")
    working_directory = str(Path.cwd())
    if working_directory not in sys.path:
        sys.path.insert(0, working_directory)
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError) as cause:
        raise error(f"cannot load {name}: {cause}; expected package.module:function") from cause
    if not callable(function):
        raise error(f"{name} is a {type(function).__name__}; expected a function that returns {what}")
    return function
