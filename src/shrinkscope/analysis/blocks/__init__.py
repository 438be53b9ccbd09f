"""Networks too large for memory, planned, pruned and measured block by block."""

from shrinkscope.analysis.blocks.perplexity import perplexity
from shrinkscope.analysis.blocks.plan import plan_blocks
from shrinkscope.analysis.blocks.prune import prune_blocks
from shrinkscope.analysis.blocks.records import BlockReport, Perplexity, PrunedBlocks

__all__ = ["BlockReport", "Perplexity", "PrunedBlocks", "perplexity", "plan_blocks", "prune_blocks"]
