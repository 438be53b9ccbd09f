"""The candidates of a scan one after another: from the cache, left out, or measured."""

import time
from collections.abc import Iterator, Sequence

import msgspec

from shrinkscope.analysis.scan.cache import ScanCache, digest
from shrinkscope.analysis.scan.candidate import Candidate, Layer, candidate
from shrinkscope.analysis.scan.methods import STRUCTURED, Sweep
from shrinkscope.analysis.scan.passes import Passes
from shrinkscope.analysis.scan.ranking import NOT_RUN
from shrinkscope.analysis.scan.records import ScanRow
from shrinkscope.analysis.scan.yardstick import Measurement, Yardstick
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
        self.from_cache = self.not_run = 0

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
            A row for each level of each method.
        """
        for sweep in sweeps:
            collapsed: float | None = None
            for level in sweep.methods:
                row = self._row(layer, position, sweep, level, collapsed)
                yield row
                if self._early_stop and row.collapsed and collapsed is None:
                    collapsed = level

    def _row(self, layer: Layer, position: int | None, sweep: Sweep, level: float, collapsed: float | None) -> ScanRow:
        if collapsed is not None:
            return self._left_out(layer, sweep, level, collapsed)
        key = digest([part.encode() for part in (self._identity, layer.view.name, sweep.name, _exact(sweep, level))])
        found = None if self._store is None else self._store.get(key)
        if found is not None:
            self.from_cache += 1
            return found
        begun = time.perf_counter()
        made = candidate(layer, sweep, level, self._latents, self._seed)
        row = self._measured(layer, position, made)
        row = msgspec.structs.replace(row, seconds=time.perf_counter() - begun)
        if self._store is not None:
            self._store.put(key, row)
        return row

    def _left_out(self, layer: Layer, sweep: Sweep, level: float, collapsed: float) -> ScanRow:
        row = candidate(layer, sweep, level, self._latents, self._seed).row
        if not row.measurable:
            return row
        self.not_run += 1
        return msgspec.structs.replace(row, measurable=False, reason=f"{NOT_RUN} at level {collapsed:g} already")

    def _measured(self, layer: Layer, position: int | None, made: Candidate) -> ScanRow:
        passes, yardstick, place = self._passes, self._yardstick, layer.place
        if passes is None or yardstick is None or place is None or made.weight is None:
            return made.row
        try:
            found = yardstick.measure(passes.outputs(place.parameter, made.weight, position))
        except DataError as error:
            return msgspec.structs.replace(made.row, measurable=False, reason=str(error))
        row = msgspec.structs.replace(made.row, forward_equivalents=passes.share(position))
        if found.identical:
            return _unmoved(row)
        coupled = passes.coupling(position) if row.method.startswith(STRUCTURED) else None
        note = "; ".join(part for part in (row.reason, coupled) if part) or None
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
