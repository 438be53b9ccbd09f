"""LoRA adapters in PEFT's layout, added to the base tensor by tensor when it is read."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from shrinkscope.errors import PairingError
from shrinkscope.weights.mapping.adapter_config import AdapterConfig
from shrinkscope.weights.mapping.adapter_names import FACTOR, ODD, plain_name
from shrinkscope.weights.mapping.beside import read_beside, read_object
from shrinkscope.weights.mapping.lazy import present, renamed, transposed
from shrinkscope.weights.mapping.products import added, product
from shrinkscope.weights.mapping.step import Note, Step
from shrinkscope.weights.view import TensorView, Weights

_CONFIG = "adapter_config.json"


class _Adapted(msgspec.Struct, frozen=True, kw_only=True):
    """The factors of one module."""

    module: str
    embedding: bool
    left: TensorView
    right: TensorView


def merge_adapter(dense: Weights, compressed: Weights, config_path: str | None = None) -> Step:
    """The base with the adapter on it, where the compressed network is a LoRA adapter, alone or around its base.

    Args:
        dense: The base.
        compressed: The adapter under the base's names; other networks come back as they are.
        config_path: Its adapter_config.json; by default the one that lies with it.

    Raises:
        PairingError: If the adapter is not a plain LoRA, its configuration is missing or does not belong to it, or it
            changes what the base does not have.
    """
    beside = None if config_path is not None else read_beside(compressed.place, _CONFIG)
    # Factors that share their memory with others are factors all the same.
    everything = dict(compressed) | {n: renamed(compressed[first], n) for n, first in compressed.tied.items()}
    factors = {name: found for name in everything if (found := FACTOR.fullmatch(name)) is not None}
    odd = next((name for name in everything if ODD.fullmatch(name)), None)
    if not factors and odd is None and beside is None:
        return Step(dense=dense, compressed=compressed)
    where = config_path or f"{compressed.origin}: {_CONFIG}"
    entries = read_object(Path(config_path)) if config_path is not None else beside
    if entries is None:
        raise PairingError(
            f"{compressed.origin} holds LoRA factors and no {_CONFIG} lies with it, so their scale is not known; put "
            "it there, or name it as the rule adapter"
        )
    config = AdapterConfig.of(entries, where)
    if odd is not None:
        raise PairingError(f"{compressed.origin}: {odd} is no part of a plain LoRA; merge the adapter with PEFT before")
    if not factors:
        return Step(dense=dense, compressed=compressed)
    adapted = _adapted(compressed.origin, everything, factors)
    rest = _rest(everything, factors)
    # Around a base of its own, the adapter has all tensors that it adapts; some, like embeddings, it may save itself.
    base = None if all(f"{one.module}.weight" in rest for one in adapted) else dense
    return _merged(dense, compressed, config, adapted, rest, base)


def _adapted(origin: str, views: Mapping[str, TensorView], factors: Mapping[str, re.Match[str]]) -> list[_Adapted]:
    names = sorted({found["adapter"] or "default" for found in factors.values()})
    if len(names) > 1:
        raise PairingError(f"{origin} holds {len(names)} adapters ({', '.join(names)}); save one of them alone")
    sides: dict[tuple[str, bool], dict[str, TensorView]] = {}
    for name, found in factors.items():
        sides.setdefault((found["module"], bool(found["kind"])), {})[found["side"]] = views[name]
    for (module, _), pair in sides.items():
        if set(pair) != {"A", "B"}:
            raise PairingError(f"{origin}: {module} has lora_{next(iter(pair))} only; is the file truncated?")
    return [_Adapted(module=m, embedding=e, left=pair["B"], right=pair["A"]) for (m, e), pair in sides.items()]


def _rest(views: Mapping[str, TensorView], factors: Mapping[str, re.Match[str]]) -> dict[str, TensorView]:
    """The tensors that are no factors, under the names of the network that the adapter lies around."""
    rest = {}
    for name, view in views.items():
        if name not in factors and ".original_module." not in name:
            plain = plain_name(name)
            rest[plain] = renamed(view, plain)
    return rest


def _merged(
    dense: Weights,
    compressed: Weights,
    config: AdapterConfig,
    adapted: list[_Adapted],
    rest: Mapping[str, TensorView],
    base: Weights | None,
) -> Step:
    if base is None:
        tied = {
            plain_name(name): plain_name(first) for name, first in compressed.tied.items() if not FACTOR.fullmatch(name)
        }
        views = {name: view for name, view in rest.items() if name not in tied}
    else:
        tied, views = {name: first for name, first in base.tied.items() if name not in rest}, dict(base) | dict(rest)
    for one in adapted:
        name = f"{one.module}.weight"
        whole = views.get(tied.get(name, name))
        if whole is None:
            raise PairingError(
                f"{compressed.origin} adapts {name}, which {dense.origin} does not have; is it the adapter's base?"
            )
        tied.pop(name, None)
        views[name] = added(renamed(whole, name), _change(one, config, whole, compressed.origin))
    unknown = [name for name in rest if base is not None and not present(dense, name)]
    if unknown:
        raise PairingError(
            f"{compressed.origin} holds {unknown[0]}, which {dense.origin} does not have; is it its base?"
        )
    same = {"origin": compressed.origin, "unreadable": compressed.unreadable, "place": compressed.place}
    merged = Weights(list(views.values()), tied=tied, **same)
    return Step(dense=dense, compressed=merged, notes=(_note(config, adapted, rest, base),))


def _change(one: _Adapted, config: AdapterConfig, whole: TensorView, origin: str) -> TensorView:
    """scale·BA in the shape of the base's tensor."""
    name, shape, rank = whole.name, whole.shape, one.right.shape[0]
    if rank != config.rank(one.module) or one.left.shape[1] != rank:
        raise PairingError(
            f"{origin}: {one.module} has rank {rank} and {_CONFIG} says {config.rank(one.module)}; is it another's?"
        )
    outer = (one.left.shape[0], *one.right.shape[1:])
    plain, swapped = outer == shape, len(outer) == 2 and (outer[1], outer[0]) == shape
    if not (plain or swapped) or (one.embedding and not swapped):
        found, expected = ("×".join(map(str, size)) for size in (outer, shape))
        raise PairingError(f"{origin} adds {found} to {name}, which is {expected}; is it the adapter's base?")
    # A square matrix fits both ways; there the configuration decides, as it does in PEFT.
    flip = one.embedding or (swapped and (config.fan_in_fan_out or not plain))
    change = product(name, outer, whole.role, one.left, one.right, scale=config.scale(one.module))
    return transposed(change) if flip else change


def _note(config: AdapterConfig, adapted: list[_Adapted], rest: Mapping[str, TensorView], base: Weights | None) -> Note:
    scales = sorted({config.scale(one.module) for one in adapted})
    scale = f"{scales[0]:g}" if len(scales) == 1 else f"{scales[0]:g} to {scales[-1]:g}"
    layers = tuple(f"{one.module}.weight" for one in adapted)
    saved = f", {len(rest)} tensors replaced by the adapter's own" if rest and base is not None else ""
    place = "the base that it holds" if base is None else "the dense network"
    text = f"LoRA adapter with scale {scale} added to {len(layers)} tensors of {place}{saved}, for example {layers[0]}"
    return Note(layer=layers[0], kind="adapter", text=text, layers=layers)
