"""The rungs that a layer can be put on: dense, pruned, of smaller rank, of fewer bits, and what each of them takes."""

from collections.abc import Iterator, Sequence

import msgspec
from torch import Tensor

from shrinkscope.analysis.plan.carrying import carried_out
from shrinkscope.analysis.plan.method_names import is_pattern
from shrinkscope.analysis.plan.parts import DENSE
from shrinkscope.compression import PatternPruning
from shrinkscope.compression.checks import rows
from shrinkscope.compression.count import nearest_count

WIDTHS = (8, 6, 5, 4, 3, 2)
"""Bits that a layer can get, beside being left as it is."""

LEVELS = (0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Fractions of its weights that a layer can lose, the lowest magnitudes."""

PATTERNS = ("6:8", "4:8", "2:4", "2:8", "1:4", "1:8")
"""N:M that a layer can get."""

SHARES = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
"""What two factors may take, as shares of the dense layer's numbers."""

_SCALE = 4  # bytes of the step of an output channel
_CLEARLY = 2.0  # times another's squared error, at no lower price: hopeless whatever the inputs


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be done to a layer.

    Attributes:
        method: ``dense``, a method's name, or two of them.
        level: What all layers on "the same" rung share: ``"2:4"``, ``"4 bits"``, ``"0.3 of the numbers"``.
        removed: Number of weights that go.
        pattern: N:M by which they go.
        rank: Rank of what takes the layer's place.
        bits: Bits of each weight that stays.
        numbers: How many numbers are stored.
        bytes: Bytes: a pruned layer as a bit a weight and what stays, a rounded one with a step an output channel.
        products: Multiply–adds at each place where the layer is used.
    """

    method: str
    level: str
    removed: int = 0
    pattern: str | None = None
    rank: int | None = None
    bits: int | None = None
    numbers: int
    bytes: int
    products: int


def ladder(name: str, weight: Tensor, methods: Sequence[str], groups: int = 1) -> tuple[Rung, ...]:
    """What can be done to a layer, the dense one first, then method by method from mild to harsh.

    Args:
        name: The layer, for messages.
        weight: Its dense weight.
        methods: Names of methods; with ``bits`` and one that prunes, both together, too.
        groups: Groups of a convolution.

    Returns:
        The rungs that take fewer numbers, bits or products than the dense layer.
    """
    numbers, element = weight.numel(), weight.element_size()
    dense = Rung(method="dense", level=DENSE, numbers=numbers, bytes=numbers * element, products=numbers)
    made = [dense]
    for method in methods:
        if method == "bits":
            made += [_rounded(dense, weight, bits) for bits in WIDTHS]
        elif method == "low_rank":
            made += _factors(name, weight, groups)
        else:
            made += [rung for rung in _pruned(name, weight, method) if rung.removed]
    if "bits" in methods:
        made += [_rounded(rung, weight, bits) for rung in made if rung.removed for bits in WIDTHS]
    return tuple(made)


def hopeful(name: str, weight: Tensor, rungs: Sequence[Rung]) -> list[int]:
    """The rungs of a long ladder that are worth a look.

    Args:
        name: The layer, for messages.
        weight: Its dense weight.
        rungs: Its rungs, the dense one first.

    Returns:
        Those of which no other one takes no more bytes and no more products and is clearly nearer to the dense
        weights, by half the squared distance.
    """
    dense = weight.detach().double()
    errors = [float((carried_out(name, weight, rung).double() - dense).square().sum()) for rung in rungs]

    def hopeless(at: int) -> bool:
        return any(
            other.bytes <= rungs[at].bytes and other.products <= rungs[at].products and _CLEARLY * error < errors[at]
            for other, error in zip(rungs, errors, strict=True)
        )

    return [at for at in range(len(rungs)) if at == 0 or not hopeless(at)]


def _pruned(name: str, weight: Tensor, method: str) -> Iterator[Rung]:
    numbers, element = weight.numel(), weight.element_size()
    if method == "magnitude":
        counts = [(f"{100 * level:.0f} %", None, nearest_count(level, numbers)) for level in LEVELS]
    else:
        patterns = (method,) if is_pattern(method) else PATTERNS
        counts = [(one, one, PatternPruning(pattern=one).mask({name: weight}).removed()) for one in patterns]
    for level, pattern, removed in counts:
        kept = numbers - removed
        size = -(-numbers // 8) + kept * element
        yield Rung(
            method=method, level=level, removed=removed, pattern=pattern, numbers=kept, bytes=size, products=kept
        )


def _rounded(rung: Rung, weight: Tensor, bits: int) -> Rung:
    """A rung whose weights that stay are rounded, too."""
    mask = -(-weight.numel() // 8) if rung.removed else 0
    return msgspec.structs.replace(
        rung,
        method=f"{rung.method}+bits" if rung.removed else "bits",
        level=f"{rung.level} and {bits} bits" if rung.removed else f"{bits} bits",
        bits=bits,
        bytes=mask + -(-rung.numbers * bits // 8) + _SCALE * len(weight),
    )


def _factors(name: str, weight: Tensor, groups: int) -> Iterator[Rung]:
    """Ranks whose factors take fewer numbers than the layer."""
    height, width = rows(name, weight).shape
    seen = set()
    for share in SHARES:
        rank = max(1, int(share * weight.numel() / max(height + width, 1)))
        if rank in seen or rank * (height + width) >= weight.numel():
            continue
        seen.add(rank)
        # Each group of a grouped convolution has its own inputs, which every row of the right factor reads anew.
        products = rank * (height + groups * width)
        numbers = rank * (height + width)
        yield Rung(
            method="low_rank",
            level=f"{share:g} of the numbers",
            rank=rank,
            numbers=numbers,
            bytes=numbers * weight.element_size(),
            products=products,
        )
