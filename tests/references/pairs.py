"""Pairs of cases counted one at a time: slow, and obviously right."""

from itertools import combinations


def discordant(x, y, strata):
    """(ratio, index of smaller x, index of larger x) of the pairs whose larger x has the smaller y."""
    found = []
    for i, j in combinations(range(len(x)), 2):
        if strata[i] != strata[j]:
            continue
        low, high = (i, j) if x[i] < x[j] else (j, i)
        if x[low] < x[high] and y[low] > y[high]:
            found.append((x[high] / x[low] if x[low] else float("inf"), low, high))
    return found


def contrast_counts(x, y, strata, least, below, last):
    """Agreeing, differing and y-tied pairs whose ratio of x lies in [least, below), or up to below in the last bin."""
    agree = differ = tied = 0
    for i, j in combinations(range(len(x)), 2):
        if strata[i] != strata[j] or x[i] == x[j]:
            continue
        low, high = (i, j) if x[i] < x[j] else (j, i)
        ratio = x[high] / x[low] if x[low] else float("inf")
        if not (least <= ratio < below or (last and ratio == below)):
            continue
        tied += y[low] == y[high]
        differ += y[low] != y[high]
        agree += y[low] < y[high]
    return agree, differ, tied


def largest_matching(pairs, units):
    """Size of the largest set of pairs that share no unit, by trying every set."""
    best = 0

    def extend(start, used, size):
        nonlocal best
        best = max(best, size)
        for k in range(start, len(pairs)):
            own = {units[pairs[k][0]], units[pairs[k][1]]}
            if not own & used:
                extend(k + 1, used | own, size + 1)

    extend(0, frozenset(), 0)
    return best
