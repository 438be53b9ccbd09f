"""Passes of a language model over sequences and back, block by block, with what is between the blocks in files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from shrinkscope.analysis.blocks.moments import BlockMoments
from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.blocks.streams import Stream, StreamWriter, written
from shrinkscope.analysis.blocks.within import kept_largest
from shrinkscope.compression.mask import keep
from shrinkscope.weights import CHUNK, LayersLike

Receive = Callable[[str, Tensor, Tensor], None]
"""Called with a layer's name, its dense weight, and a gradient in the pruned one."""

_BACK = 3.0  # a pass back: the block is run again, and two products where a run has one


class Passes:
    """A network pruned to any counts, run over the same sequences each time.

    Args:
        network: The language model.
        tokens: Token ids, checked.
        folder: For hidden states, those after every block for the dense and the pruned network.
        batch: Sequences that are run together.
        informed: Whether the least w²E[x²] of a layer go, x being the dense network's; else the least |w|.
        layers: Which layers of the blocks are pruned.

    Attributes:
        spent: What was done so far, in passes of the network over one sequence.
        sizes: Layer → number of weights.
    """

    def __init__(
        self,
        network: BlockNetwork,
        tokens: Tensor,
        folder: Path,
        *,
        batch: int = 4,
        informed: bool = False,
        layers: LayersLike = None,
    ) -> None:
        self.network, self.tokens, self.spent = network, tokens, 0.0
        self._folder, self._batch, self._informed, self._chosen = folder, batch, informed, layers
        self._squares: dict[str, Tensor] = {}
        self.sizes: dict[str, int] = {}
        for number in range(network.depth):
            self.sizes |= {name: layer.weight.numel() for name, layer in network.layers(number, layers).items()}

    @property
    def squares(self) -> Mapping[str, Tensor]:
        """Mean square of each column's input of the dense network, the columns of each layer; after ``dense``."""
        return self._squares

    def removal_squares(self, name: str) -> Tensor | None:
        """What weighs a layer's magnitudes in the order of removal; None for nothing.

        Args:
            name: Of the layer.
        """
        return self._squares[name] if self._informed else None

    def dense(self) -> None:
        """Run the dense network, and note what its layers are given."""
        with self.network.beginning() as embed, self._writing("dense", 0) as stream:
            for ids in self.tokens.split(self._batch):
                stream.write(embed(ids))
            for some in range(1, self._batch):
                embed(self.tokens[:some])  # for what the blocks are called with: passes back take any number
        for number in range(self.network.depth):
            with torch.no_grad(), self.network.block(number) as block:
                moments = BlockMoments(self.network.layers(number, self._chosen), diagonal=True)
                with self._writing("dense", number + 1) as after:
                    self._gather(moments, number, block, after.write)
                self._squares |= {name: moments.matrix(name) for name in self.network.layers(number, self._chosen)}
        self.spent += len(self.tokens)

    def pruned(self, counts: Mapping[str, int]) -> Tensor:
        """Run the network with so many weights of each layer removed.

        Args:
            counts: Layer → number.

        Returns:
            KL divergence of its predictions from the dense network's, in nats a token: float64, one a sequence.
        """
        for number in range(self.network.depth):
            before = self._stream("pruned" if number else "dense", number)
            with torch.no_grad(), self.network.block(number) as block, self._writing("pruned", number + 1) as after:
                self._prune(number, counts)
                for hidden in before:
                    after.write(self.network.run(number, block, hidden))
        self.spent += len(self.tokens)
        found = []
        with torch.no_grad(), self.network.ending() as end:
            for dense, pruned in zip(self._last("dense"), self._last("pruned"), strict=True):
                found.append(sum(kl for kl, _ in self._divergences(end(dense)[0], end(pruned)[0], gradients=False)))
        return torch.tensor(found, dtype=torch.float64) / self.tokens.shape[1]

    def back(self, counts: Mapping[str, int], chosen: list[int], receive: Receive) -> None:
        """Gradients of the summed KL of some sequences in the weights of the network as it was last pruned.

        Args:
            counts: As they were given to ``pruned``.
            chosen: Which sequences.
            receive: Called with each layer's name, its dense weight and the gradient, summed over the sequences.
        """
        with self.network.ending() as end, self._writing("gradient", self.network.depth) as stream:
            for dense, pruned in zip(self._last("dense"), self._last("pruned"), strict=True):
                stream.write(self._back_from_divergence(end, dense, pruned))
        rows = [chosen[start : start + self._batch] for start in range(0, len(chosen), self._batch)]
        for number in reversed(range(self.network.depth)):
            self._back_through(number, counts, "pruned" if number else "dense", rows, receive)
        self.spent += _BACK * len(chosen)

    def back_from_draws(self, draws: int, generator: torch.Generator, receive: Receive) -> None:
        """Gradients of the log-likelihood of tokens that the dense network draws, sequence by sequence.

        Args:
            draws: Drawings of all tokens of every sequence.
            generator: Source of the tokens.
            receive: Called with each layer's name, its weight and a gradient, draws × sequences times.
        """
        for _ in range(draws):
            with self.network.ending() as end, self._writing("gradient", self.network.depth) as stream:
                for dense in self._last("dense"):
                    stream.write(self._back_from_draw(end, dense, generator))
            rows = [[row] for row in range(len(self.tokens))]
            for number in reversed(range(self.network.depth)):
                self._back_through(number, {}, "dense", rows, receive, apart=True)
            self.spent += _BACK * len(self.tokens)

    def _back_through(
        self,
        number: int,
        counts: Mapping[str, int],
        kind: str,
        rows: list[list[int]],
        receive: Receive,
        *,
        apart: bool = False,
    ) -> None:
        before, after = self._stream(kind, number), self._stream("gradient", number + 1)
        with self.network.block(number) as block, self._writing("gradient", number) as stream:
            dense = {name: layer.weight for name, layer in self.network.layers(number, self._chosen).items()}
            self._prune(number, counts)
            layers = self.network.layers(number, self._chosen)
            weights = [layer.weight.requires_grad_() for layer in layers.values()]
            sums: list[Tensor] = []
            for chosen in rows:
                hidden = before.rows(chosen).requires_grad_()
                out = self.network.run(number, block, hidden)
                own, *found = torch.autograd.grad(out, [hidden, *weights], after.rows(chosen))
                stream.put(chosen, own)
                sums = [a.add_(b) for a, b in zip(sums, found, strict=True)] if sums and not apart else found
                if apart:
                    self._hand_over(layers, dense, sums, receive)
            if not apart:
                self._hand_over(layers, dense, sums, receive)
        self._path("gradient", number + 1).unlink()

    @staticmethod
    def _hand_over(
        layers: Mapping[str, nn.Linear], dense: Mapping[str, Tensor], gradients: list[Tensor], receive: Receive
    ) -> None:
        for name, gradient in zip(layers, gradients, strict=True):
            receive(name, dense[name].detach(), gradient)

    def _prune(self, number: int, counts: Mapping[str, int]) -> None:
        for name, layer in self.network.layers(number, self._chosen).items():
            if counts.get(name):
                kept = kept_largest(layer.weight, counts[name], self.removal_squares(name))
                layer.weight = nn.Parameter(keep(layer.weight.detach(), kept), requires_grad=False)

    def _gather(self, moments: BlockMoments, number: int, block: nn.Module, write: Callable[[Tensor], None]) -> None:
        moments.gather(lambda hidden: write(self.network.run(number, block, hidden)), self._stream("dense", number))

    def _back_from_divergence(self, end: Callable[[Tensor], Tensor], dense: Tensor, pruned: Tensor) -> Tensor:
        hidden = pruned.requires_grad_()
        states = end(hidden)
        with torch.no_grad():
            wanted = end(dense)[0]
        parts = [part for _, part in self._divergences(wanted, states[0].detach(), gradients=True)]
        (found,) = torch.autograd.grad(states, hidden, torch.cat(parts)[None].to(states.dtype))
        return found

    def _back_from_draw(self, end: Callable[[Tensor], Tensor], dense: Tensor, generator: torch.Generator) -> Tensor:
        hidden = dense.requires_grad_()
        states = end(hidden)
        parts = []
        for part in self._positions(states[0].detach()):
            rows = part.requires_grad_()
            logarithms = self.network.scores(rows).double().log_softmax(-1)
            drawn = torch.multinomial(logarithms.exp().cpu(), 1, generator=generator).to(rows.device)
            parts.append(torch.autograd.grad(logarithms.gather(1, drawn).sum(), rows)[0])
        (found,) = torch.autograd.grad(states, hidden, torch.cat(parts)[None])
        return found

    def _divergences(self, dense: Tensor, pruned: Tensor, *, gradients: bool) -> Iterator[tuple[float, Tensor]]:
        """Summed KL of some positions at a time, and its gradient in the pruned network's last states."""
        for wanted, given in zip(self._positions(dense), self._positions(pruned), strict=True):
            rows = given.requires_grad_(gradients)
            aim = self.network.scores(wanted).detach().double().log_softmax(-1)
            found = self.network.scores(rows).double().log_softmax(-1)
            kl = (aim.exp() * (aim - found)).sum()
            yield float(kl.detach()), torch.autograd.grad(kl, rows)[0] if gradients else rows

    def _positions(self, states: Tensor) -> tuple[Tensor, ...]:
        vocabulary = int(self.network.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
        return states.split(max(1, CHUNK // vocabulary))

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}-{number:04d}.npy"

    def _stream(self, kind: str, number: int) -> Stream:
        return Stream(self._path(kind, number), self._batch, self.network.device)

    def _last(self, kind: str) -> Stream:
        """After the last block, one sequence at a time: the scores take more room than hidden states do."""
        return Stream(self._path(kind, self.network.depth), 1, self.network.device)

    def _writing(self, kind: str, number: int) -> AbstractContextManager[StreamWriter]:
        shape = (len(self.tokens), self.tokens.shape[1], self.network.width)
        return written(self._path(kind, number), shape, self.network.dtype)
