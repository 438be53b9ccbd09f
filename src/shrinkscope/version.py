"""The installed version."""

from functools import cache
from importlib.metadata import version as _installed


@cache  # reading a package's metadata takes milliseconds, and every comparison asks
def version() -> str:
    """Version of shrinkscope that is running, for example ``"0.1.0"``."""
    return _installed("shrinkscope")
