"""The perplexity of a language model in a folder, with one block of it in memory."""

import tempfile
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.blocks.records import Perplexity
from shrinkscope.analysis.blocks.streams import Stream, written
from shrinkscope.errors import DataError, WeightsError
from shrinkscope.weights import CHUNK


def perplexity(
    checkpoint: str | PathLike[str],
    tokens: Tensor,
    *,
    batch_size: int = 4,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    scratch: str | PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Perplexity:
    """How well a language model predicts each token of sequences from those before it.

    Args:
        checkpoint: A folder in the layout of Hugging Face.
        tokens: Token ids, shape (sequences, positions): held out, none that the network was pruned with.
        batch_size: Sequences that are run together.
        dtype: In which blocks are run.
        device: Where they are run.
        scratch: Folder for the hidden states of all sequences, the system's temporary one when None.
        progress: Called with the number of blocks done.

    Returns:
        The loss of each sequence, and the perplexity.

    Raises:
        WeightsError: If the checkpoint is no language model of a supported architecture, or damaged.
        DataError: If the tokens are not the network's, or its logits are not finite.
    """
    network = BlockNetwork(Path(checkpoint), dtype=dtype, device=device)
    if not network.predicts_tokens:
        raise WeightsError(f"{checkpoint} is a {type(network.model).__name__}, which predicts no tokens: no perplexity")
    tokens = network.check_tokens(tokens)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, torch.no_grad():
        last = through_blocks(network, tokens, Path(folder), batch_size, progress)
        losses: list[float] = []
        with network.ending() as end:
            for start, hidden in zip(range(0, len(tokens), batch_size), last, strict=True):
                for ids, states in zip(tokens[start : start + batch_size], end(hidden), strict=True):
                    losses.append(_loss(network, states, ids))
    return Perplexity(losses=tuple(losses), tokens=tokens.shape[1] - 1)


def through_blocks(
    network: BlockNetwork, tokens: Tensor, folder: Path, batch_size: int, progress: Callable[[int], None] | None = None
) -> Stream:
    """Hidden states of all sequences after the last block.

    Args:
        network: The network.
        tokens: Token ids.
        folder: For the files, of which there are at most two at a time.
        batch_size: Sequences that are run together.
        progress: Called with the number of blocks done.
    """
    shape = (len(tokens), tokens.shape[1], network.width)
    before = folder / "before.npy"
    with network.beginning() as embed, written(before, shape, network.dtype) as stream:
        for ids in tokens.split(batch_size):
            stream.write(embed(ids))
    for number in range(network.depth):
        with network.block(number) as block, written(folder / "after.npy", shape, network.dtype) as stream:
            for hidden in Stream(before, batch_size, network.device):
                stream.write(network.run(number, block, hidden))
        (folder / "after.npy").replace(before)
        if progress is not None:
            progress(number + 1)
    return Stream(before, batch_size, network.device)


def _loss(network: BlockNetwork, states: Tensor, ids: Tensor) -> float:
    """Mean loss of one sequence, some positions at a time: the scores of all of them may not fit into memory."""
    total, targets = 0.0, ids[1:].to(states.device)
    size = max(1, CHUNK // network.model.config.vocab_size)  # type: ignore[union-attr, operator]
    for part, wanted in zip(states[:-1].split(size), targets.split(size), strict=True):
        total += float(cross_entropy(network.scores(part).double(), wanted, reduction="sum"))
    if not torch.isfinite(torch.tensor(total)):
        raise DataError("the network returned NaN or infinite logits; it has no perplexity on these tokens")
    return total / len(targets)
