"""From fractions to whole numbers of weights: how many to remove in each layer, exactly so many in all."""

from collections.abc import Callable, Mapping

from shrinkscope.errors import CompressionError

Counts = dict[str, int]
"""Layer → number of weights to remove; under a budget of bytes or operations, what they cost."""

_HALVINGS = 200  # of an interval of floats: down to the last bit


def apportion(levels: Mapping[str, float], sizes: Mapping[str, int], total: int) -> Counts:
    """Whole numbers nearest to level × size that add up to ``total``: the method of largest remainders.

    Args:
        levels: Layer → fraction to remove; clipped to [0, 1].
        sizes: Layer → number of weights.
        total: Number of weights to remove in all, between 0 and all of them.

    Returns:
        Layer → number, between 0 and its size. Equal remainders are served in the order of the layers. Where the
        levels do not add up to ``total``, the difference is spread in turns over the layers that have room.

    Raises:
        CompressionError: If ``total`` is out of range.
    """
    if not 0 <= total <= sum(sizes.values()):
        raise CompressionError(f"{total} weights to remove of {sum(sizes.values())}; expected no more than there are")
    wanted = {name: min(max(levels[name], 0.0), 1.0) * size for name, size in sizes.items()}
    counts = {name: min(int(number), sizes[name]) for name, number in wanted.items()}
    missing = total - sum(counts.values())
    sign = 1 if missing >= 0 else -1
    by_remainder = sorted(counts, key=lambda name: sign * (counts[name] - wanted[name]))
    while missing:
        open_layers = [name for name in by_remainder if (counts[name] < sizes[name] if sign > 0 else counts[name])]
        turn = max(1, abs(missing) // len(open_layers)) if abs(missing) > len(open_layers) else 1
        for name in open_layers:
            step = min(turn, abs(missing), sizes[name] - counts[name] if sign > 0 else counts[name])
            counts[name] += sign * step
            missing -= sign * step
            if not missing:
                break
    return counts


def by_density(ratios: Mapping[str, float], sizes: Mapping[str, int], total: int) -> Counts:
    """Keep in proportion to ratios: density min(1, s × ratio), with the one s that removes ``total`` weights.

    Args:
        ratios: Layer → positive number.
        sizes: Layer → number of weights.
        total: Number of weights to remove in all.

    Returns:
        Layer → number to remove.
    """
    kept = sum(sizes.values()) - total

    def excess(scale: float) -> float:
        return sum(min(1.0, scale * ratios[name]) * size for name, size in sizes.items()) - kept

    scale = _root(excess, 1 / min(ratios.values()))
    return apportion({name: 1 - min(1.0, scale * ratios[name]) for name in sizes}, sizes, total)


def by_sparsity(ratios: Mapping[str, float], sizes: Mapping[str, int], total: int) -> Counts:
    """Remove in proportion to ratios: sparsity min(1, s × ratio), with the one s that removes ``total`` weights.

    Args:
        ratios: Layer → positive number.
        sizes: Layer → number of weights.
        total: Number of weights to remove in all.

    Returns:
        Layer → number to remove.
    """
    kept = by_density(ratios, sizes, sum(sizes.values()) - total)
    return {name: sizes[name] - removed for name, removed in kept.items()}


def _root(rising: Callable[[float], float], upper: float) -> float:
    lower = 0.0
    for _ in range(_HALVINGS):
        middle = (lower + upper) / 2
        lower, upper = (lower, middle) if rising(middle) >= 0 else (middle, upper)
    return upper
