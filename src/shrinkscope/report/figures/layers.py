"""Damage by layer just after pruning: bars for each method and level, and a map of layers against levels."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter

from shrinkscope.report.curves import Curves
from shrinkscope.report.figures.layout import Grid
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import INK, MUTED, level_colours, styled
from shrinkscope.report.format import counted, number, percent, shorten
from shrinkscope.report.vocabulary import level_name, method_title, scope_name, term

MOST_LAYERS = 24  # more rows than this are unreadable on one page; the report's table has them all
_LETTER, _LONGEST_NAME = 0.072, 28  # inches a letter of a layer's name takes; longer names keep their end


@styled
def bars_by_layer(curves: Curves, metric: str, scope: str, *, data: str = "") -> Picture:
    """Draw one metric of every layer just after pruning: a panel a method, a bar a level.

    Args:
        curves: The records.
        metric: The metric, one whose values of different layers can be compared; relative AP2 or an AP3.
        scope: Part of the network that was pruned.
        data: What network the records are of, for the caption.

    Returns:
        The picture; bars are means over trials. Of more than 24 layers it shows the most damaged.
    """
    layers = most_damaged(curves, metric, scope)
    bar = 0.145 if len(layers) * len(curves.levels) <= 40 else 0.07
    tall = len(layers) * (len(curves.levels) * bar + 0.12)
    grid = _grid(layers, tall, top=0.92)
    figure = grid.figure()
    panels = grid.row(figure, 0, len(curves.methods))
    table = {method: _means(curves, metric, scope, method, layers) for method in curves.methods}
    largest = max((float(np.nanmax(values)) for values in table.values() if np.isfinite(values).any()), default=1.0)
    for method, axes in zip(curves.methods, panels, strict=True):
        _bars(axes, table[method], curves.levels, bar / (len(curves.levels) * bar + 0.12), metric, numbers=bar > 0.1)
        axes.set_xlim(0, 1.02 * largest or 1.0)
        axes.set_title(method_title(method))
        _title_lengths(axes, metric)
    _name_rows(panels, layers)
    title = f"Damage by layer, {term(metric).label} · {scope_name(scope)} pruned"
    keys = [
        Patch(color=colour, label=f"{level_name(level)} removed")
        for level, colour in level_colours(curves.levels).items()
    ]
    grid.heading(figure, title, keys)
    return Picture(
        name=f"layers-{metric}-{scope}".replace("_", "-"),
        family="layers",
        title=title,
        group=f"{scope_name(scope)} pruned",
        tab=f"bars: {term(metric).label}",
        caption=_caption(curves, metric, scope, layers, data, "The length of a bar"),
        figure=figure,
    )


@styled
def map_of_layers(curves: Curves, metric: str, scope: str, *, data: str = "") -> Picture:
    """Draw one metric as a map of layers (rows) against levels (columns), a panel a method, logarithmic colours.

    Args:
        curves: The records.
        metric: The metric.
        scope: Part of the network that was pruned.
        data: What network the records are of, for the caption.

    Returns:
        The picture; numbers are means over trials. Of more than 24 layers it shows the most damaged.
    """
    layers = most_damaged(curves, metric, scope)
    grid = _grid(layers, 0.30 * len(layers), top=0.68)
    figure = grid.figure()
    panels = grid.row(figure, 0, len(curves.methods))
    table = {method: _means(curves, metric, scope, method, layers) for method in curves.methods}
    everything = np.concatenate([values.ravel() for values in table.values()])
    positive = everything[np.isfinite(everything) & (everything > 0)]
    norm = LogNorm(positive.min(), positive.max()) if positive.size else LogNorm(0.1, 1.0)
    for method, axes in zip(curves.methods, panels, strict=True):
        _cells(axes, table[method], norm)
        axes.set_title(method_title(method))
        axes.set_xticks(range(len(curves.levels)), [level_name(level) for level in curves.levels])
        axes.set_xlabel("share of weights removed")
    _name_rows(panels, layers)
    title = f"{term(metric).label} by layer ({term(metric).unit}) · {scope_name(scope)} pruned"
    grid.heading(figure, title)
    return Picture(
        name=f"map-{metric}-{scope}".replace("_", "-"),
        family="layers",
        title=title,
        group=f"{scope_name(scope)} pruned",
        tab=f"map: {term(metric).label}",
        caption=_caption(curves, metric, scope, layers, data, "The number in a cell (darker is more, logarithmic)"),
        figure=figure,
    )


def most_damaged(curves: Curves, metric: str, scope: str) -> list[str]:
    """Layers for which the metric was recorded, in the order of the network; the 24 largest when there are more."""
    worst: dict[str, float] = {}
    for layer in curves.layers:
        values = np.concatenate([_means(curves, metric, scope, method, [layer]).ravel() for method in curves.methods])
        if np.isfinite(values).any():
            worst[layer] = float(np.nanmax(values))
    kept = set(sorted(worst, key=lambda layer: -worst[layer])[:MOST_LAYERS])
    return [layer for layer in worst if layer in kept]


def _means(curves: Curves, metric: str, scope: str, method: str, layers: Sequence[str]) -> np.ndarray:
    """Mean over trials just after pruning: a row a layer, a column a level, NaN where nothing was measured."""
    return np.array(
        [[_mean_at_start(curves, metric, scope, method, level, layer) for level in curves.levels] for layer in layers]
    )


def _mean_at_start(curves: Curves, metric: str, scope: str, method: str, level: float, layer: str) -> float:
    values = curves.curve(metric, scope, method, level, layer).at(0)
    return float(values.mean()) if values.size else float("nan")


def _grid(layers: Sequence[str], tall: float, top: float) -> Grid:
    left = 0.25 + _LETTER * max((len(shorten(layer, _LONGEST_NAME)) for layer in layers), default=0)
    return Grid(rows=1, panel=tall, left=left, right=0.70, top=top)


def _bars(axes: Axes, table: np.ndarray, levels: Sequence[float], thick: float, metric: str, *, numbers: bool) -> None:
    rows = np.arange(len(table))
    write = percent if term(metric).unit.startswith("fraction") else number
    for index, (level, colour) in enumerate(level_colours(levels).items()):
        middle = rows + (index - (len(levels) - 1) / 2) * thick
        values = table[:, levels.index(level)]
        axes.barh(middle, np.nan_to_num(values), height=0.86 * thick, color=colour)
        if numbers:
            for y, value in zip(middle, values, strict=True):
                x = value if np.isfinite(value) else 0.0
                axes.annotate(
                    write(value),
                    (x, y),
                    (3, 0),
                    textcoords="offset points",
                    va="center_baseline",
                    size=6.5,
                    color=MUTED,
                )
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")


def _title_lengths(axes: Axes, metric: str) -> None:
    unit = term(metric).unit
    if unit.startswith("fraction"):
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0, symbol=" %"))
        unit = unit.replace("fraction", "%")
    axes.set_xlabel(f"{term(metric).label} ({unit})")


def _cells(axes: Axes, table: np.ndarray, norm: LogNorm) -> None:
    colours = matplotlib.colormaps["viridis_r"]
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.5, table.shape[1] - 0.5)
    for (row, column), value in np.ndenumerate(table):
        shade = colours(float(norm(value))) if np.isfinite(value) and value > 0 else None
        if shade is not None:
            axes.add_patch(Rectangle((column - 0.49, row - 0.48), 0.98, 0.96, color=shade, linewidth=0))
        dark = shade is not None and 0.2126 * shade[0] + 0.7152 * shade[1] + 0.0722 * shade[2] < 0.5
        # Text on a coloured cell must not follow the report's theme, so these are not the themed ink.
        ink = INK if shade is None else "#ffffff" if dark else "#000000"
        axes.text(column, row, number(value), ha="center", va="center_baseline", size=7.5, color=ink)


def _name_rows(panels: Sequence[Axes], layers: Sequence[str]) -> None:
    for index, axes in enumerate(panels):
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_yticks(range(len(layers)), [shorten(layer, _LONGEST_NAME) for layer in layers] if index == 0 else [])
        axes.tick_params(axis="y", length=0)


def _caption(curves: Curves, metric: str, scope: str, layers: Sequence[str], data: str, mark: str) -> str:
    recorded = len(curves.layers)
    text = (
        f"{mark} is {term(metric).label} of one layer just after pruning ({term(metric).unit}), {scope_name(scope)} "
        f"pruned; mean over {counted(curves.trials, 'trial')}. {term(metric).meaning}"
    )
    if len(layers) < recorded:
        text += f" Shown are {len(layers)} of {recorded} layers, those with the largest values."
    return f"{text} Data: {data}." if data else text
