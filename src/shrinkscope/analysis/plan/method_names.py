"""What a plan can choose for a layer, by name."""

from collections.abc import Sequence

from shrinkscope.compression.pattern import as_pattern
from shrinkscope.errors import CompressionError

METHODS = ("unstructured", "magnitude", "n:m", "low_rank", "bits", "structured")
"""Names of methods; a single pattern, such as ``2:4``, is one, too."""

UNSTRUCTURED, STRUCTURED = "unstructured", "structured"


def as_methods(method: str | Sequence[str]) -> tuple[str, ...]:
    """The methods of a plan.

    Args:
        method: One of ``METHODS``, a pattern such as ``"2:4"``, several of them, or a text with commas between them.

    Returns:
        Their names, each once: ``unstructured`` if that is all, and ``magnitude`` for it among others.

    Raises:
        CompressionError: If one is unknown or given twice, or there is none, or channels are to be mixed with others.
    """
    names = [part.strip() for part in method.split(",")] if isinstance(method, str) else list(method)
    for name in names:
        if name not in METHODS and not is_pattern(name):
            raise CompressionError(
                f"method {name!r} cannot be planned; expected one of {', '.join(METHODS)}, a pattern such as 2:4, "
                "or several of them"
            )
    found = tuple("magnitude" if name == UNSTRUCTURED else name for name in names)
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice or not found:
        raise CompressionError(f"method {', '.join(twice)} is given twice" if twice else "no method is given")
    if STRUCTURED in found and len(found) > 1:
        raise CompressionError(
            f"structured is planned alone, because channels that go take the weights of other layers with them; "
            f"found {', '.join(names)}"
        )
    return (UNSTRUCTURED,) if found == ("magnitude",) else found


def is_pattern(name: object) -> bool:
    """Whether a name is a pattern such as ``2:4``.

    Args:
        name: Of a method.
    """
    try:
        as_pattern(name)
    except CompressionError:
        return False
    return True
