"""The picture of a comparison: damage by layer."""

from typing import TYPE_CHECKING

from shrinkscope.errors import SelectionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shrinkscope.analysis.comparison import Comparison

_BAR = "#0072B2"


def damage_by_layer(comparison: "Comparison", column: str = "relative_ap2") -> "Figure":
    """A horizontal bar a measured layer, in the order of the network.

    Args:
        comparison: The comparison.
        column: Which number to draw.

    Returns:
        The figure; nothing is shown or written.

    Raises:
        SelectionError: If there is no such column, or it is undefined in every layer.
    """
    from matplotlib.figure import Figure

    table = comparison.to_dataframe()
    if column not in table.columns:
        raise SelectionError(f"no column {column!r}; the columns are {', '.join(table.columns)}")
    table = table.dropna(subset=[column])
    if table.empty:
        raise SelectionError(f"{column} is undefined in every layer: there is nothing to draw")
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(table)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(table["layer"], table[column].astype(float), color=_BAR)
    axes.invert_yaxis()
    axes.set_xlabel(column.replace("_", " "))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
