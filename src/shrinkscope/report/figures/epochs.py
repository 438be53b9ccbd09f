"""Two measures over the epochs of fine-tuning: AP (solid) and PD (dashed), or AP2 (solid) and AP3 (dashed)."""

from collections.abc import Callable, Iterable, Sequence

from shrinkscope.report.curves import Curve, Curves
from shrinkscope.report.figures.layout import Grid
from shrinkscope.report.figures.panels import (
    Panel,
    axis_title,
    draw_row,
    keys,
    levels_by_method,
    measured,
    methods_by_level,
    name_epochs,
    scale_of,
    told_by,
)
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import styled
from shrinkscope.report.vocabulary import scope_name, term


@styled
def over_epochs(
    curves: Curves,
    solid: str,
    dashed: str,
    scope: str,
    *,
    rows: Sequence[str] = ("levels", "methods"),
    data: str = "",
    title: str = "",
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
        title: What to write above the panels; by default the two metrics and the scope.

    Returns:
        The picture; lines are means over trials, bands reach from the smallest to the largest trial.

    Source: the layout of the paper's figures 2 to 18 (protocol.md, Figures).
    """
    makers: dict[str, Callable[..., list[Panel]]] = {"levels": levels_by_method, "methods": methods_by_level}
    panels = [makers[row](curves, solid, dashed, scope) for row in rows]
    everything = [panel for row in panels for panel in row]
    scale = scale_of(everything)
    grid = Grid(rows=len(rows))
    figure = grid.figure()
    for index, row in enumerate(panels):
        draw_row(figure, grid, index, row, scale, curves.last_epoch).set_ylabel(axis_title(solid, dashed))
    title = title or f"{term(solid).label} and {term(dashed).label} · {scope_name(scope)} pruned"
    grid.heading(figure, title, keys(solid, dashed, curves.trials))
    name_epochs(figure, grid)
    return Picture(
        name=f"{solid}-{dashed}-{scope}".replace("_", "-"),
        family="contrast" if dashed.startswith("ap") else f"epochs-{solid}",
        title=title,
        group=f"{scope_name(scope)} pruned",
        tab=term(dashed).label,
        caption=_caption(curves, measured(everything), solid, dashed, scope, data),
        figure=figure,
    )


def _caption(curves: Curves, drawn: Iterable[Curve], solid: str, dashed: str, scope: str, data: str) -> str:
    text = (
        f"Solid: {term(solid).label} of the whole network ({term(solid).unit}); dashed, with slanted labels: "
        f"{term(dashed).label} ({term(dashed).unit}). Both on one logarithmic axis, over the epochs of fine-tuning, "
        f"{scope_name(scope)} pruned. {told_by(curves, drawn)}"
    )
    return f"{text} Data: {data}." if data else text
