"""A network in a folder of which one block at a time is in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shrinkscope.analysis.blocks.architecture import LANGUAGE_MODELS, block_list, skeleton
from shrinkscope.compression.checks import check_finite
from shrinkscope.errors import DataError, WeightsError
from shrinkscope.weights import LayerSelection, LayersLike, TensorView, open_weights


class BlockNetwork:
    """A network in the layout of Hugging Face, run block by block.

    Between the blocks are hidden states, of shape (sequences, positions, width). The network's own code makes the first
    ones, and everything that a block is called with besides; it never sees more than what is loaded.

    Args:
        folder: The folder.
        dtype: In which it is run, whatever the weights are stored in.
        device: Where a block is run.

    Attributes:
        weights: The stored tensors, none of them read yet.

    Raises:
        WeightsError: If it is none that is supported, or its files are damaged.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        self.folder, self.dtype, self.device = folder, dtype, torch.device(device)
        self.model = skeleton(folder)
        for module in self.model.modules():
            for name in module._non_persistent_buffers_set:
                setattr(module, name, getattr(module, name).to(self.device))
        self.weights = open_weights(folder)
        self.prefix, self._blocks = block_list(self.model)
        self._calls: dict[tuple[int, ...], list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @property
    def width(self) -> int:
        """Numbers in a hidden state of one position."""
        return self.model.config.hidden_size  # type: ignore[union-attr, return-value]  # every configuration has one

    @property
    def predicts_tokens(self) -> bool:
        """Whether it is a language model, with a perplexity."""
        return type(self.model).__name__ in LANGUAGE_MODELS

    def stored(self, name: str) -> TensorView:
        """The stored tensor of a parameter.

        Args:
            name: Its name in the network.

        Raises:
            WeightsError: If it is not there, or has another shape.
        """
        base = f"{self.model.base_model_prefix}."  # type: ignore[union-attr]
        for candidate in (name, name.removeprefix(base), base + name, self._tied_to(name)):
            found = self.weights.get(self.weights.tied.get(candidate, candidate))
            if found is not None:
                expected = tuple(self.model.get_parameter(name).shape)
                if found.shape != expected:
                    raise WeightsError(
                        f"{self.folder}: {name} has shape {found.shape}, config.json stands for {expected}"
                    )
                return found
        raise WeightsError(f"{self.folder} holds no {name}, which config.json stands for; is a file missing?")

    def layers(self, block: int, chosen: LayersLike = None) -> dict[str, nn.Linear]:
        """The linear layers of a block that are selected, by the stored name of their weight.

        Args:
            block: Its number.
            chosen: As for ``compressible``.
        """
        selection, found = LayerSelection.of(chosen), {}
        for name, module in self._blocks[block].named_modules():
            if isinstance(module, nn.Linear):
                stored = self.stored(f"{self.prefix}.{block}.{name}.weight").name
                if selection.matches(stored, "linear"):
                    found[stored] = module
        return found

    @contextmanager
    def block(self, number: int) -> Iterator[nn.Module]:
        """A block with its weights, which are let go at the end.

        Args:
            number: From 0.

        Yields:
            The block.

        Raises:
            WeightsError: If a tensor is not there or has another shape.
            CompressionError: If a weight is NaN or infinite.
        """
        module = self._blocks[number]
        with self._loaded(module, [*module.state_dict()], f"{self.prefix}.{number}."):
            yield module

    def run(self, number: int, block: nn.Module, hidden: Tensor) -> Tensor:
        """Hidden states after a block.

        Args:
            number: Of the block.
            block: The block, loaded.
            hidden: Hidden states before it.
        """
        arguments, named = self._calls[tuple(hidden.shape[:2])][number]
        found = block(hidden, *arguments, **named)
        return found[0] if isinstance(found, tuple) else found

    @contextmanager
    def beginning(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """The embedding: token ids (sequences, positions) to hidden states before the first block.

        Yields:
            The function. It also notes what the blocks are called with for sequences of this shape.
        """
        head = self._names_under(self.model.get_output_embeddings())  # type: ignore[operator]
        with self._loaded(self.model, [name for name in self._outside() if name not in head]):
            yield self._begin

    @contextmanager
    def ending(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """What follows the blocks: hidden states after the last one to those that the scores are made of.

        Yields:
            The function. Inside, ``scores`` works, too.
        """
        embedding = self._names_under(self.model.get_input_embeddings())  # type: ignore[operator]
        with self._loaded(self.model, [name for name in self._outside() if name not in embedding]):
            yield self._end

    def scores(self, last: Tensor) -> Tensor:
        """Logits of the next token, within ``ending``.

        Args:
            last: What ``ending`` made of some positions, shape (…, width).
        """
        return self.model.get_output_embeddings()(last)  # type: ignore[operator]

    def check_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids as int64, sequences of one length.

        Args:
            tokens: As they were read.

        Raises:
            DataError: If they are no such ids, are outside the vocabulary, or longer than the network's positions.
        """
        size = self.model.config.vocab_size  # type: ignore[union-attr]
        longest = self.model.config.max_position_embeddings  # type: ignore[union-attr]
        if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.shape[1] < 2:
            raise DataError(
                f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}; expected whole numbers of shape "
                "(sequences, positions) with at least 2 positions"
            )
        if not len(tokens):
            raise DataError("no sequence of tokens; expected at least one")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= size:  # type: ignore[operator]
            raise DataError(
                f"token {low if low < 0 else high} is not in the vocabulary of {size}: is it another tokenizer's?"
            )
        if tokens.shape[1] > longest:  # type: ignore[operator]
            raise DataError(f"sequences of {tokens.shape[1]} tokens; the network takes at most {longest}")
        return tokens.long()

    def _begin(self, ids: Tensor) -> Tensor:
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        first: list[Tensor] = []

        def note(hidden: Tensor, *arguments: Any, **named: Any) -> Tensor:
            first.append(hidden)
            calls.append((arguments, named))
            return hidden

        with self._instead_of_blocks(note):
            self.model.base_model(input_ids=ids.to(self.device))  # type: ignore[operator]
        self._calls[tuple(ids.shape)] = calls
        return first[0]

    def _end(self, hidden: Tensor) -> Tensor:
        with self._instead_of_blocks(lambda *_, **__: hidden):
            return self.model.base_model(inputs_embeds=torch.zeros_like(hidden)).last_hidden_state  # type: ignore[operator]

    @contextmanager
    def _instead_of_blocks(self, function: Callable[..., Tensor]) -> Iterator[None]:
        # On the instances: the network may ask a block for more than to be called.
        for block in self._blocks:
            block.forward = function
        try:
            yield
        finally:
            for block in self._blocks:
                del block.forward

    @contextmanager
    def _loaded(self, module: nn.Module, names: list[str], prefix: str = "") -> Iterator[None]:
        empty = {name: tensor for name, tensor in module.state_dict().items() if name in names}
        state = {}
        for name in names:
            view = self.stored(prefix + name)
            tensor = view.read()
            check_finite(view.name, tensor)
            state[name] = tensor.to(self.device, self.dtype)
        module.load_state_dict(state, strict=False, assign=True)
        module.requires_grad_(False)
        del state
        try:
            yield
        finally:
            module.load_state_dict(empty, strict=False, assign=True)

    def _outside(self) -> list[str]:
        return [name for name in self.model.state_dict() if not name.startswith(f"{self.prefix}.")]

    def _names_under(self, part: nn.Module | None) -> set[str]:
        if part is None:
            return set()
        place = next(name for name, module in self.model.named_modules() if module is part)
        return {f"{place}.{name}" for name in part.state_dict()}

    def _tied_to(self, name: str) -> str:
        """The name of the input embedding's weight for that of the head, where these are one."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        if not getattr(self.model.config, "tie_word_embeddings", False) or name not in self._names_under(head):
            return name
        embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return next(iter(self._names_under(embedding)))
