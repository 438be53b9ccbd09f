"""Two measures over the epochs of fine-tuning: AP (solid) and PD (dashed), or AP2 (solid) and AP3 (dashed)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D

from shrinkscope.report.curves import Curve, Curves
from shrinkscope.report.figures.axis import LogScale
from shrinkscope.report.figures.labels import EndLabel, label_ends
from shrinkscope.report.figures.layout import WIDTH, Grid
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import MUTED, level_colours, method_colours, styled
from shrinkscope.report.vocabulary import level_name, method_title, scope_name, term

_DASHES = (0, (3.2, 1.8))
_BAND_ALPHA = 0.14


@dataclass(frozen=True)
class _Pair:
    """One configuration in one panel: two curves of one colour, labelled at their ends."""

    label: str
    colour: str
    solid: Curve
    dashed: Curve

    @property
    def measured(self) -> list[tuple[Curve, object]]:
        """The curves that have points, with their line styles."""
        return [(curve, style) for curve, style in ((self.solid, "-"), (self.dashed, _DASHES)) if len(curve.epochs)]


@dataclass(frozen=True)
class _Panel:
    title: str
    pairs: list[_Pair]


@styled
def over_epochs(
    curves: Curves, solid: str, dashed: str, scope: str, *, rows: Sequence[str] = ("levels", "methods"), data: str = ""
) -> Picture:
    """Draw two measures over fine-tuning on one logarithmic axis: levels for each method, methods for each level.

    Args:
        curves: The records.
        solid: Metric of the solid lines, an AP.
        dashed: Metric of the dashed lines, a PD or another AP.
        scope: Part of the network that was pruned, as in the records.
        rows: ``levels`` for a row of panels that compares the levels of one method, ``methods`` for a row that
            compares the methods at one level.
        data: What network and data the records are of, for the caption.

    Returns:
        The picture; lines are means over trials, bands reach from the smallest to the largest trial.

    Source: the layout of the paper's figures 2 to 18 (protocol.md, Figures).
    """
    makers: dict[str, Callable[..., list[_Panel]]] = {"levels": _levels_by_method, "methods": _methods_by_level}
    panels = [makers[row](curves, solid, dashed, scope) for row in rows]
    scale = LogScale(extent for curve in _measured(panels) for extent in (curve.low, curve.high))
    grid = Grid(rows=len(rows))
    figure = grid.figure()
    for index, in_row in enumerate(panels):
        for column, (axes, panel) in enumerate(zip(grid.row(figure, index, len(in_row)), in_row, strict=True)):
            _draw(axes, panel, scale, curves.last_epoch)
            axes.tick_params(labelleft=column == 0)
            axes.set_ylabel(_axis_title(solid, dashed) if column == 0 else "")
    title = f"{term(solid).label} and {term(dashed).label} · {scope_name(scope)} pruned"
    grid.heading(figure, title, [_key(solid, "-"), _key(dashed, _DASHES)])
    middle = 0.5 * (grid.left + WIDTH - grid.right) / WIDTH
    figure.text(middle, 0.15 / grid.height, "epoch of fine-tuning (0: just pruned)", ha="center", va="center")
    return Picture(
        name=f"{solid}-{dashed}-{scope}".replace("_", "-"),
        family="contrast" if dashed.startswith("ap") else f"epochs-{solid}",
        title=title,
        group=f"{scope_name(scope)} pruned",
        tab=term(dashed).label,
        caption=_caption(curves, _measured(panels), solid, dashed, scope, data),
        figure=figure,
    )


def _levels_by_method(curves: Curves, solid: str, dashed: str, scope: str) -> list[_Panel]:
    colours = level_colours(curves.levels)

    def pair(method: str, level: float) -> _Pair:
        return _Pair(
            level_name(level),
            colours[level],
            *(curves.curve(metric, scope, method, level) for metric in (solid, dashed)),
        )

    return [_Panel(method_title(method), [pair(method, level) for level in curves.levels]) for method in curves.methods]


def _methods_by_level(curves: Curves, solid: str, dashed: str, scope: str) -> list[_Panel]:
    colours = method_colours(curves.methods)

    def pair(method: str, level: float) -> _Pair:
        return _Pair(
            method, colours[method], *(curves.curve(metric, scope, method, level) for metric in (solid, dashed))
        )

    return [
        _Panel(f"{level_name(level)} removed", [pair(method, level) for method in curves.methods])
        for level in curves.levels
    ]


def _draw(axes: Axes, panel: _Panel, scale: LogScale, last: int) -> None:
    axes.set_title(panel.title)
    scale.apply(axes)
    axes.set_xlim(0, max(last, 1))
    axes.set_xticks(_epoch_ticks(last))
    drawn = [(pair, curve, style) for pair in panel.pairs for curve, style in pair.measured]
    if not drawn:
        return
    colours = [pair.colour for pair, _, _ in drawn]
    bands = [_band(curve, scale) for _, curve, _ in drawn]
    lines = [np.column_stack([curve.epochs, scale.place(curve.mean)]) for _, curve, _ in drawn]
    # One collection for all bands and one for all lines: drawing takes half the time of separate artists.
    axes.add_collection(PolyCollection(bands, facecolors=colours, alpha=_BAND_ALPHA, linewidths=0), autolim=False)
    styles = [style for _, _, style in drawn]
    axes.add_collection(LineCollection(lines, colors=colours, linestyles=styles, linewidths=1.5), autolim=False)
    ends = [
        EndLabel(pair.label, line[-1, 1], pair.colour, slanted=style != "-")
        for (pair, _, style), line in zip(drawn, lines, strict=True)
    ]
    label_ends(axes, ends)


def _band(curve: Curve, scale: LogScale) -> np.ndarray:
    there = curve.measured > 0
    epochs, low, high = curve.epochs[there], scale.place(curve.low[there]), scale.place(curve.high[there])
    return np.column_stack([np.concatenate([epochs, epochs[::-1]]), np.concatenate([low, high[::-1]])])


def _epoch_ticks(last: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10**9) if last <= 5 * step)
    return list(range(0, last + 1, step))


def _key(metric: str, style: object) -> Line2D:
    label = f"{term(metric).label} ({term(metric).unit})"
    return Line2D([], [], color=MUTED, linestyle=style, label=label)  # pyright: ignore[reportArgumentType]


def _axis_title(solid: str, dashed: str) -> str:
    parts = [f"{term(metric).label.split()[0]} ({term(metric).unit})" for metric in (solid, dashed)]
    return ", ".join(dict.fromkeys(parts))


def _caption(curves: Curves, drawn: Iterator[Curve], solid: str, dashed: str, scope: str, data: str) -> str:
    spread = f"means over {curves.trials} trials, bands reach from the lowest to the highest trial"
    text = (
        f"Solid: {term(solid).label} of the whole network ({term(solid).unit}); dashed, with slanted labels: "
        f"{term(dashed).label} ({term(dashed).unit}). Both on one logarithmic axis, over the epochs of fine-tuning, "
        f"{scope_name(scope)} pruned. Lines are {spread if curves.trials > 1 else 'those of the one trial'}; an exact "
        "zero is drawn at the mark 0."
    )
    gaps = sum(int((curves.trials - curve.measured).sum()) for curve in drawn)
    if gaps:
        text += f" {gaps} values could not be measured and are left out."
    return f"{text} Data: {data}." if data else text


def _measured(panels: list[list[_Panel]]) -> Iterator[Curve]:
    pairs = (pair for row in panels for panel in row for pair in panel.pairs)
    return (curve for pair in pairs for curve, _ in pair.measured)
