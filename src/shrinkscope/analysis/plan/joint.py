"""Joint allocation: search on what all layers pruned together do to the predictions of unlabelled inputs."""

import math
from collections.abc import Callable, Mapping

import msgspec
import torch

from shrinkscope.analysis.plan.counts import Counts, apportion
from shrinkscope.analysis.plan.damage import JointDamage
from shrinkscope.analysis.plan.slopes import Slope

_WIDEST, _NARROWEST = 0.25, 0.01  # of a move, in units of what can be moved
_WIDER = 1.5  # after a success
_PAIRS = 6  # exchanges tried between two backward passes
_LUCK = 2  # random moves, against what the first order does not see
_WORSE = 1.0  # standard errors by which the first batches may be worse before the others are spared


class JointSearch(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found.

    Attributes:
        counts: Layer → number to remove.
        start: Name of the allocation that it began from.
        searched: Mean total variation on the inputs that were searched on.
        held_out: The same on the others.
        start_held_out: That of the start.
        moves: Number of moves that were accepted.
        tried: Number of moves that were tried.
    """

    counts: Counts
    start: str
    searched: float
    held_out: float
    start_held_out: float
    moves: int
    tried: int


def joint(
    damage: JointDamage,
    guard: JointDamage,
    starts: Mapping[str, Counts],
    budget: float,
    generator: torch.Generator,
    progress: Callable[[float], None] | None = None,
) -> JointSearch:
    """Exchange weights between layers as long as the predictions come nearer to the dense network's.

    Nearer in total variation: beyond a certain damage the KL of a network that has collapsed to even odds is lower than
    that of one that errs on some inputs with confidence, and no search on it finds the latter.

    A backward pass tells to first order what every move would change. The most promising exchanges between two layers,
    one move of all layers together and a few random ones are then tried; on the first batches alone where those say
    enough. The step narrows when none helps. Of all configurations on the way, the nearest on inputs that were not
    searched on is taken, so that fitting the few inputs gains nothing.

    Args:
        damage: On the inputs to search on.
        guard: On other inputs.
        starts: Name → counts, all removing the same number of weights; at least one.
        budget: Most passes of the network over one input, those of the guard included.
        generator: Of random moves.
        progress: Called with the share of the budget that is spent.

    Source: derived here; benchmarks/allocation.py compares it with the starts and with random search.
    """
    search = _Search(damage, guard, budget, generator, progress)
    return search.run(starts)


class _Search:
    def __init__(
        self,
        damage: JointDamage,
        guard: JointDamage,
        budget: float,
        generator: torch.Generator,
        progress: Callable[[float], None] | None,
    ) -> None:
        self._damage, self._guard, self._generator, self._progress = damage, guard, generator, progress
        self._end, self._budget = damage.spent + guard.spent + budget, budget
        self._sizes = damage.sizes
        self._tried = self._moves = 0
        self._sloped: Counts | None = None
        self._slopes: dict[str, Slope] = {}

    def run(self, starts: Mapping[str, Counts]) -> JointSearch:
        found = {name: self._damage.distances(counts).total_variation for name, counts in starts.items()}
        start = min(found, key=lambda name: float(found[name].mean()))
        self._accept(starts[start])
        best, first = (self._held_out, self._counts), self._held_out
        width, vain = _WIDEST, False
        while not self._exhausted():
            improved = self._round(width)
            if self._held_out < best[0]:
                best = (self._held_out, self._counts)
            vain &= not improved
            width = min(_WIDEST, width * _WIDER) if improved else width / 2
            if width < _NARROWEST:
                if vain:
                    break
                # Wide moves again: what was a minimum for them may be none from here.
                width, vain = _WIDEST, True
        searched = float(self._damage.distances(best[1]).total_variation.mean())
        return JointSearch(
            counts=best[1],
            start=start,
            searched=searched,
            held_out=best[0],
            start_held_out=first,
            moves=self._moves,
            tried=self._tried,
        )

    def _round(self, width: float) -> bool:
        """One backward pass and the moves that it proposes; whether one helped."""
        if self._sloped != self._counts:
            self._sloped, self._slopes = self._counts, self._damage.slopes(self._counts, bounded=True)
        slopes = self._slopes
        improved = self._try(_all_layers(self._counts, self._sizes, slopes, width))
        moved: set[str] = set()
        pairs = _exchanges(self._counts, self._sizes, slopes, width)
        for proposal, layers in pairs[:_PAIRS]:
            # After a move the slopes of its layers have changed; those of others are near enough.
            if not moved & set(layers) and self._try(self._with(proposal)):
                moved |= set(layers)
        for _ in range(_LUCK):
            improved |= self._try(self._random(width))
        if improved or moved:
            self._accept(self._counts)
        return improved or bool(moved)

    def _with(self, change: Mapping[str, int]) -> Counts:
        return {name: count + change.get(name, 0) for name, count in self._counts.items()}

    def _random(self, width: float) -> Counts:
        noise = torch.randn(len(self._sizes), generator=self._generator, dtype=torch.float64).tolist()
        levels = {
            name: (self._counts[name] + width * z / 2 * _room(self._counts[name], size)) / size
            for (name, size), z in zip(self._sizes.items(), noise, strict=True)
        }
        return apportion(levels, self._sizes, sum(self._counts.values()))

    def _try(self, counts: Counts) -> bool:
        fits = all(0 <= count <= self._sizes[name] for name, count in counts.items())
        if not fits or counts == self._counts or self._exhausted():
            return False
        self._tried += 1
        some = self._some()
        if some is not None:
            excess = self._damage.distances(counts, first=some).total_variation
            excess = excess - self._distances[: len(excess)]
            error = float(excess.std()) / math.sqrt(len(excess))
            if float(excess.mean()) > _WORSE * error:
                return False
        found = self._damage.distances(counts).total_variation
        if not float(found.mean()) < float(self._distances.mean()):
            return False
        self._counts, self._distances = counts, found
        self._moves += 1
        return True

    def _some(self) -> int | None:
        """How many batches are looked at first; None where that would be all of them."""
        return max(1, self._damage.batches // 4) if self._damage.batches > 1 else None

    def _accept(self, counts: Counts) -> None:
        self._counts = counts
        self._distances = self._damage.distances(counts, rebase=True).total_variation
        self._held_out = float(self._guard.distances(counts).total_variation.mean())

    def _exhausted(self) -> bool:
        left = self._end - self._damage.spent - self._guard.spent
        if self._progress is not None:
            self._progress(min(1.0, 1 - left / self._budget))
        return left <= 0


def _room(count: int, size: int) -> int:
    """How many weights can be moved either way."""
    return min(count, size - count)


def _exchanges(
    counts: Counts, sizes: Counts, slopes: Mapping[str, Slope], width: float
) -> list[tuple[dict[str, int], tuple[str, str]]]:
    """Moves of weights between two layers, those of the largest predicted gain first, each layer pair once."""
    found = []
    for taker in counts:  # is pruned more
        for giver in counts:
            number = int(
                width * min(sizes[taker] - counts[taker], max(counts[giver], _room(counts[giver], sizes[giver])))
            )
            if taker == giver or number < 1:
                continue
            gain = _move(slopes[taker], counts[taker], number) + _move(slopes[giver], counts[giver], -number)
            found.append((gain, {taker: number, giver: -number}, (taker, giver)))
    return [(change, pair) for _, change, pair in sorted(found, key=lambda item: item[0])]


def _move(slope: Slope, count: int, number: int) -> float:
    return slope[count + number] - slope[count]


def _all_layers(counts: Counts, sizes: Counts, slopes: Mapping[str, Slope], width: float) -> Counts:
    """Every layer moved within its room in proportion to how its slope per weight differs from the others'."""
    rooms = {name: width * _room(counts[name], size) for name, size in sizes.items()}
    steps = {name: max(1, int(room)) for name, room in rooms.items()}
    rates = {}
    for name, step in steps.items():
        low, high = max(0, counts[name] - step), min(sizes[name], counts[name] + step)
        rates[name] = (slopes[name][high] - slopes[name][low]) / max(high - low, 1)
    middle = sum(rates[name] * rooms[name] for name in rates) / max(sum(rooms.values()), 1e-300)
    spread = max(abs(rate - middle) for rate in rates.values()) or 1.0
    levels = {name: (counts[name] - rooms[name] * (rates[name] - middle) / spread) / sizes[name] for name in counts}
    return apportion(levels, sizes, sum(counts.values()))
