"""Pruning by its definition: sort everything in plain Python, take the first n. Slow, and obviously right."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal


def count(level: float, size: int) -> int:
    """Level × size as a person would compute it on paper, rounded to the nearest integer, halves up."""
    return int((Decimal(str(level)) * size).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def first_ranked(scores: Sequence[float], number: int, order: str) -> set[int]:
    """Indices of the ``number`` lowest or highest scores; Python's sort is stable, so ties go by index."""
    indices = sorted(range(len(scores)), key=scores.__getitem__, reverse=False)
    if order == "highest":
        # reverse=True keeps equal elements in their original order, too.
        indices = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    return set(indices[:number])


def first_ranked_globally(layers: Mapping[str, Sequence[float]], number: int, order: str) -> dict[str, set[int]]:
    """The same over all layers together: their scores one after the other."""
    joined = [score for scores in layers.values() for score in scores]
    chosen = first_ranked(joined, number, order)
    result, start = {}, 0
    for name, scores in layers.items():
        result[name] = {index - start for index in chosen if start <= index < start + len(scores)}
        start += len(scores)
    return result
