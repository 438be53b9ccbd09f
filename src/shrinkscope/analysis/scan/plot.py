"""The picture of a scan: a heat map of layers against methods and levels."""

from typing import TYPE_CHECKING, Any

import numpy as np

from shrinkscope.analysis.plot import axis_label
from shrinkscope.analysis.scan.ranking import NOT_RUN
from shrinkscope.errors import SelectionError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECADES = 6.0  # a colour scale of more would leave no colours for the candidates that matter
_MUTED = "#59636e"
_LEVELS = {"quantise": "bits", "low_rank": "rank kept"}
"""Method → what its levels are, where they are not fractions that are removed."""


def heat_map(table: "pd.DataFrame", column: str) -> "Figure":
    """Damage by layer (rows) and by method and level (columns), on a logarithmic scale where all values allow it.

    Args:
        table: The rows of a scan.
        column: A numeric column.

    Returns:
        The figure; nothing is shown or written. A cross marks what cannot be measured, a filled square what was not run
        because a milder level had collapsed.

    Raises:
        SelectionError: If the column was measured nowhere.
    """
    from matplotlib.figure import Figure

    layers, cells = list(dict.fromkeys(table["layer"])), _cells(table)
    values = np.full((len(layers), len(cells)), np.nan)
    marks: list[tuple[int, int, bool]] = []
    for row in table.to_dict("records"):
        y, x = layers.index(row["layer"]), cells.index((row["method"], row["level"]))
        amount = row[column]
        if amount is not None and np.isfinite(float(amount)):
            values[y, x] = float(amount)
        else:
            marks.append((x, y, str(row["reason"]).startswith(NOT_RUN)))
    if np.isnan(values).all():
        raise SelectionError(f"{column} was measured nowhere: there is nothing to draw")
    figure = Figure(figsize=(2.6 + 0.36 * len(cells), 1.5 + 0.26 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(values, aspect="auto", cmap="viridis", norm=_norm(values))
    _label(axes, layers, cells)
    for x, y, collapsed in marks:
        axes.plot(x, y, "s" if collapsed else "x", color=_MUTED, markersize=6 if collapsed else 5)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(axis_label(column))
    figure.supxlabel("■ not run: collapsed at a milder level    × not measurable", fontsize=8, color=_MUTED)
    return figure


def _cells(table: "pd.DataFrame") -> list[tuple[str, float]]:
    return list(dict.fromkeys(zip(table["method"], table["level"], strict=True)))


def _norm(values: np.ndarray) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    known = values[~np.isnan(values)]
    largest = float(known.max())
    if float(known.min()) < 0 or largest <= 0:
        return Normalize()
    smallest = float(known[known > 0].min())
    return LogNorm(max(smallest, largest / 10**_DECADES) if smallest < largest else largest / 10, largest, clip=True)


def _label(axes: "Axes", layers: list[str], cells: list[tuple[str, float]]) -> None:
    axes.set_yticks(range(len(layers)), [name.removesuffix(".weight") for name in layers], fontsize=8)
    axes.set_xticks(range(len(cells)), [f"{level:g}" for _, level in cells], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    methods = [method for method, _ in cells]
    for method in dict.fromkeys(methods):
        places = [index for index, other in enumerate(methods) if other == method]
        title = f"{method} ({_LEVELS.get(method, 'removed')})"
        axes.text(sum(places) / len(places), -0.75, title, ha="center", va="bottom", fontsize=9, weight="bold")
        if places[0]:
            axes.axvline(places[0] - 0.5, color="white", linewidth=3)
