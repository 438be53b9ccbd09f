"""All statements over all cases, as one result."""

import os
from typing import TYPE_CHECKING

import msgspec

from shrinkscope.analysis.sparsity_records import OptimalSparsity
from shrinkscope.analysis.statements.trial import StatementRow
from shrinkscope.files import json_text, save_table

if TYPE_CHECKING:
    import pandas as pd


class StatementTable(msgspec.Struct, frozen=True, kw_only=True):
    """The paper's statements put to the test.

    Attributes:
        rows: A row for each case, statement and form.
        cases: Case → what it is, in a sentence.
        version: Version of shrinkscope.
        sparsity: The sparsity that the predictive bound allows, where it was asked for.
    """

    rows: tuple[StatementRow, ...]
    cases: dict[str, str]
    version: str
    sparsity: OptimalSparsity | None = None

    def violated(self, form: str | None = None) -> list[StatementRow]:
        """Rows in which the statement failed at least once.

        Args:
            form: Only rows of this form, for example ``"corrected"``; all when None.
        """
        return [row for row in self.rows if row.violations and form in (None, row.form)]

    def to_dataframe(self) -> "pd.DataFrame":
        """The rows as a pandas table; what does not exist is NaN or None."""
        import pandas as pd

        return pd.DataFrame([msgspec.structs.asdict(row) for row in self.rows])

    def to_json(self) -> str:
        """Everything as JSON text; undefined and infinite numbers are null."""
        return json_text(self)

    def summary(self) -> str:
        """What failed and what held, in a few lines of plain text."""
        lines = []
        for form in ("published", "corrected"):
            tried = [row for row in self.rows if row.instances and row.form == form]
            failed = [row for row in tried if row.violations]
            names = "; ".join(f"{row.statement} ({row.case}: {row.violations} of {row.instances})" for row in failed)
            lines.append(f"{form}: {len(failed)} of {len(tried)} rows violated{f': {names}' if names else ''}")
        others = [row for row in self.rows if row.instances and row.form not in ("published", "corrected")]
        lines.append(f"better arguments: {sum(row.violations > 0 for row in others)} of {len(others)} rows violated")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a .json, .csv or .parquet file, all or nothing; the last two hold the rows alone.

        Args:
            path: The file; its suffix decides the format.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        save_table(path, self.to_json, self.to_dataframe)
