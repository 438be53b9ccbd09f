"""AP against PD, one point a configuration, with Kendall's τ: does the one order networks as the other does?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from shrinkscope.analysis.concordance import Concordance, concordance
from shrinkscope.report.curves import Curves
from shrinkscope.report.figures.axis import LogScale
from shrinkscope.report.figures.layout import WIDTH, Grid
from shrinkscope.report.figures.picture import Picture
from shrinkscope.report.figures.style import MUTED, method_colours, method_markers, styled
from shrinkscope.report.format import counted
from shrinkscope.report.vocabulary import level_name, scope_name, term

_RESAMPLES = 2000
_SMALLEST, _LARGEST = 4.0, 9.0  # diameter of the markers in points, from the lowest level to the highest


@dataclass(frozen=True)
class _Cloud:
    """One method at one epoch: a row a level, a column a trial."""

    method: str
    ap: np.ndarray
    pd: np.ndarray


@styled
def ap_against_pd(curves: Curves, aps: Sequence[str], pd: str, scope: str, *, data: str = "") -> Picture:
    """Draw PD over each AP, just pruned (top) and after fine-tuning (bottom), and write Kendall's τ at each panel.

    Args:
        curves: The records.
        aps: Metrics for the columns of panels.
        pd: Metric of the vertical axes.
        scope: Part of the network that was pruned.
        data: What network and data the records are of, for the caption.

    Returns:
        The picture; τ is τ-b over the configurations (methods × levels), compared within a trial, with a 95 % interval.
    """
    epochs = sorted({0, curves.last_epoch})
    grid = Grid(rows=len(epochs), right=0.25, top=1.20, bottom=0.66, row_gap=1.22, panel_gap=0.52)
    figure = grid.figure()
    for index, epoch in enumerate(epochs):
        row = grid.row(figure, index, len(aps))
        for ap, axes in zip(aps, row, strict=True):
            clouds = [_cloud(curves, ap, pd, scope, method, epoch) for method in curves.methods]
            _draw(axes, curves, clouds)
            axes.set_title(in_words(agreement(clouds)), weight="normal")
            axes.set_xlabel(f"{term(ap).label} ({term(ap).unit})".replace(", ", ",\n"))
        row[0].set_ylabel(f"{term(pd).label} ({term(pd).unit})")
        stage = "Just pruned" if epoch == 0 else f"After {epoch} epochs of fine-tuning"
        figure.text(grid.left / WIDTH, row[0].get_position().y1 + 0.30 / grid.height, stage, size=9.5, weight="bold")
    title = f"AP against {term(pd).label} · {scope_name(scope)} pruned"
    grid.heading(figure, title, _keys(curves))
    return Picture(
        name=f"scatter-{pd}-{scope}".replace("_", "-"),
        family="scatter",
        title=title,
        group=f"{scope_name(scope)} pruned",
        tab=term(pd).label,
        caption=_caption(curves, pd, scope, data),
        figure=figure,
    )


def agreement(clouds: Sequence[_Cloud]) -> Concordance:
    """Kendall's τ-b over configurations, pairs within a trial only, with a bootstrap interval over the networks."""
    # Trial by trial and by name, the order in which the conclusions of a study resample: the same networks, the same τ.
    by_name = sorted(clouds, key=lambda cloud: cloud.method)
    ap = np.concatenate([cloud.ap for cloud in by_name]).T
    pd = np.concatenate([cloud.pd for cloud in by_name]).T
    trials = np.repeat(np.arange(len(ap)), ap.shape[1])
    return concordance(ap.ravel(), pd.ravel(), strata=trials, resamples=_RESAMPLES)


def in_words(found: Concordance) -> str:
    """Write τ with its interval, as far as it has one."""
    if found.tau is None:
        return "τ n/a"
    tau = f"τ = {_signed(found.tau)}"
    if found.lower is None or found.upper is None:
        return tau
    return f"{tau} [{_signed(found.lower)}, {_signed(found.upper)}]"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _cloud(curves: Curves, ap: str, pd: str, scope: str, method: str, epoch: int) -> _Cloud:
    def values(metric: str) -> np.ndarray:
        rows = [curves.curve(metric, scope, method, level) for level in curves.levels]
        return np.array([_row(curve.epochs, curve.values, epoch, curves.trials) for curve in rows])

    return _Cloud(method, values(ap), values(pd))


def _row(epochs: np.ndarray, values: np.ndarray, epoch: int, trials: int) -> np.ndarray:
    found = values[epochs == epoch]
    return found[0] if len(found) else np.full(trials, np.nan)


def _draw(axes: Axes, curves: Curves, clouds: Sequence[_Cloud]) -> None:
    across, up = LogScale(cloud.ap for cloud in clouds), LogScale(cloud.pd for cloud in clouds)
    across.apply(axes, "x")
    up.apply(axes, "y")
    colours, markers = method_colours(curves.methods), method_markers(curves.methods)
    sizes = np.linspace(_SMALLEST, _LARGEST, len(curves.levels)) ** 2
    for cloud in clouds:
        x, y = across.place(cloud.ap), up.place(cloud.pd)
        colour, marker = colours[cloud.method], markers[cloud.method]
        axes.plot(_middle(x), _middle(y), color=colour, linewidth=0.8, alpha=0.6)
        for trial in range(x.shape[1]):
            axes.scatter(x[:, trial], y[:, trial], s=sizes, marker=marker, color=colour, alpha=0.55, linewidths=0)


def _middle(values: np.ndarray) -> np.ndarray:
    """Geometric mean over the measured trials, which is where the middle lies on a logarithmic axis."""
    measured = np.isfinite(values)
    total = np.where(measured, np.log(np.where(measured, values, 1.0)), 0.0).sum(axis=1)
    counted = measured.sum(axis=1)
    return np.exp(np.divide(total, counted, out=np.full(len(total), np.nan), where=counted > 0))


def _keys(curves: Curves) -> list[Line2D]:
    colours, markers = method_colours(curves.methods), method_markers(curves.methods)
    methods = [
        Line2D([], [], color=colours[method], marker=markers[method], linewidth=0.8, markersize=6, label=method)
        for method in curves.methods
    ]
    sizes = np.linspace(_SMALLEST, _LARGEST, len(curves.levels))
    levels = [
        Line2D([], [], color=MUTED, marker="o", linewidth=0, markersize=size, label=f"{level_name(level)} removed")
        for level, size in zip(curves.levels, sizes, strict=True)
    ]
    return methods + levels


def _caption(curves: Curves, pd: str, scope: str, data: str) -> str:
    text = (
        f"Each point is one pruned network of one trial ({counted(curves.trials, 'trial')}): its AP to the right, its "
        f"{term(pd).label} upwards, both logarithmic; {scope_name(scope)} pruned. Larger markers: more weights "
        "removed; the line follows one method through its levels. Kendall's τ compares the order of a trial's networks "
        "by AP with their order by PD; in brackets its 95 % bootstrap interval over the networks. If AP explained PD, "
        "points would rise from left to right and τ be near 1; n/a: a value is missing, or all are equal."
    )
    return f"{text} Data: {data}." if data else text
