"""Sequences for the predictive latent of a language model when there are none."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from shrinkscope.errors import DataError
from shrinkscope.performance.forward import evaluation_mode, forward
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.synthetic import SyntheticInputs

Draw = Literal["model", "uniform"]

_LIMITATIONS = {
    "uniform": "tokens drawn at random are no text: they show how the networks differ where neither was trained",
    "model": "sampled from the dense network: they are what it has learned of its data, no sample of the data",
}


def synthetic_tokens(
    model: nn.Module,
    length: int,
    count: int,
    generator: torch.Generator,
    *,
    draw: Draw = "model",
    vocabulary: int | None = None,
    start: int | None = None,
    temperature: float = 1.0,
    outputs: Outputs | None = None,
    batch_size: int = 64,
) -> SyntheticInputs:
    """Token ids for ``predictive_divergence`` made from the dense network alone, int64 of shape (count, length).

    Args:
        model: The dense language model, from ids (sequences, positions) to logits (sequences, positions, vocabulary);
            causal, if it is sampled from.
        length: Tokens a sequence, at least 1.
        count: Number of sequences, at least 1.
        generator: Source of the tokens; the result is determined by it.
        draw: ``"model"`` samples one token after the other from the network; ``"uniform"`` needs no forward pass.
        vocabulary: Number of token ids to draw from; None takes the size of the network's first embedding.
        start: First token of every sequence, for example the one that begins a text; None draws it uniformly.
        temperature: Divides the logits, positive; 1 samples what the network has learned.
        outputs: Finds the scores in what the network returns, as for ``predictive_divergence``.
        batch_size: Sequences a forward pass. Each token costs one over what there is of its sequence so far.

    Returns:
        The sequences.

    Raises:
        DataError: If an option is out of range, or the network does not return logits of tokens.

    Source: ancestral sampling; tests/performance/test_synthetic_tokens.py compares frequencies with a Markov chain's.
    """
    if draw not in get_args(Draw):
        raise DataError(f"draw = {draw!r}; expected model or uniform")
    if length < 1 or count < 1 or batch_size < 1 or not temperature > 0:
        raise DataError(
            f"length = {length}, count = {count}, batch_size = {batch_size}, temperature = {temperature}; "
            "expected at least 1 of each, and a positive temperature"
        )
    size = _vocabulary_of(model) if vocabulary is None else vocabulary
    if size < 2 or (start is not None and not 0 <= start < size):
        raise DataError(f"start = {start} in a vocabulary of {size}; expected one of at least 2 token ids from 0")
    ids = torch.randint(size, (count, length), generator=generator, device=generator.device).to("cpu")
    if start is not None:
        ids[:, 0] = start
    if draw == "model":
        with evaluation_mode(model), torch.no_grad():
            for part in ids.split(batch_size):
                _sample(model, part, size, temperature, outputs, generator)
    source = "sampled tokens" if draw == "model" else "uniform tokens"
    return SyntheticInputs(inputs=ids, source=source, limitation=_LIMITATIONS[draw])


def _sample(
    model: nn.Module, ids: Tensor, size: int, temperature: float, outputs: Outputs | None, generator: torch.Generator
) -> None:
    """Replace all tokens but the first by draws from the network, in place."""
    for position in range(1, ids.shape[1]):
        scores = forward("the network", model, ids[:, :position], outputs)
        if scores.ndim != 3 or scores.shape[1] != position or not scores.is_floating_point():
            raise DataError(
                f"the network returned shape {tuple(scores.shape)} for {tuple(ids[:, :position].shape)} tokens; "
                "expected logits of shape (sequences, positions, vocabulary)"
            )
        last = scores[:, -1, :size].to(torch.float64) / temperature
        if not (last.amax(dim=1).isfinite().all() and not last.isnan().any()):
            raise DataError(
                f"the network returned NaN or infinite logits after {position} tokens; it cannot be sampled"
            )
        chances = last.softmax(dim=1).to(generator.device)
        ids[:, position] = torch.multinomial(chances, 1, generator=generator)[:, 0].to("cpu")


def _vocabulary_of(model: nn.Module) -> int:
    embedding = next((layer for layer in model.modules() if isinstance(layer, nn.Embedding)), None)
    if embedding is None:
        raise DataError("the network has no embedding to take the vocabulary from; give vocabulary=…")
    return embedding.num_embeddings
