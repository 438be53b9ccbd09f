"""What pruning block by block did, in the terminal."""

from rich.console import Console
from rich.table import Table

from shrinkscope.analysis.blocks import Perplexity, PrunedBlocks
from shrinkscope.quantity import Quantity


def print_pruned(
    done: PrunedBlocks, before: Perplexity | None, after: Perplexity | None, *, console: Console | None = None
) -> None:
    """Print the blocks and, where there is one, the perplexity before and after.

    Args:
        done: What was removed.
        before: Perplexity of the dense network.
        after: That of the pruned one, on the same sequences.
        console: Where to; standard output by default.
    """
    console = console or Console()
    table = Table(title="Block by block", title_justify="left")
    for heading in ("block", "weights", "removed %", "error of hidden states %", "seconds"):
        table.add_column(heading, justify="right")
    for block in done.blocks:
        share = 100 * block.removed / block.weights if block.weights else 0.0
        table.add_row(
            str(block.block),
            f"{block.weights:,}",
            f"{share:.1f}",
            f"{100 * block.error:.2g}",
            f"{block.seconds:.1f}",
        )
    console.print(table)
    for line in lines_of(done, before, after):
        console.print(line, highlight=False, markup=False)


def lines_of(done: PrunedBlocks, before: Perplexity | None, after: Perplexity | None) -> list[str]:
    """The same without the table, a sentence a line.

    Args:
        done: What was removed.
        before: Perplexity of the dense network.
        after: That of the pruned one.
    """
    share = 100 * done.removed / done.weights if done.weights else 0.0
    lines = [f"{done.removed:,} of {done.weights:,} planned weights are zero ({share:.1f} %), within: {done.within}."]
    if done.resumed:
        lines.append(
            f"An earlier run had done {done.resumed} of {len(done.blocks)} blocks; this one went on after them."
        )
    if before is not None and after is not None:
        lines += [
            f"Perplexity before: {_estimate(before.perplexity)}, after: {_estimate(after.perplexity)} "
            f"({len(after.losses)} sequences of {after.tokens} predicted tokens).",
            f"Loss: {_estimate(after.less(before))} nats a token more.",
        ]
    return lines


def perplexity_line(found: Perplexity) -> str:
    """A perplexity in words.

    Args:
        found: The perplexity.
    """
    return (
        f"Perplexity {_estimate(found.perplexity)}, loss {_estimate(found.loss)} nats a token "
        f"({len(found.losses)} sequences of {found.tokens} predicted tokens)."
    )


def _estimate(found: Quantity) -> str:
    return f"{found.value:.4g} ± {found.standard_error:.2g}"
