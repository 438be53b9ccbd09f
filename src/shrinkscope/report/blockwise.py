"""What pruning block by block did, in the terminal."""

from rich.console import Console

from shrinkscope.analysis.blocks import Perplexity, PrunedBlocks
from shrinkscope.quantity import Quantity
from shrinkscope.report.output import standard_output
from shrinkscope.report.sheet import Column, Sheet, value, whole
from shrinkscope.report.terminal import print_sheet


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
    console = standard_output(console)
    print_sheet(block_sheet(done), console)
    for line in lines_of(done, before, after):
        console.print(line, markup=False)


def block_sheet(done: PrunedBlocks) -> Sheet:
    """The blocks in the order of the network.

    Args:
        done: What was removed.
    """
    columns = (
        Column(title="block"),
        Column(title="weights"),
        Column(
            title="removed", unit="%", status="exact", meaning="Share of the block's planned weights that are now zero."
        ),
        Column(
            title="hidden",
            unit="% of norm",
            status="estimate",
            meaning="How far the hidden states behind the block are from the dense network's, on the inputs.",
        ),
        Column(title="time", unit="s", priority=1),
    )
    rows = tuple(
        (
            whole(block.block),
            whole(block.weights),
            value(block.removed / block.weights if block.weights else None, "percent"),
            value(block.error, "percent"),
            value(block.seconds),
        )
        for block in done.blocks
    )
    return Sheet(title="Block by block", columns=columns, rows=rows)


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
