"""Latents that know the network by their names: what their Σ⁻¹ needs is gathered from unlabelled inputs."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from shrinkscope.curvature import fisher_diagonal, gauss_newton_precisions, input_moments, kronecker_fisher
from shrinkscope.errors import LatentError
from shrinkscope.latent import (
    InformedGaussian,
    InformedName,
    InformedStudentT,
    Latent,
    Precisions,
    informed_name,
)
from shrinkscope.performance.data import Inputs, input_batches
from shrinkscope.performance.outputs import Outputs
from shrinkscope.performance.reading import Kind
from shrinkscope.weights import LayersLike

Progress = Callable[[str, int], None]
"""Called after each batch with what is gathered and the number of inputs done."""

_STAGES = {
    "input": "input moments",
    "input_block": "blocks of input moments",
    "input_diagonal": "diagonal input moments",
    "fisher": "Fisher diagonal",
    "kfac": "K-FAC",
}


def informed_latents(
    latents: Iterable[Latent | str],
    network: nn.Module,
    inputs: Inputs,
    *,
    kind: Kind | None = None,
    scale: float | None = None,
    padding: int | None = None,
    outputs: Outputs | None = None,
    draws: int | None = 1,
    generator: torch.Generator | None = None,
    layers: LayersLike = None,
    batch_size: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> list[Latent | str]:
    """The same latents, those that are gathered from inputs with their Σ⁻¹ in place of their names.

    Each statistic is gathered once, in one pass over the inputs for all layers. The exact Gauss-Newton form is not
    gathered, but read off the inputs in each comparison of a layer.

    Args:
        latents: Latents and names. Gathered are ``input``, ``input_block``, ``input_diagonal``, ``fisher``, ``kfac``
            and ``gauss_newton``; with ``relative_`` before them they are measured against the dense weights, with
            ``student_t_`` before that they have the heavy tail. Everything else is handed on as it is.
        network: The dense network; unchanged.
        inputs: Unlabelled inputs, as for ``input_moments``. An iterator is kept in memory if it is read again.
        kind: What the outputs predict, as for ``fisher_diagonal``; and so the next three.
        scale: Of a regression.
        padding: Token id that marks positions that do not count.
        outputs: Finds the scores in what the network returns.
        draws: Labels drawn for each input; None for the expectation over all labels.
        generator: Source of the labels; seed 0 for each statistic when None.
        layers: Names, globs or a LayerSelection; all when None.
        batch_size: Inputs a forward pass when ``inputs`` is one tensor; None takes 64, or as many sequences as make
            2,048 tokens.
        memory_limit: Bytes that each statistic, and the activations of a batch, may take; what is available when None.
        progress: Called after each batch.

    Returns:
        As many latents, in the same order.

    Raises:
        CurvatureError: If a statistic cannot be computed, or does not fit into memory.
        DataError: If the inputs or the options do not fit the network.
        LatentError: If there is no such latent.
        SelectionError: If no parameter is selected.
    """
    asked = [(latent, informed_name(latent) if isinstance(latent, str) else None) for latent in latents]
    _check_student_t([name for _, name in asked if name is not None])
    needed = {name.statistic for _, name in asked if name is not None}
    common = {"layers": layers, "batch_size": batch_size, "memory_limit": memory_limit, "outputs": outputs}
    reading = {"kind": kind, "scale": scale, "padding": padding}
    labels = {"draws": draws, "generator": generator, **reading}
    read = _readable(inputs, len(needed))
    found = _moments(needed, network, read, progress, common)
    gatherers: dict[str, Any] = {"fisher": fisher_diagonal, "kfac": kronecker_fisher}
    for statistic in [name for name in gatherers if name in needed]:
        telling = _telling(progress, statistic)
        found[statistic] = gatherers[statistic](network, read(), progress=telling, **labels, **common).precisions()
    if "gauss_newton" in needed:
        found["gauss_newton"] = gauss_newton_precisions(network, read(), **reading, **common)
    return [latent if name is None else _latent(name, found[name.statistic]) for latent, name in asked]


def _moments(
    needed: set[str],
    network: nn.Module,
    read: Callable[[], Inputs],
    progress: Progress | None,
    common: dict[str, Any],
) -> dict[str, Precisions]:
    """Those of the inputs: the diagonal is that of the whole moments where these are needed too."""
    found: dict[str, Precisions] = {}
    if needed & {"input", "input_diagonal"}:
        stage: str = "input" if "input" in needed else "input_diagonal"
        structure = "full" if stage == "input" else "diagonal"
        moments = input_moments(network, read(), structure=structure, progress=_telling(progress, stage), **common)
        found = {"input": moments.precisions(), "input_diagonal": moments.precisions(diagonal=True)}
    if "input_block" in needed:
        telling = _telling(progress, "input_block")
        found["input_block"] = input_moments(
            network, read(), structure="block", progress=telling, **common
        ).precisions()
    return found


def _readable(inputs: Inputs, times: int) -> Callable[[], Inputs]:
    """What gives the inputs anew each time: an iterator's are kept if they are read more than once."""
    if not isinstance(inputs, Iterator) or times < 2:
        return lambda: inputs
    kept: list[Tensor] = [*input_batches(inputs, batch_size=1)]
    return lambda: iter(kept)


def _telling(progress: Progress | None, statistic: str) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(_STAGES[statistic], done)


def _check_student_t(names: list[InformedName]) -> None:
    """Refuse before anything is gathered."""
    if any(name.student_t and name.statistic == "gauss_newton" for name in names):
        raise LatentError(
            "there is no Student-t over the exact Gauss-Newton matrix, whose rank is not known; take student_t_kfac"
        )


def _latent(name: InformedName, precisions: Precisions) -> Latent:
    latent = InformedStudentT if name.student_t else InformedGaussian
    return latent(precisions=precisions, relative=name.relative)
