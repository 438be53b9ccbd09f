"""The result of comparing two networks: rows, totals, table, text, files."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from shrinkscope.analysis.gates import GateVerdict, check, gate_columns
from shrinkscope.analysis.group import TOTAL, flat_divergences, flat_group, merged
from shrinkscope.analysis.grouping import Grouped, group_rows
from shrinkscope.analysis.order import worst_first
from shrinkscope.analysis.records import ComparisonRecord, LayerRecord, Settings, Total
from shrinkscope.analysis.rule import Rule, parse_rule
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
        gates: What became of the rules that it was held against.
    """

    rows: tuple[LayerRecord, ...]
    total: Total
    unpaired: tuple[Mismatch, ...]
    settings: Settings
    complete: bool
    gates: tuple[GateVerdict, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether every value of both networks was compared bit by bit, and no bit differs."""
        return self.complete and all(row.changed == 0 and row.bitwise_equal is True for row in self.rows)

    def to_dataframe(self, *, total: bool = False) -> "pd.DataFrame":
        """The rows as a pandas table.

        Undefined numbers are NaN, an estimate has a ``…_standard_error`` column, and a comparison that was held against
        gates a column ``gates_failed`` with the rules that the row failed.

        Args:
            total: Adds a last row of all measured layers, and a column ``total`` that marks it.
        """
        import pandas as pd

        columns = [field for field in LayerRecord.__struct_fields__ if field != "divergences"]
        place = columns.index("measurable")
        columns[place:place] = self.columns()
        rows = [flat(row) for row in self.rows]
        if total:
            rows.append(flat_group(merged(TOTAL, self.rows)) | {"layer": TOTAL})
        table = pd.DataFrame(rows, columns=columns)
        if self.gates:
            table["gates_failed"] = [self._failed(name) for name in table["layer"]]
        if total:
            table["total"] = [False] * len(self.rows) + [True]
        return table

    def columns(self) -> list[str]:
        """Names of the divergences' columns that occur in any row, standard errors behind their estimates."""
        names: dict[str, None] = {}
        for row in self.rows:
            for column in flat_divergences(row.divergences):
                names.setdefault(column)
        return list(names)

    def divergence_columns(self) -> list[str]:
        """Names of the divergences that are defined for any row."""
        return list(dict.fromkeys(column for row in self.rows for column in row.divergences))

    def grouped_by(self, by: str) -> Grouped:
        """The rows merged into groups, as exactly as the rows themselves.

        Counts and sums add up, maxima are maxima, ratios are taken of the sums, and divergences add up to that of the
        product measure, over the tensors for which they are defined.

        Args:
            by: ``layer`` for the tensors of a module (weight and bias), ``block`` for the numbered units of the
                network, ``role`` for the same part of all blocks, ``expert`` for the same part of all experts of a
                block, ``mixture`` for all experts of a block.

        Returns:
            One row a group.

        Raises:
            SelectionError: If there is no such grouping.
        """
        return Grouped(by=by, rows=group_rows(self.rows, by), comparison=self)  # type: ignore[arg-type]  # just checked

    def sorted_by(self, column: str) -> "Comparison":
        """The same comparison with the most damaged layers first, instead of the order of the network.

        Args:
            column: What to sort by: the largest values first, or the smallest of those in which less left is more
                damage, such as ``cosine`` and ``snr_db``; layers without a value come last.

        Raises:
            SelectionError: If no row has numbers of that name.
        """
        return msgspec.structs.replace(self, rows=worst_first(self.rows, column))

    def gated(self, rules: Iterable[str | Rule]) -> "Comparison":
        """Hold this comparison against rules of what a compression must not do.

        Args:
            rules: Such as ``"relative_ap2 > 0.02 in *.down_proj"``, as ``parse_rule`` reads them.

        Returns:
            The same comparison with the verdicts in ``gates``.

        Raises:
            SelectionError: If a rule is not of this form, or is about no column or no row.
        """
        columns = gate_columns(self.divergence_columns())
        parsed = [rule if isinstance(rule, Rule) else parse_rule(rule, columns) for rule in rules]
        return msgspec.structs.replace(self, gates=tuple(check(self, rule) for rule in parsed))

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

    def record(self) -> ComparisonRecord:
        """The comparison as it is written to JSON, without the gates."""
        return ComparisonRecord(
            schema=SCHEMA, settings=self.settings, rows=self.rows, total=self.total, unpaired=self.unpaired
        )

    def to_json(self) -> str:
        """The whole comparison as JSON text, with the gates; undefined numbers are null, never NaN."""
        return json_text(msgspec.to_builtins(self.record()) | {"gates": self.gates})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison to a .json, .csv or .parquet file, the latter two with the total; all or nothing.

        Args:
            path: The file; its suffix decides the format.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        save_table(path, self.to_json, lambda: self.to_dataframe(total=True))

    def _failed(self, name: str) -> str:
        failed = [gate.rule for gate in self.gates if any(failure.name == name for failure in gate.failures)]
        return "; ".join(failed)


def flat(row: LayerRecord) -> dict[str, Any]:
    """One row with its divergences as plain columns."""
    values = msgspec.structs.asdict(row)
    del values["divergences"]
    return values | flat_divergences(row.divergences)
