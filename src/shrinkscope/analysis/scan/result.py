"""The result of a scan: a row a candidate, ranking, table, text, files."""

import os
from typing import TYPE_CHECKING, Any

import msgspec

from shrinkscope.analysis.scan.records import ScanCost, ScanRow, ScanSettings
from shrinkscope.errors import SelectionError
from shrinkscope.files import json_text, save_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMA = 1


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What compressing each layer alone does to a network.

    Attributes:
        rows: One a candidate: layers in the order of the network, then methods, then levels, the mildest first.
        cost: What it took.
        settings: How it was set up.
        notes: What to know about the result as a whole; empty when there is nothing to say.
    """

    rows: tuple[ScanRow, ...]
    cost: ScanCost
    settings: ScanSettings
    notes: tuple[str, ...] = ()

    @property
    def damage(self) -> str:
        """The column that tells damage best here: predictive_kl with inputs or data, otherwise relative_ap2."""
        return "predictive_kl" if any(row.predictive_kl is not None for row in self.rows) else "relative_ap2"

    def to_dataframe(self) -> "pd.DataFrame":
        """The rows as a pandas table; undefined numbers are NaN, and an estimate has a ``…_standard_error`` column."""
        import pandas as pd

        rows = [flat(row) for row in self.rows]
        fields = [field for field in ScanRow.__struct_fields__ if field not in ("divergences", "measured")]
        place = fields.index("collapsed")
        extra = dict.fromkeys(column for row in rows for column in row if column not in fields)
        fields[place:place] = extra
        return pd.DataFrame(rows, columns=fields)

    def top(self, k: int = 10, by: str | None = None) -> "pd.DataFrame":
        """The k most damaging candidates.

        Args:
            k: Number of rows.
            by: The column to sort by, largest first; ``damage`` when None.

        Returns:
            Their rows; candidates for which the column was not measured are left out.

        Raises:
            SelectionError: If there is no such column.
        """
        table = self.to_dataframe()
        by = self._column(table, by)
        return table.dropna(subset=[by]).sort_values(by, ascending=False, kind="stable").head(k)

    def ranking(self, by: str | None = None, method: str | None = None) -> "pd.DataFrame":
        """The layers, the most sensitive first.

        At each level of each method the layers are ranked by the column; a layer's score is its mean rank from 0 (the
        least damaged) to 1, over the levels at which it was measured. A level that was not run because a milder one had
        collapsed counts as the highest rank there, shared with all such layers.

        Args:
            by: The column; ``damage`` when None.
            method: Only this method; all of them when None.

        Returns:
            One row a layer: layer, score, candidates (how many the score is made of). Layers without any come last.

        Raises:
            SelectionError: If there is no such column or method.
        """
        from shrinkscope.analysis.scan.ranking import ranked

        table = self.to_dataframe()
        if method is not None and method not in set(table["method"]):
            raise SelectionError(f"no method {method!r}; the methods are {', '.join(self.settings.methods)}")
        chosen = table if method is None else table.loc[table["method"] == method]
        return ranked(chosen, self._column(table, by))

    def summary(self) -> str:
        """What was found and what it took, in a few lines of plain text."""
        from shrinkscope.analysis.scan.wording import scan_in_words

        return scan_in_words(self)

    def plot(self, column: str | None = None) -> "Figure":
        """A heat map: a row a layer, a column a method and level; what was not measured is marked, not coloured.

        Args:
            column: What to draw; ``damage`` when None.

        Returns:
            A matplotlib figure.

        Raises:
            SelectionError: If there is no such column, or it was measured nowhere.
        """
        from shrinkscope.analysis.scan.plot import heat_map

        return heat_map(self.to_dataframe(), self._column(self.to_dataframe(), column))

    def to_json(self) -> str:
        """The whole scan as JSON text; undefined numbers are null, never NaN."""
        return json_text({"schema": SCHEMA, **{name: getattr(self, name) for name in self.__struct_fields__}})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the scan to a .json, .csv or .parquet file, all or nothing.

        Args:
            path: The file; .json has everything, the others have the rows.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        save_table(path, self.to_json, self.to_dataframe)

    def _column(self, table: "pd.DataFrame", name: str | None) -> str:
        name = name or self.damage
        if name not in table.columns:
            raise SelectionError(f"no column {name!r}; the columns are {', '.join(table.columns)}")
        return name


def flat(row: ScanRow) -> dict[str, Any]:
    """One row with its estimates, divergences and measured differences as plain columns."""
    values: dict[str, Any] = msgspec.structs.asdict(row) | {"shape": "×".join(map(str, row.shape))}
    del values["divergences"], values["measured"]
    predicted = {name: getattr(row, name) for name in ("predictive_kl", "total_variation", "disagreement")}
    for column, quantity in (predicted | row.divergences).items():
        values[column] = None if quantity is None else quantity.value
        if quantity is not None and quantity.standard_error is not None:
            values[f"{column}_standard_error"] = quantity.standard_error
    for metric, difference in row.measured.items():
        values[f"{metric}_difference"] = difference.difference
        values[f"{metric}_difference_standard_error"] = difference.standard_error
    return values
