"""The picture of a comparison: damage by layer."""

from typing import TYPE_CHECKING

from shrinkscope.errors import SelectionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shrinkscope.analysis.comparison import Comparison

_UNITS = {
    "ap2": "weight²",
    "relative_ap2": "share of ‖ω‖²",
    "max_abs_delta": "weight",
    "sparsity": "fraction",
    "sparsity_dense": "fraction",
    "predictive_kl": "nats",
    "total_variation": "probability",
    "disagreement": "fraction of inputs",
}
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
    axes.set_xlabel(axis_label(column))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def axis_label(column: str) -> str:
    """A column as the label of an axis, with its unit where that is known.

    >>> axis_label("predictive_kl"), axis_label("ap3_gaussian"), axis_label("parameters")
    ('predictive KL (nats)', 'AP3 gaussian (nats)', 'parameters')
    """
    words = column.replace("_", " ").replace("ap2", "AP2").replace("ap3", "AP3").replace(" kl", " KL")
    unit = "nats" if column.startswith("ap3_") else _UNITS.get(column)
    return f"{words} ({unit})" if unit else words
