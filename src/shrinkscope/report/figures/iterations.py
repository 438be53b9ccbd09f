"""Fine-tuning as a path to its end: both ε of the theory, and the bound of Theorem 3.6 over what it bounds."""

from matplotlib.figure import Figure

from shrinkscope.report.curves import NETWORK, Curves
from shrinkscope.report.figures.layout import WIDTH, Grid
from shrinkscope.report.figures.panels import (
    axis_title,
    draw_row,
    keys,
    levels_by_method,
    measured,
    name_epochs,
    scale_of,
    told_by,
)
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import MUTED, styled
from shrinkscope.report.vocabulary import scope_name, term

DEFINITION, THEOREM, BOUND = "epsilon_2_7_", "epsilon_3_6_", "bound_3_6_"
_MEASURED = "pd_loss_train"
_KEYS_ABOVE = 0.33  # inches from the second row of panels up to its keys


@styled
def towards_the_end(curves: Curves, latent: str, scope: str, *, data: str = "") -> Picture:
    """Draw both ε over fine-tuning and, where it was recorded, the bound of Theorem 3.6 with the measured difference.

    Args:
        curves: The records, with both ε of this latent.
        latent: Name of the latent, the ending of its metrics.
        scope: Part of the network that was pruned.
        data: What network and data the records are of, for the caption.

    Returns:
        The picture; a row of panels for ε, one for the bound, each on a logarithmic axis of its own.
    """
    pairs = [(DEFINITION + latent, THEOREM + latent)]
    if _is_bounded(curves, latent, scope):
        pairs.append((BOUND + latent, _MEASURED))
    rows = [levels_by_method(curves, *pair, scope) for pair in pairs]
    grid = Grid(rows=len(rows), row_gap=0.98)
    figure = grid.figure()
    for index, (pair, row) in enumerate(zip(pairs, rows, strict=True)):
        first = draw_row(figure, grid, index, row, scale_of(row), curves.last_epoch)
        first.set_ylabel(axis_title(*pair))
        if index:
            _key_line(figure, grid, pair, first.get_position().y1)
    name = term(f"ap3_{latent}").label.removeprefix("AP3 ")
    title = f"Definition 2.7 and Theorem 3.6 over fine-tuning, {name} · {scope_name(scope)} pruned"
    grid.heading(figure, title, keys(*pairs[0], curves.trials))
    name_epochs(figure, grid)
    told = told_by(curves, measured(panel for row in rows for panel in row))
    return Picture(
        name=f"iterations-{latent}-{scope}".replace("_", "-"),
        family="iterations",
        title=title,
        group=f"{scope_name(scope)} pruned",
        tab=name,
        caption=_caption(scope, len(rows) > 1, told, data),
        figure=figure,
    )


def _is_bounded(curves: Curves, latent: str, scope: str) -> bool:
    """Whether the bound has a value anywhere in this scope."""
    drawn = (
        curves.curve(BOUND + latent, scope, method, level, NETWORK)
        for method in curves.methods
        for level in curves.levels
    )
    return any(curve.measured.any() for curve in drawn)


def _key_line(figure: Figure, grid: Grid, pair: tuple[str, str], top: float) -> None:
    figure.legend(
        handles=keys(*pair),
        loc="center left",
        bbox_to_anchor=(grid.left / WIDTH, top + _KEYS_ABOVE / grid.height),
        ncols=2,
        columnspacing=1.6,
        handletextpad=0.6,
        borderpad=0,
        borderaxespad=0,
        labelcolor=MUTED,
    )


def _caption(scope: str, bounded: bool, told: str, data: str) -> str:
    text = (
        f"How far the network of each epoch is from “approximately AP3”, {scope_name(scope)} pruned. Solid: ε as "
        "Definition 2.7 has it, |KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)|, which is 0 at the last epoch. Dashed, with slanted "
        "labels: ε as Theorem 3.6 has it, |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)|, which is AP3 itself there. ω* are the dense "
        "weights, ω̃ᵗ those after t epochs and ω̃* those after the last."
    )
    if bounded:
        text += (
            " Below, solid: what the corrected theorem says from its ε of the difference in loss on the training data, "
            "a bound where the last layer alone was trained, because the loss is convex in it, and an estimate where "
            "all were, because the curvature was looked for along the way; dashed: the difference that was measured."
        )
    else:
        text += " No bound is drawn: it was not recorded for this latent and these layers."
    return f"{text} {told} Data: {data}." if data else f"{text} {told}"
