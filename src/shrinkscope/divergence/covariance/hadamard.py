"""A random orthogonal matrix of any size that is a program, not a table: Hadamard blocks, permutations and signs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from shrinkscope.divergence.covariance.orthogonal import Orthogonal, RandomEigenvectors
from shrinkscope.errors import DivergenceError

BLOCK = 32
"""Size of the Hadamard blocks: one round costs 2·BLOCK operations a coordinate, a sweep log(d)/log(BLOCK) rounds."""

_SMALLEST_BLOCK = 16
_SMALLEST = 4  # dimension in blocks; below, the coordinates left out of a round would be too many
_ROUNDS, _SWEEPS = 12, 3
_PIECE = 2**20  # elements at a time, 8 MiB: less would fit a cache, but make threads wait for each other more often
_SIGN_BIT = -(2**63)


class RandomHadamard(Orthogonal):
    """V whose transpose is a chain of rounds, each of flat blocks at another stride, with random signs in between.

    One round multiplies every block of ``block`` coordinates, ``stride`` apart, by a Hadamard matrix (entries
    ±1/√block) whose rows and columns were permuted at random. A sweep starts with random signs of all d coordinates and
    makes enough rounds, at strides that grow geometrically from 1 to d/block, for each output to depend on each input.
    There are at least three sweeps and twelve rounds. Blocks that do not fill d leave less than
    ``block * min(stride, outer)`` coordinates out of a round, in turn at the end and at the front.

    What is kept are the matrices of the rounds, of size block², and one key for the signs of each sweep: the signs are
    drawn again in each application, so that nothing of size d is stored. Work is O(d log d), memory that of the result.

    Its law is not the uniform (Haar) one: V takes finitely many values. It is invariant under sign changes of the
    coordinates (Vᵀ and VᵀD have one law for D = diag(±1)), and the quadratic form of a rotated covariance follows the
    Haar law as closely as two-sample tests resolve; docs/rotated.md has the figures.

    Args:
        dim: Number of dimensions, at least 4·block; `random_orthogonal` takes any.
        generator: Where permutations and keys are drawn from; a study builds one V, or V again from the same seed.
        block: Size of the blocks, a power of two from 16: with smaller ones the strides of a sweep have gaps.

    Raises:
        DivergenceError: If the dimension is too small for the block, or the block is not a power of two.

    Source: derived here, after the randomised Hadamard transforms of Ailon & Chazelle (2006); its law is tested in
    tests/divergence/covariance/test_hadamard_law.py.
    """

    def __init__(self, dim: int, generator: torch.Generator, *, block: int = BLOCK) -> None:
        if block < _SMALLEST_BLOCK or block & (block - 1):
            raise DivergenceError(
                f"block {block} of a random Hadamard operator; expected a power of two from {_SMALLEST_BLOCK}"
            )
        if dim < _SMALLEST * block:
            raise DivergenceError(
                f"dimension {dim} of a random Hadamard operator; expected at least {_SMALLEST * block} "
                f"({_SMALLEST} blocks of {block}), use random_orthogonal for any dimension"
            )
        self._dim = dim
        strides = block_strides(dim, block)
        sweeps = max(_SWEEPS, -(-_ROUNDS // len(strides)))
        hadamard = _hadamard(block)
        self.rounds = tuple(
            _Round(
                matrix=_permuted(hadamard, generator),
                outer=outer,
                stride=stride,
                start=(level + sweep) % 2 * (dim - outer * block * stride),
                key=_key(generator) if level == 0 else None,
            )
            for sweep in range(sweeps)
            for level, (outer, stride) in enumerate(strides)
        )

    @property
    def dim(self) -> int:
        """Number of rows of V."""
        return self._dim

    def apply(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vx, differentiable in x."""
        return _Chain.apply(x.to(torch.float64), self, False)

    def transpose(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vᵀx, differentiable in x."""
        return _Chain.apply(x.to(torch.float64), self, True)

    def run(self, x: Float[Tensor, "*batch dim"], transposed: bool) -> Float[Tensor, "*batch dim"]:
        """The rounds in order (Vᵀx) or undone from the last to the first (Vx), in place on one copy of x."""
        rows = x.detach().clone(memory_format=torch.contiguous_format).reshape(-1, self.dim)
        for step in self.rounds if transposed else reversed(self.rounds):
            if transposed:
                step.flip(rows)
            step.mix(rows, step.matrix if transposed else step.matrix.mT)
            if not transposed:
                step.flip(rows)
        return rows.reshape(x.shape)


def random_orthogonal(dim: int, generator: torch.Generator) -> Orthogonal:
    """A random orthogonal matrix of any dimension: exactly Haar-distributed below 4·BLOCK, `RandomHadamard` from there.

    Args:
        dim: Number of dimensions, at least 1.
        generator: Where it is drawn from.

    Returns:
        `RandomEigenvectors` (up to the signs of its columns, on which VΛVᵀ does not depend) or `RandomHadamard`.

    Raises:
        DivergenceError: If the dimension is less than 1.
    """
    return RandomEigenvectors(dim, generator) if dim < _SMALLEST * BLOCK else RandomHadamard(dim, generator)


def block_strides(dim: int, block: int) -> list[tuple[int, int]]:
    """How the rounds of a sweep cut dim coordinates: (outer, stride), with outer · block · stride at most dim.

    The strides grow geometrically from 1 to dim/block, by a factor of at most block, so that differences of positions
    of every size are reached in one sweep. That they are seldom powers of two keeps the rounds from acting on the same
    binary digits of the position again and again.
    """
    levels = 2
    while block**levels < 2 * dim:
        levels += 1
    cuts = []
    for level in range(levels):
        outer = dim // (block * _integer_root((dim // block) ** level, levels - 1))
        cuts.append((outer, dim // (block * outer)))
    return cuts


@dataclass(frozen=True)
class _Round:
    """One round: coordinates start + (i · block + j) · stride + k for j < block are multiplied by the matrix."""

    matrix: Tensor  # (block, block)
    outer: int
    stride: int
    start: int
    key: int | None  # of the signs that are flipped before it, in the first round of a sweep

    def mix(self, rows: Tensor, matrix: Tensor) -> None:
        """Multiply each block by the matrix, in place."""
        matrix = matrix.to(rows.device)
        block = matrix.shape[0]
        body = rows[:, self.start : self.start + self.outer * block * self.stride]
        # Memory of its own for each piece would be fetched from the system and given back each time, at twice the cost.
        scratch = rows.new_empty(min(body.numel(), max(_PIECE, block)))
        for piece in _pieces(body.unflatten(1, (self.outer, block, self.stride))):
            product = scratch[: piece.numel()].view(piece.shape)
            if self.stride == 1:  # one product of matrices instead of a matrix-vector product for each block
                torch.matmul(piece.squeeze(-1), matrix.mT, out=product.squeeze(-1))
            else:
                torch.matmul(matrix, piece, out=product)
            piece.copy_(product)

    def flip(self, rows: Tensor) -> None:
        """Change the signs that the key draws, the same in each row, in place."""
        if self.key is None:
            return
        generator = torch.Generator().manual_seed(self.key)
        shifts = torch.arange(63, -1, -1, device=rows.device)
        for piece in rows.split(_PIECE, dim=1):
            words = torch.empty(-(-piece.shape[1] // 64), dtype=torch.int64)
            words.random_(_SIGN_BIT, None, generator=generator)
            signs = (words.to(rows.device).unsqueeze(-1) << shifts).bitwise_and_(_SIGN_BIT)
            # Bit 63 of a float64 is its sign: this negates without a table of ±1.
            piece.view(torch.int64).bitwise_xor_(signs.view(-1)[: piece.shape[1]])


class _Chain(torch.autograd.Function):
    """Vᵀx or Vx, both linear with the other one as derivative: autograd through the work in place would be wrong."""

    @staticmethod
    def forward(x: Tensor, operator: RandomHadamard, transposed: bool) -> Tensor:
        return operator.run(x, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, RandomHadamard, bool], output: Tensor) -> None:
        _, ctx.operator, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Chain.apply(gradients[0], ctx.operator, not ctx.transposed), None, None


def _pieces(body: Tensor) -> Iterator[Tensor]:
    """Views of shape (rows, outer, block, stride) with at most ``_PIECE`` elements each, unless one block has more."""
    _, outer, block, stride = body.shape
    for rows in body.split(max(1, _PIECE // (outer * block * stride))):
        for groups in rows.split(max(1, _PIECE // (block * stride)), dim=1):
            yield from groups.split(max(1, _PIECE // block), dim=3)


def _hadamard(block: int) -> Tensor:
    """Sylvester's Hadamard matrix over √block."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while matrix.shape[0] < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(block)


def _permuted(matrix: Tensor, generator: torch.Generator) -> Tensor:
    """The matrix with its rows and columns in random order."""
    device = generator.device
    rows, columns = (torch.randperm(len(matrix), generator=generator, device=device).cpu() for _ in range(2))
    return matrix[rows][:, columns].contiguous()


def _key(generator: torch.Generator) -> int:
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))


def _integer_root(number: int, degree: int) -> int:
    """The largest r with r**degree at most number, exactly: V must not depend on a platform's rounding of roots."""
    root = round(number ** (1 / degree))
    while root**degree > number:
        root -= 1
    while (root + 1) ** degree <= number:
        root += 1
    return root
