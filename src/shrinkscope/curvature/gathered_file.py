"""Statistics gathered from inputs, in files: what one worker hands on for another to merge."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shrinkscope.curvature.fisher import FisherDiagonal
from shrinkscope.curvature.input_moments import InputMoments, LayerMoment
from shrinkscope.curvature.kronecker_fisher import KroneckerFactors, KroneckerFisher
from shrinkscope.curvature.second_moment import SecondMoment, Structure
from shrinkscope.errors import CurvatureError
from shrinkscope.performance.reading import Kind
from shrinkscope.weights import save_tensors

Gathered = InputMoments | FisherDiagonal | KroneckerFisher
"""A partial statistic over inputs."""

FORMAT = "shrinkscope.gathered.1"
"""Version of the files."""


class _Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    names: tuple[str, ...]
    vectors: tuple[tuple[int, ...], ...] = ()
    outputs: int = 0
    kernel: int | None = None


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a statistic but its sums, as JSON in the head of the file."""

    statistic: Literal["input_moments", "fisher_diagonal", "kronecker_fisher"]
    samples: int
    absent: dict[str, str]
    layers: dict[str, _Layer]
    structure: Structure = "full"
    draws: int | None = None
    kind: Kind = "classes"
    scale: float | None = None


def save_gathered(path: str | os.PathLike[str], statistic: Gathered) -> None:
    """Write a statistic to a .safetensors file, all or nothing: float64 sums, the rest as JSON in the head.

    Args:
        path: The file; replaced when it exists.
        statistic: What ``input_moments``, ``fisher_diagonal`` or ``kronecker_fisher`` returned.

    Raises:
        OutputError: If the file cannot be written.
    """
    header, tensors = _taken_apart(statistic)
    metadata = {"format": FORMAT, "header": msgspec.json.encode(header).decode()}
    save_tensors(path, tensors, metadata)


def load_gathered(path: str | os.PathLike[str]) -> Gathered:
    """Read a statistic that ``save_gathered`` wrote; nothing in the file is run.

    Args:
        path: The file.

    Returns:
        The statistic, on the CPU, equal to the one that was written.

    Raises:
        CurvatureError: If the file is missing or truncated, is none of these, or its parts do not fit.
    """
    source = Path(path)
    metadata, tensors = _read(source)
    if metadata.get("format") != FORMAT:
        raise CurvatureError(
            f"{source} has format {metadata.get('format')!r}; expected {FORMAT!r}, a file that save_gathered wrote"
        )
    try:
        header = msgspec.json.decode(metadata.get("header", ""), type=_Header)
    except msgspec.DecodeError as error:
        raise CurvatureError(f"{source} has an unreadable header ({error}); gather it anew") from error
    return _put_together(header, _Sums(source, tensors))


def _read(source: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    if not source.is_file():
        raise CurvatureError(f"{source}: no such file; expected one that save_gathered wrote")
    try:
        with safe_open(source, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CurvatureError(f"{source}: not a readable safetensors file ({reason}); is it truncated?") from error


class _Sums:
    """The tensors of a file by the layer they belong to."""

    def __init__(self, source: Path, tensors: dict[str, Tensor]) -> None:
        self.source, self.tensors = source, tensors

    def of(self, part: str, layer: str) -> Tensor:
        name = f"{part}/{layer}"
        if name not in self.tensors:
            raise CurvatureError(f"{self.source} holds no {name}, which its header lists; gather it anew")
        return self.tensors[name]

    def moment(self, part: str, layer: str, vectors: tuple[int, ...]) -> SecondMoment:
        sums = self.of(part, layer)
        if sums.ndim != 4 or len(sums) != len(vectors):
            raise CurvatureError(
                f"{self.source} holds {part}/{layer} of shape {tuple(sums.shape)}; expected ({len(vectors)}, blocks, "
                "width, width)"
            )
        return SecondMoment(sums=sums, vectors=vectors)


def _taken_apart(statistic: Gathered) -> tuple[_Header, dict[str, Tensor]]:
    common: dict[str, Any] = {"samples": statistic.samples, "absent": statistic.absent}
    if isinstance(statistic, InputMoments):
        layers = {
            name: _Layer(names=one.names, vectors=(one.moment.vectors,), outputs=one.outputs, kernel=one.kernel)
            for name, one in statistic.layers.items()
        }
        tensors = {f"inputs/{name}": one.moment.sums for name, one in statistic.layers.items()}
        return _Header(statistic="input_moments", layers=layers, structure=statistic.structure, **common), tensors
    common |= {"draws": statistic.draws, "kind": statistic.kind, "scale": statistic.scale}
    if isinstance(statistic, FisherDiagonal):
        layers = {name: _Layer(names=names) for name, names in statistic.names.items()}
        tensors = {f"squares/{name}": sums for name, sums in statistic.sums.items()}
        return _Header(statistic="fisher_diagonal", layers=layers, **common), tensors
    layers = {
        name: _Layer(names=one.names, vectors=(one.inputs.vectors, one.gradients.vectors), kernel=one.kernel)
        for name, one in statistic.layers.items()
    }
    tensors = {f"inputs/{name}": one.inputs.sums for name, one in statistic.layers.items()}
    tensors |= {f"gradients/{name}": one.gradients.sums for name, one in statistic.layers.items()}
    return _Header(statistic="kronecker_fisher", layers=layers, **common), tensors


def _put_together(header: _Header, sums: _Sums) -> Gathered:
    making: dict[str, Callable[[_Header, _Sums], Gathered]] = {
        "input_moments": _moments,
        "fisher_diagonal": _diagonal,
        "kronecker_fisher": _factors,
    }
    return making[header.statistic](header, sums)


def _moments(header: _Header, sums: _Sums) -> InputMoments:
    layers = {
        name: LayerMoment(
            moment=sums.moment("inputs", name, _vectors(sums, name, one, 1)[0]),
            names=one.names,
            outputs=one.outputs,
            kernel=one.kernel,
        )
        for name, one in header.layers.items()
    }
    return InputMoments(layers=layers, absent=header.absent, samples=header.samples, structure=header.structure)


def _diagonal(header: _Header, sums: _Sums) -> FisherDiagonal:
    return FisherDiagonal(
        sums={name: sums.of("squares", name) for name in header.layers},
        names={name: one.names for name, one in header.layers.items()},
        absent=header.absent,
        samples=header.samples,
        draws=header.draws,
        kind=header.kind,
        scale=header.scale,
    )


def _factors(header: _Header, sums: _Sums) -> KroneckerFisher:
    layers = {}
    for name, one in header.layers.items():
        inside, outside = _vectors(sums, name, one, 2)
        layers[name] = KroneckerFactors(
            inputs=sums.moment("inputs", name, inside),
            gradients=sums.moment("gradients", name, outside),
            names=one.names,
            kernel=one.kernel,
        )
    return KroneckerFisher(
        layers=layers,
        absent=header.absent,
        samples=header.samples,
        draws=header.draws,
        kind=header.kind,
        scale=header.scale,
    )


def _vectors(sums: _Sums, name: str, layer: _Layer, moments: int) -> tuple[tuple[int, ...], ...]:
    if len(layer.vectors) != moments:
        raise CurvatureError(f"{sums.source} counts {len(layer.vectors)} moments of {name}, expected {moments}")
    return layer.vectors
