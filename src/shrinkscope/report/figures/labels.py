"""Labels at the ends of lines, pushed apart so that none covers another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from scipy.optimize import isotonic_regression

from shrinkscope.report.figures.style import readable

_LEADER_POINTS = 11.0  # from the end of the line to its label


@dataclass(frozen=True)
class EndLabel:
    """A label for the end of a line.

    Attributes:
        text: What it says.
        y: Height of the line's end, in data coordinates.
        colour: Colour of the line, ``#rrggbb``.
        slanted: Whether it is slanted, to tell the dashed lines of a panel from the solid ones.
    """

    text: str
    y: float
    colour: str
    slanted: bool = False


def spread(positions: Sequence[float] | np.ndarray, gap: float, lower: float, upper: float) -> np.ndarray:
    """Move positions apart by at least ``gap``, as little as possible in the least-squares sense, within limits.

    Args:
        positions: Wanted positions, in any order and unit.
        gap: Least distance between neighbours.
        lower: Lower limit.
        upper: Upper limit; gives way when there is not room for all.

    Returns:
        Positions in the order of the input.

    Source: derived here: subtracting ``gap`` times the rank turns it into isotonic regression, whose solution clipped
        to limits is optimal too; tested against a general-purpose optimiser in test_labels.py.
    """
    wanted = np.asarray(positions, dtype=float)
    if wanted.size == 0:
        return wanted
    order = np.argsort(wanted, kind="stable")
    offsets = gap * np.arange(wanted.size)
    ceiling = max(lower, upper - offsets[-1])
    moved = np.clip(isotonic_regression(wanted[order] - offsets).x, lower, ceiling) + offsets
    result = np.empty_like(moved)
    result[order] = moved
    return result


def label_ends(axes: Axes, labels: Sequence[EndLabel], *, size: float = 7.5, spacing: float = 1.15) -> None:
    """Write labels to the right of the axes at the heights of the line ends, with a thin leader to each moved one.

    Args:
        axes: Where the lines are, with its final scale and limits.
        labels: One for each line; those at a height that is not finite are left out.
        size: Size of the type, in points.
        spacing: Least distance between two labels, in multiples of the size.
    """
    drawn = [label for label in labels if np.isfinite(label.y)]
    ends = axes.transLimits.transform(
        axes.transScale.transform([(0.0, label.y) for label in drawn] or np.empty((0, 2)))
    )
    gap = spacing * size / _size_in_points(axes)[1]
    places = spread(ends[:, 1], gap, gap / 2, 1.0 - gap / 2)
    reach = _LEADER_POINTS / _size_in_points(axes)[0]
    leaders = [
        [(1.0 + 0.15 * reach, end), (1.0 + 0.85 * reach, place)] for end, place in zip(ends[:, 1], places, strict=True)
    ]
    colours = [label.colour for label in drawn]
    axes.add_collection(
        LineCollection(leaders, colors=colours, linewidths=0.6, transform=axes.transAxes, clip_on=False), autolim=False
    )
    for label, place in zip(drawn, places, strict=True):
        axes.text(
            1.0 + reach,
            place,
            label.text,
            color=readable(label.colour),
            size=size,
            style="italic" if label.slanted else "normal",
            va="center_baseline",
            transform=axes.transAxes,
        )


def _size_in_points(axes: Axes) -> tuple[float, float]:
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes without a figure cannot be drawn
    box = axes.get_position()
    return 72.0 * figure.get_figwidth() * box.width, 72.0 * figure.get_figheight() * box.height
