"""Methods × levels of a scan: each method with the levels that it is tried at, the mildest first."""

from collections.abc import Mapping, Sequence

import msgspec

from shrinkscope.compression import (
    CompressionMethod,
    LowRank,
    MagnitudePruning,
    RandomPruning,
    StructuredPruning,
    UniformQuantisation,
)
from shrinkscope.errors import CompressionError

NAMED: dict[str, CompressionMethod] = {
    "lowest": MagnitudePruning(level=0.5),
    "highest": MagnitudePruning(level=0.5, order="highest"),
    "random": RandomPruning(level=0.5),
    "structured": StructuredPruning(level=0.5),
    "quantise": UniformQuantisation(bits=8),
    "low_rank": LowRank(ratio=0.5),
}
"""Name → method; its level is replaced by each of the scan's."""

STRUCTURED = "structured"
"""How the names of methods begin that remove whole channels."""

DEFAULT_METHODS = ("lowest", "structured", "quantise", "low_rank")

DEFAULT_LEVELS: dict[str, tuple[float, ...]] = {
    "level": (0.3, 0.5, 0.7, 0.9),
    "bits": (8, 6, 4, 3, 2),
    "ratio": (0.75, 0.5, 0.25, 0.1),
    "energy": (0.99, 0.95, 0.9, 0.7),
    "rank": (64, 32, 16, 8),
}
"""What a method's level is → the levels that are tried when none are given."""

Levels = Sequence[float] | Mapping[str, Sequence[float]]
"""The same levels for every method, or name of a method → its levels."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """One method and the levels at which it is tried.

    Attributes:
        name: What it is called in the rows: a name of ``NAMED``, or one derived from the method's options.
        quantity: What its level is: ``level`` (fraction removed), ``bits``, or ``ratio``, ``rank`` or ``energy`` kept.
        methods: Level → the method at that level, the mildest first.
    """

    name: str
    quantity: str
    methods: dict[float, CompressionMethod]


def as_sweeps(methods: Sequence[CompressionMethod | str], levels: Levels | None) -> tuple[Sweep, ...]:
    """The methods of a scan with their levels.

    Args:
        methods: Names, or method objects, of which level and layers are replaced.
        levels: One sequence for all, or a mapping by the name of the method; defaults for what is not in it.

    Returns:
        One sweep a method, in the order given.

    Raises:
        CompressionError: If a name is unknown, occurs twice or is not among the methods, there is no method or level,
            or a method refuses a level.
    """
    if isinstance(methods, str) or not methods:
        raise CompressionError(f"methods is {methods!r}; expected a list of {', '.join(NAMED)}, or of method objects")
    named = [(_name(method), method) for method in map(_resolved, methods)]
    names = [name for name, _ in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CompressionError(f"method {', '.join(twice)} is given twice; give each once, with all of its levels")
    unknown = sorted(set(levels) - set(names)) if isinstance(levels, Mapping) else []
    if unknown:
        raise CompressionError(f"levels are given for {', '.join(unknown)}; the methods are {', '.join(names)}")
    return tuple(_sweep(name, method, levels) for name, method in named)


def _resolved(method: CompressionMethod | str) -> CompressionMethod:
    if isinstance(method, str):
        if method not in NAMED:
            raise CompressionError(f"unknown method {method!r}; expected one of {', '.join(NAMED)}")
        return NAMED[method]
    if not isinstance(method, CompressionMethod):
        raise CompressionError(f"a {type(method).__name__} is no compression method; expected one, or its name")
    return method


def _sweep(name: str, method: CompressionMethod, levels: Levels | None) -> Sweep:
    quantity = _quantity(method)
    asked = levels.get(name) if isinstance(levels, Mapping) else levels
    chosen = DEFAULT_LEVELS[quantity] if asked is None else tuple(asked)
    if not chosen or len(set(chosen)) != len(chosen):
        raise CompressionError(f"levels of {name} are {list(chosen)}; expected at least one, and each once")
    # Removing more is harsher; keeping more bits, rank or energy is milder.
    ordered = sorted(chosen, reverse=quantity != "level")
    return Sweep(name=name, quantity=quantity, methods={level: _at(method, quantity, level) for level in ordered})


def _at(method: CompressionMethod, quantity: str, level: float) -> CompressionMethod:
    whole = int(level) if quantity in ("bits", "rank") and float(level).is_integer() else level
    return msgspec.structs.replace(method, **{quantity: whole, "layers": None})


def _quantity(method: CompressionMethod) -> str:
    if isinstance(method, UniformQuantisation):
        return "bits"
    if isinstance(method, LowRank):
        return next(what for what in ("rank", "ratio", "energy") if getattr(method, what) is not None)
    return "level"


def _name(method: CompressionMethod) -> str:
    """The name of a method without its level: ``structured``, or ``structured_random_l2`` with other options."""
    if isinstance(method, MagnitudePruning):
        return method.order
    if isinstance(method, RandomPruning):
        return "random"
    if isinstance(method, StructuredPruning):
        norm = [method.norm] if method.order != "random" else []
        options = [option for option in (method.order, *norm) if option not in ("lowest", "l1")]
        return "_".join([STRUCTURED, *options])
    if isinstance(method, UniformQuantisation):
        return "quantise" if method.granularity == "tensor" else "quantise_channel"
    return "low_rank" if method.ratio is not None else f"low_rank_{_quantity(method)}"
