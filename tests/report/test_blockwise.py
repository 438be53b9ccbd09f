"""Pruning block by block, in the terminal."""

import io

import pytest
from rich.console import Console

from shrinkscope.analysis.blocks import Perplexity, PrunedBlocks
from shrinkscope.analysis.blocks.records import BlockReport
from shrinkscope.report.blockwise import print_pruned

BLOCKS = tuple(
    BlockReport(block=number, weights=weights, removed=removed, error=error, seconds=seconds)
    for number, (weights, removed, error, seconds) in enumerate([(45312, 21974, 0.22, 12.7), (0, 0, 0.27, 6.2)])
)


def printed(done, before=None, after=None, width=100):
    out = io.StringIO()
    print_pruned(done, before, after, console=Console(file=out, width=width))
    return out.getvalue()


def test_every_block_has_its_row_and_one_without_weights_no_share():
    lines = [line.split() for line in printed(PrunedBlocks(blocks=BLOCKS, within="swept", sequences=8)).splitlines()]
    assert ["0", "45,312", "48.5", "%", "22.0", "%", "12.7"] in lines
    assert ["1", "0", "n/a", "27.0", "%", "6.20"] in lines


@pytest.mark.parametrize("resumed", [0, 1])
def test_totals_resumption_and_perplexity_are_said(resumed):
    done = PrunedBlocks(blocks=BLOCKS, within="swept", sequences=8, resumed=resumed)
    before, after = (Perplexity(losses=losses, tokens=7) for losses in ((1.0, 1.2), (1.5, 1.9)))
    text = " ".join(printed(done, before, after).split())
    assert "21,974 of 45,312 planned weights are zero (48.5 %), within: swept." in text
    assert ("An earlier run had done 1 of 2 blocks" in text) == bool(resumed)
    # exp of the mean losses 1.1 and 1.7; the difference of the losses, 0.5 and 0.7, has standard error 0.1.
    assert "Perplexity before: 3.004" in text
    assert "after: 5.474" in text
    assert "Loss: 0.6 ± 0.1 nats a token more." in text
