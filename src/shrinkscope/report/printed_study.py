"""The summary of a study on the terminal."""

from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.text import Text

from shrinkscope.report.curves import Curves
from shrinkscope.report.output import WIDEST, standard_output
from shrinkscope.report.sheet import fit
from shrinkscope.report.summary import PRUNED, TUNED, dense_in_words, summary_sheets
from shrinkscope.report.terminal import legend_table, listed, no_room, paragraphs, rich_table


def print_demo(
    records: pd.DataFrame,
    *,
    conclusions: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> None:
    """Print the summary of a study: a table for each scope, a legend, the conclusions, and where the files are.

    Args:
        records: The long table of records.
        conclusions: Sentences computed from the numbers.
        files: What → where, for the last lines.
        console: Where to print; standard output when None.

    Raises:
        StoreError: If the table lacks columns or rows, or records a value twice.
    """
    console = standard_output(console)
    curves = Curves(records)
    width = min(console.width, WIDEST)
    whole = summary_sheets(curves)
    sheets = fit(whole, width)
    for sheet in sheets:
        console.print(rich_table(sheet), soft_wrap=False)
    paragraphs(console, [dense_in_words(curves), _how_to_read(curves), no_room(whole[0], sheets[0])], width)
    console.print(legend_table(sheets[0].columns, width))
    console.print()
    if conclusions:
        console.print(Text("What the numbers say", style="bold"))
        console.print(listed([f"{index}." for index in range(1, len(conclusions) + 1)], conclusions, width))
        console.print()
    for what, where in (files or {}).items():
        console.print(Text.assemble((f"{what:<14}", "dim"), where), soft_wrap=True)


def _how_to_read(curves: Curves) -> str:
    trials = f"means over {curves.trials} trials" if curves.trials > 1 else "one trial"
    return (
        f"{PRUNED}: just after removing weights; {TUNED}: after {curves.last_epoch} epochs of fine-tuning. "
        f"All numbers are {trials}. The smaller AP and PD, the less the network changed."
    )
