"""The picture of one comparison: damage by layer, most damaged first."""

import numpy as np

from shrinkscope.analysis import Comparison, LayerRecord
from shrinkscope.report.figures.layers import MOST_LAYERS
from shrinkscope.report.figures.layout import Grid
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import METHOD_COLOURS, MUTED, styled
from shrinkscope.report.format import number, percent, shorten
from shrinkscope.report.vocabulary import term

_LONGEST_NAME, _LETTER, _ROW = 44, 0.072, 0.22  # letters; inches a letter; inches a layer


def comparison_figures(comparison: Comparison) -> dict[str, Picture]:
    """Draw a comparison, when anything in it changed.

    Args:
        comparison: The comparison.

    Returns:
        Pictures by the name of their files; none when no layer changed or relative AP2 is defined for none.
    """
    changed = [row for row in comparison.rows if row.relative_ap2]
    if not changed:
        return {}
    picture = damage(changed)
    return {picture.name: picture}


@styled
def damage(rows: list[LayerRecord]) -> Picture:
    """Draw relative AP2 and sparsity of layers side by side, a bar a layer, most damaged first.

    Args:
        rows: Layers with a relative AP2.

    Returns:
        The picture; of more than 24 layers it shows the most damaged.
    """
    shown = sorted(rows, key=lambda row: -(row.relative_ap2 or 0.0))[:MOST_LAYERS]
    names = [shorten(row.layer, _LONGEST_NAME) for row in shown]
    grid = Grid(
        rows=1,
        panel=_ROW * len(shown),
        left=0.25 + _LETTER * max(map(len, names)),
        right=0.8,
        top=0.68,
        panel_gap=0.9,
    )
    figure = grid.figure()
    columns = {
        f"relative AP2 ({term('relative_ap2').unit})": [row.relative_ap2 for row in shown],
        "weights that are zero (fraction)": [row.sparsity for row in shown],
    }
    for index, (axes, (title, values)) in enumerate(zip(grid.row(figure, 0, 2), columns.items(), strict=True)):
        lengths = np.array([np.nan if value is None else value for value in values], dtype=float)
        axes.barh(range(len(shown)), np.nan_to_num(lengths), height=0.72, color=list(METHOD_COLOURS.values())[index])
        write = number if index == 0 else percent
        for place, length in enumerate(lengths):
            spot = (float(np.nan_to_num(length)), place)
            axes.annotate(
                write(length), spot, (3, 0), textcoords="offset points", va="center_baseline", size=7, color=MUTED
            )
        axes.set_xlim(0, 1.02 * max(float(np.nanmax(lengths)), 1e-12))
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_yticks(range(len(shown)), names if index == 0 else [])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(title)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
    grid.heading(figure, "Damage by layer, most damaged first")
    return Picture(
        name="damage-by-layer",
        family="comparison",
        title="Damage by layer, most damaged first",
        group="layers",
        tab="relative AP2",
        caption=_caption(len(shown), len(rows)),
        figure=figure,
    )


def _caption(shown: int, changed: int) -> str:
    which = (
        f"the {shown} most damaged of {changed} changed layers" if shown < changed else f"the {changed} changed layers"
    )
    return f"Left: relative AP2 of {which}. Right: the share of their weights that are zero after compression."
