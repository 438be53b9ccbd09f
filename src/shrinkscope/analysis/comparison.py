"""The result of comparing two networks: rows, totals, table, text, files."""

import os
from typing import TYPE_CHECKING, Any

import msgspec

from shrinkscope.analysis.records import ComparisonRecord, LayerRecord, Settings, Total
from shrinkscope.errors import SelectionError
from shrinkscope.files import json_text, save_table
from shrinkscope.weights import Mismatch

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMA = 1


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two networks compared layer by layer.

    Attributes:
        rows: One record a layer, in the order of the dense network.
        total: The measured layers together.
        unpaired: Missing and extra tensors, other shapes, other dtypes, each explained.
        settings: What was compared, and how.
        complete: Whether every tensor of both networks was selected, paired and compared.
    """

    rows: tuple[LayerRecord, ...]
    total: Total
    unpaired: tuple[Mismatch, ...]
    settings: Settings
    complete: bool

    @property
    def identical(self) -> bool:
        """Whether every value of both networks was compared and none differs."""
        return self.complete and all(row.changed == 0 for row in self.rows)

    def to_dataframe(self) -> "pd.DataFrame":
        """The rows as a pandas table; undefined numbers are NaN, and an estimate has a ``…_standard_error`` column."""
        import pandas as pd

        columns = [field for field in LayerRecord.__struct_fields__ if field != "divergences"]
        place = columns.index("measurable")
        columns[place:place] = self.columns()
        return pd.DataFrame([flat(row) for row in self.rows], columns=columns)

    def columns(self) -> list[str]:
        """Names of the divergences' columns that occur in any row, standard errors behind their estimates."""
        names: dict[str, None] = {}
        for row in self.rows:
            for column in flat_divergences(row):
                names.setdefault(column)
        return list(names)

    def top(self, k: int = 10, by: str = "relative_ap2") -> "pd.DataFrame":
        """The k most damaged measured layers.

        Args:
            k: Number of rows.
            by: The column to sort by, largest first.

        Returns:
            Their rows; layers for which the column is undefined are left out.

        Raises:
            SelectionError: If there is no such column.
        """
        table = self.to_dataframe()
        if by not in table.columns:
            raise SelectionError(f"no column {by!r}; the columns are {', '.join(table.columns)}")
        return table.dropna(subset=[by]).sort_values(by, ascending=False, kind="stable").head(k)

    def summary(self) -> str:
        """What was found, in a few lines of plain text."""
        from shrinkscope.analysis.wording import comparison_in_words

        return comparison_in_words(self)

    def plot(self, column: str = "relative_ap2") -> "Figure":
        """A bar chart of the damage by layer, one bar a measured layer in the order of the network.

        Args:
            column: What to draw.

        Returns:
            A matplotlib figure.
        """
        from shrinkscope.analysis.plot import damage_by_layer

        return damage_by_layer(self, column)

    def to_json(self) -> str:
        """The whole comparison as JSON text; undefined numbers are null, never NaN."""
        record = ComparisonRecord(
            schema=SCHEMA, settings=self.settings, rows=self.rows, total=self.total, unpaired=self.unpaired
        )
        return json_text(record)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison to a .json, .csv or .parquet file, all or nothing.

        Args:
            path: The file; its suffix decides the format.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        save_table(path, self.to_json, self.to_dataframe)


def flat(row: LayerRecord) -> dict[str, Any]:
    """One row with its divergences as plain columns."""
    values = msgspec.structs.asdict(row)
    del values["divergences"]
    return values | flat_divergences(row)


def flat_divergences(row: LayerRecord) -> dict[str, float]:
    """Column → value of a row's divergences, with ``…_standard_error`` for estimates."""
    values: dict[str, float] = {}
    for column, quantity in row.divergences.items():
        values[column] = quantity.value
        if quantity.standard_error is not None:
            values[f"{column}_standard_error"] = quantity.standard_error
    return values
