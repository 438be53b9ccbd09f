"""The installed version."""

from importlib.metadata import version as _installed


def version() -> str:
    """Version of shrinkscope that is running, for example ``"0.1.0"``."""
    return _installed("shrinkscope")
