"""The compressed networks that the leaderboard measures: three families, each case the settings of its layers."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from shrinkscope.compression import CompressionMethod, LowRank, MagnitudePruning, RandomPruning, UniformQuantisation

LEVELS, BITS, RANKS = (0.2, 0.4, 0.6, 0.8), (8, 6, 4, 3, 2), (0.75, 0.5, 0.25)
TOTALS, SPREAD = (0.5, 0.65), 1.0
FAMILIES = ("one layer", "mixed", *(f"total {total:.0%}" for total in TOTALS))

Settings = dict[str, CompressionMethod]


class Case(NamedTuple):
    """One compressed network: its number, which seeds what it draws, its family, and a method for each layer."""

    number: int
    family: str
    settings: Settings


class Wanted(NamedTuple):
    """How many cases of each family (None is all), and how many are measured after batch norm re-estimation, too.

    ``tables`` is whether the layers are scanned for the sums over them. ``later_mixed`` and ``later_total`` are further
    cases of these families, drawn and numbered after all others, so that what was measured before them stays valid.
    ``refit_total`` is how many of one total sparsity are measured after re-estimation in a stage of its own.
    """

    one_layer: int | None = None
    mixed: int = 100
    total: int = 100
    refit: int | None = None
    tables: bool = True
    later_mixed: int = 0
    later_total: int = 0
    refit_total: int = 0


def cases(sizes: dict[str, int], wanted: Wanted) -> list[Case]:
    """The cases of a network, in an order in which any beginning holds every family in proportion.

    Args:
        sizes: Layer → number of weights.
        wanted: How many.
    """
    draws, names = np.random.default_rng(0), list(sizes)
    alone = list(_one_layer(names))
    if wanted.one_layer is not None and wanted.one_layer < len(alone):
        alone = [alone[index] for index in sorted(draws.choice(len(alone), wanted.one_layer, replace=False))]
    families = {"one layer": alone, "mixed": list(_mixed(names, wanted.mixed, draws))}
    families |= {f"total {total:.0%}": list(_equal_total(sizes, total, wanted.total, draws)) for total in TOTALS}
    listed = [(family, settings) for family, group in families.items() for settings in group]
    numbered = [Case(number, family, settings) for number, (family, settings) in enumerate(listed)]
    return [numbered[index] for index in draws.permutation(len(numbered))] + _later(sizes, wanted, len(numbered))


def _later(sizes: dict[str, int], wanted: Wanted, first: int) -> list[Case]:
    draws = np.random.default_rng(1)
    listed = [("mixed", settings) for settings in _mixed(list(sizes), wanted.later_mixed, draws)]
    for total in TOTALS:
        listed += [(f"total {total:.0%}", drawn) for drawn in _equal_total(sizes, total, wanted.later_total, draws)]
    numbered = [Case(first + number, family, settings) for number, (family, settings) in enumerate(listed)]
    return [numbered[index] for index in draws.permutation(len(numbered))]


def _one_layer(names: list[str]) -> Iterator[Settings]:
    for name in names:
        only = (name,)
        for level in LEVELS:
            yield {name: MagnitudePruning(level=level, layers=only)}
            yield {name: MagnitudePruning(level=level, order="highest", layers=only)}
            yield {name: RandomPruning(level=level, layers=only)}
        for bits in BITS:
            yield {name: UniformQuantisation(bits=bits, layers=only)}
        for rank in RANKS:
            yield {name: LowRank(ratio=rank, layers=only)}


def _mixed(names: list[str], count: int, draws: np.random.Generator) -> Iterator[Settings]:
    """In each layer a method at a level, both drawn; mild ones, or every network would be lost."""
    choices: list[Callable[[str], CompressionMethod]] = [
        lambda name: MagnitudePruning(level=float(draws.uniform(0.1, 0.7)), layers=(name,)),
        lambda name: RandomPruning(level=float(draws.uniform(0.02, 0.15)), layers=(name,)),
        lambda name: UniformQuantisation(bits=int(draws.integers(4, 9)), layers=(name,)),
        lambda name: LowRank(ratio=float(draws.uniform(0.5, 0.95)), layers=(name,)),
    ]
    for _ in range(count):
        yield {name: choices[int(draws.integers(len(choices)))](name) for name in names}


def _equal_total(sizes: dict[str, int], total: float, count: int, draws: np.random.Generator) -> Iterator[Settings]:
    """Logits of the sparsities are drawn, then shifted together until the total is right."""
    shares = np.array(list(sizes.values())) / sum(sizes.values())
    for _ in range(count):
        drawn = draws.normal(scale=SPREAD, size=len(sizes))
        shift = brentq(lambda s, drawn=drawn: float(shares @ expit(drawn + s)) - total, -30, 30)
        levels = expit(drawn + float(shift))  # type: ignore[arg-type]
        yield {
            name: MagnitudePruning(level=float(level), layers=(name,))
            for name, level in zip(sizes, levels, strict=True)
        }
