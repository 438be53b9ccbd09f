"""Where the panels of a figure go, measured in inches, and the heading that every figure has."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrinkscope.report.figures.style import MUTED

WIDTH = 10.0  # inches; the width of the report's column, and of two columns of a paper at 70 %
_BELOW, _BESIDE = 0.32, 0.55  # inches from a panel to its axis titles


@dataclass(frozen=True)
class Grid:
    """Rows of panels; each row may have another number of panels. All lengths in inches.

    Attributes:
        rows: Number of rows.
        panel: Height of a panel.
        left, right, top, bottom: Margins.
        row_gap: Height between two rows.
        panel_gap: Width between two panels.
    """

    rows: int
    panel: float = 2.10
    left: float = 0.75
    right: float = 0.64
    top: float = 0.92
    bottom: float = 0.50
    row_gap: float = 0.54
    panel_gap: float = 0.62

    @property
    def height(self) -> float:
        """Height of the figure."""
        return self.top + self.bottom + self.rows * self.panel + (self.rows - 1) * self.row_gap

    def figure(self) -> Figure:
        """Make the figure, still empty."""
        return Figure(figsize=(WIDTH, self.height))

    def row(self, figure: Figure, index: int, columns: int) -> list[Axes]:
        """Add the panels of one row, counted from the top."""
        width = (WIDTH - self.left - self.right - (columns - 1) * self.panel_gap) / columns
        bottom = self.height - self.top - (index + 1) * self.panel - index * self.row_gap
        lefts = [self.left + column * (width + self.panel_gap) for column in range(columns)]
        panels = [
            figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, self.panel / self.height))
            for left in lefts
        ]
        for axes in panels:  # fixed places, so that axis titles line up between panels
            axes.xaxis.set_label_coords(0.5, -_BELOW / self.panel)
            axes.yaxis.set_label_coords(-_BESIDE / width, 0.5)
        return panels

    def heading(self, figure: Figure, title: str, keys: Sequence[Artist] = ()) -> None:
        """Write the title, and under it one line of keys."""
        figure.text(self.left / WIDTH, 1 - 0.2 / self.height, title, size=11, weight="bold", va="center")
        if keys:
            figure.legend(
                handles=keys,
                loc="center left",
                bbox_to_anchor=(self.left / WIDTH, 1 - 0.45 / self.height),
                ncols=len(keys),
                columnspacing=1.6,
                handletextpad=0.6,
                borderpad=0,
                borderaxespad=0,
                labelcolor=MUTED,
            )
