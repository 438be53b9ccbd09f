"""Panels of curves over the epochs of fine-tuning: two measures of each configuration, one solid and one dashed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from shrinkscope.report.curves import Curve, Curves
from shrinkscope.report.figures.axis import LogScale
from shrinkscope.report.figures.labels import EndLabel, label_ends
from shrinkscope.report.figures.layout import WIDTH, Grid
from shrinkscope.report.figures.style import MUTED, level_colours, method_colours
from shrinkscope.report.vocabulary import level_name, method_title, term

DASHES = (0, (3.2, 1.8))
_BAND_ALPHA = 0.14


@dataclass(frozen=True)
class Pair:
    """One configuration in one panel: two curves of one colour, labelled at their ends."""

    label: str
    colour: str
    solid: Curve
    dashed: Curve

    @property
    def measured(self) -> list[tuple[Curve, object]]:
        """The curves that have points, with their line styles."""
        return [(curve, style) for curve, style in ((self.solid, "-"), (self.dashed, DASHES)) if len(curve.epochs)]


@dataclass(frozen=True)
class Panel:
    """Configurations that share a pair of axes."""

    title: str
    pairs: list[Pair]


def levels_by_method(curves: Curves, solid: str, dashed: str, scope: str) -> list[Panel]:
    """Make a row of panels that compares the levels of each method.

    Args:
        curves: The records.
        solid: Metric of the solid lines.
        dashed: Metric of the dashed lines.
        scope: Part of the network that was pruned.

    Returns:
        A panel a method.
    """
    colours = level_colours(curves.levels)

    def pair(method: str, level: float) -> Pair:
        return Pair(
            level_name(level),
            colours[level],
            *(curves.curve(metric, scope, method, level) for metric in (solid, dashed)),
        )

    return [Panel(method_title(method), [pair(method, level) for level in curves.levels]) for method in curves.methods]


def methods_by_level(curves: Curves, solid: str, dashed: str, scope: str) -> list[Panel]:
    """Make a row of panels that compares the methods at each level; the arguments are those of ``levels_by_method``."""
    colours = method_colours(curves.methods)

    def pair(method: str, level: float) -> Pair:
        return Pair(
            method, colours[method], *(curves.curve(metric, scope, method, level) for metric in (solid, dashed))
        )

    return [
        Panel(f"{level_name(level)} removed", [pair(method, level) for method in curves.methods])
        for level in curves.levels
    ]


def draw_row(figure: Figure, grid: Grid, index: int, panels: Sequence[Panel], scale: LogScale, last: int) -> Axes:
    """Draw a row of panels on one scale.

    Args:
        figure: The figure.
        grid: Where its panels go.
        index: Which row, from the top.
        panels: The panels.
        scale: Their vertical axis.
        last: The last epoch.

    Returns:
        The axes of the first panel, which alone has labels at its ticks.
    """
    row = grid.row(figure, index, len(panels))
    for column, (axes, panel) in enumerate(zip(row, panels, strict=True)):
        _draw(axes, panel, scale, last)
        axes.tick_params(labelleft=column == 0)
    return row[0]


def name_epochs(figure: Figure, grid: Grid) -> None:
    """Write under the panels that the horizontal axis is the epoch."""
    middle = 0.5 * (grid.left + WIDTH - grid.right) / WIDTH
    figure.text(middle, 0.15 / grid.height, "epoch of fine-tuning (0: just pruned)", ha="center", va="center")


def _draw(axes: Axes, panel: Panel, scale: LogScale, last: int) -> None:
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


def keys(solid: str, dashed: str, trials: int = 1) -> list[Artist]:
    """Make the keys that say what solid and dashed lines are, and the bands around the means of several trials."""
    lines: list[Artist] = [_key(solid, "-"), _key(dashed, DASHES)]
    if trials < 2:
        return lines
    band = Patch(facecolor=MUTED, alpha=2 * _BAND_ALPHA, linewidth=0, label=f"mean and range of {trials} trials")
    return [*lines, band]


def _key(metric: str, style: object) -> Line2D:
    label = f"{term(metric).label} ({term(metric).unit})"
    return Line2D([], [], color=MUTED, linestyle=style, label=label)  # pyright: ignore[reportArgumentType]


def axis_title(solid: str, dashed: str) -> str:
    """Name the vertical axis that two metrics share, with their units."""
    parts = [f"{term(metric).label.split()[0]} ({term(metric).unit})" for metric in (solid, dashed)]
    return ", ".join(dict.fromkeys(parts))


def measured(panels: Iterable[Panel]) -> Iterator[Curve]:
    """Give the curves that are drawn in some panels."""
    return (curve for panel in panels for pair in panel.pairs for curve, _ in pair.measured)


def scale_of(panels: Iterable[Panel]) -> LogScale:
    """Make the logarithmic scale that shows everything in some panels, bands included."""
    return LogScale(extent for curve in measured(panels) for extent in (curve.low, curve.high))


def told_by(curves: Curves, drawn: Iterable[Curve]) -> str:
    """Say what the lines and bands are, and how many values are missing, for a caption."""
    spread = f"means over {curves.trials} trials, bands reach from the lowest to the highest trial"
    text = (
        f"Lines are {spread if curves.trials > 1 else 'those of the one trial'}; an exact zero is drawn at the mark 0."
    )
    gaps = sum(int((curves.trials - curve.measured).sum()) for curve in drawn)
    return f"{text} {gaps} values could not be measured and are left out." if gaps else text
