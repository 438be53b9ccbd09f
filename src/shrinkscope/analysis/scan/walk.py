"""The candidates of a scan layer by layer: from the cache, left out, or measured, several together where that pays."""

import itertools
import time
from collections.abc import Iterator, Sequence

import msgspec
from torch import nn

from shrinkscope.analysis.scan.cache import ScanCache, digest
from shrinkscope.analysis.scan.candidate import Candidate, Layer, candidate
from shrinkscope.analysis.scan.methods import STRUCTURED, Sweep
from shrinkscope.analysis.scan.passes import Passes
from shrinkscope.analysis.scan.ranking import NOT_RUN
from shrinkscope.analysis.scan.records import ScanRow
from shrinkscope.analysis.scan.yardstick import Gauge, Measurement, Yardstick
from shrinkscope.errors import DataError
from shrinkscope.latent import Latent
from shrinkscope.performance import divergence_of


class Walk:
    """Measures candidates layer by layer.

    Args:
        passes: Runs the network; None for a scan of the weights alone.
        yardstick: Measures what comes out; None likewise.
        latents: Latent distributions of the AP3 columns.
        seed: Of methods that draw.
        early_stop: Whether harsher levels of a collapsed layer are left out.
        store: Keeps finished rows.
        identity: What decides the numbers, for the keys of ``store``.
    """

    def __init__(
        self,
        passes: Passes | None,
        yardstick: Yardstick | None,
        latents: Sequence[Latent],
        *,
        seed: int,
        early_stop: bool,
        store: ScanCache | None,
        identity: str,
    ) -> None:
        self._passes, self._yardstick, self._latents = passes, yardstick, latents
        self._seed, self._early_stop, self._store, self._identity = seed, early_stop, store, identity
        self.from_cache = self.not_run = self.batched = 0

    def in_order(self, layers: Sequence[Layer]) -> list[tuple[Layer, int | None]]:
        """The layers with where the network uses them first, in that order; those of unknown place come last.

        Args:
            layers: The layers.
        """
        places = [
            None if self._passes is None or layer.place is None else self._passes.position(layer.place.parameter)
            for layer in layers
        ]
        pairs = list(zip(layers, places, strict=True))
        return sorted(pairs, key=lambda pair: (pair[1] is None, pair[1] or 0))

    def rows(self, layer: Layer, position: int | None, sweeps: Sequence[Sweep]) -> Iterator[ScanRow]:
        """The rows of one layer.

        Args:
            layer: The layer.
            position: Where the network uses it first.
            sweeps: The methods.

        Yields:
            A row for each level of each method, in the order in which they are measured.
        """
        collapsed: dict[str, float] = {}
        for wave in self._waves(sweeps):
            alive = [(sweep, level) for sweep, level in wave if sweep.name not in collapsed]
            for sweep, level in wave:
                if sweep.name in collapsed:
                    yield self._left_out(layer, sweep, level, collapsed[sweep.name])
            size = self._together(layer, position) if len(alive) > 1 else 1
            for group in (alive[start : start + size] for start in range(0, len(alive), size)):
                for (sweep, level), row in zip(group, self._group(layer, position, group), strict=True):
                    yield row
                    if self._early_stop and row.collapsed:
                        collapsed.setdefault(sweep.name, level)

    def _waves(self, sweeps: Sequence[Sweep]) -> list[list[tuple[Sweep, float]]]:
        """Candidates that may go together: all of a layer, or a level of each method if levels wait for milder ones."""
        if not self._early_stop:
            return [[(sweep, level) for sweep in sweeps for level in sweep.methods]]
        columns = itertools.zip_longest(*([(sweep, level) for level in sweep.methods] for sweep in sweeps))
        return [[pair for pair in column if pair is not None] for column in columns]

    def _together(self, layer: Layer, position: int | None) -> int:
        if self._passes is None or layer.place is None:
            return 1
        return self._passes.together(layer.place.parameter, position)

    def _group(self, layer: Layer, position: int | None, group: Sequence[tuple[Sweep, float]]) -> list[ScanRow]:
        """The rows of candidates that go through the network together, from the cache or measured."""
        keys = [
            digest([part.encode() for part in (self._identity, layer.view.name, sweep.name, _exact(sweep, level))])
            for sweep, level in group
        ]
        rows = [None if self._store is None else self._store.get(key) for key in keys]
        self.from_cache += sum(row is not None for row in rows)
        missing = [index for index, row in enumerate(rows) if row is None]
        begun = time.perf_counter()
        made = [candidate(layer, *group[index], self._latents, self._seed) for index in missing]
        measured = self._measured(layer, position, made)
        seconds = (time.perf_counter() - begun) / max(len(missing), 1)
        for index, row in zip(missing, measured, strict=True):
            rows[index] = row = msgspec.structs.replace(row, seconds=seconds)
            if self._store is not None:
                self._store.put(keys[index], row)
        return [row for row in rows if row is not None]

    def _left_out(self, layer: Layer, sweep: Sweep, level: float, collapsed: float) -> ScanRow:
        row = candidate(layer, sweep, level, self._latents, self._seed).row
        if not row.measurable:
            return row
        self.not_run += 1
        return msgspec.structs.replace(row, measurable=False, reason=f"{NOT_RUN} at level {collapsed:g} already")

    def _measured(self, layer: Layer, position: int | None, made: Sequence[Candidate]) -> list[ScanRow]:
        """What the candidates do to the outputs, those together that can be run."""
        if layer.place is None or self._passes is None or self._yardstick is None:
            return [one.row for one in made]
        parameter = layer.place.parameter
        run = [one for one in made if one.weight is not None]
        found = iter(self._in_one_pass(parameter, position, run) or [None] * len(run))
        rows = []
        for one in made:
            together = None if one.weight is None else next(found)
            rows.append(self._finished(parameter, position, one, together))
        return rows

    def _in_one_pass(
        self, parameter: nn.Parameter, position: int | None, made: Sequence[Candidate]
    ) -> list[Measurement] | None:
        """The measurements of several candidates; None where there is one, or one of them fails."""
        passes, yardstick = self._passes, self._yardstick
        weights = [one.weight for one in made if one.weight is not None]
        if passes is None or yardstick is None or len(weights) < 2:
            return None
        gauges, together = [Gauge(yardstick) for _ in weights], False
        try:
            for outputs, in_one in passes.grouped(parameter, weights, position):
                together |= in_one
                for gauge, batch in zip(gauges, outputs, strict=True):
                    gauge.add(batch)
            found = [gauge.measurement() for gauge in gauges]
        except DataError:
            return None
        self.batched += len(weights) if together else 0
        # Whether no bit changed is told from a pass of its own: rows of a larger batch are rounded in another way.
        return [
            yardstick.measure(passes.outputs(parameter, weight, position)) if together and one.close else one
            for weight, one in zip(weights, found, strict=True)
        ]

    def _finished(
        self, parameter: nn.Parameter, position: int | None, made: Candidate, found: Measurement | None
    ) -> ScanRow:
        """The row of a candidate with what was measured, alone if it was not measured with others."""
        passes, yardstick = self._passes, self._yardstick
        if passes is None or yardstick is None or made.weight is None:
            return made.row
        try:
            found = found or yardstick.measure(passes.outputs(parameter, made.weight, position))
        except DataError as error:
            return msgspec.structs.replace(made.row, measurable=False, reason=str(error))
        row = msgspec.structs.replace(made.row, forward_equivalents=passes.share(position))
        if found.identical:
            return _unmoved(row)
        shared = passes.sharing(row.layer) if row.method.startswith(STRUCTURED) else None
        note = "; ".join(part for part in (row.reason, shared) if part) or None
        return _with(msgspec.structs.replace(row, reason=note), found)


def _unmoved(row: ScanRow) -> ScanRow:
    reason = (
        f"changes no output: {row.changed} weights differ, and every output stays the same bit by bit; the layer is "
        "not used here, or these inputs do not reach what changed"
    )
    return msgspec.structs.replace(row, measurable=False, reason=reason)


def _with(row: ScanRow, found: Measurement) -> ScanRow:
    unmeasured = [difference.reason for difference in found.measured.values() if not difference.measurable]
    reasons = [reason for reason in (row.reason, found.reason, *unmeasured) if reason]
    row = msgspec.structs.replace(
        row,
        measured=found.measured,
        collapsed=found.collapsed,
        measurable=found.reason is None and not unmeasured,
        reason="; ".join(dict.fromkeys(reasons)) or None,
    )
    if found.distances is None:
        return row
    means = divergence_of(found.distances)
    return msgspec.structs.replace(
        row, predictive_kl=means.kl, total_variation=means.total_variation, disagreement=means.disagreement
    )


def _exact(sweep: Sweep, level: float) -> str:
    return msgspec.json.encode(sweep.methods[level]).decode()
