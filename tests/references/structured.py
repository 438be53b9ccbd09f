"""Physical removal of channels from networks given as plain tensors, written from the networks' wiring."""

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def keep(generator: torch.Generator, size: int, left: int, shuffled: bool) -> Tensor:
    """Indices of ``left`` of ``size`` channels, ascending unless shuffled."""
    chosen = torch.randperm(size, generator=generator)[:left]
    return chosen if shuffled else chosen.sort().values


def resnet20_wiring() -> dict[str, tuple[str | None, str | None]]:
    """Tensor → (space of its outputs, space of its inputs) of a CIFAR ResNet-20 whose shortcuts have no weights."""
    wiring: dict[str, tuple[str | None, str | None]] = {"conv1.weight": ("stream1", None)}
    _norm(wiring, "bn1", "stream1")
    for stage in (1, 2, 3):
        for block in range(3):
            before = f"stream{stage - 1}" if block == 0 and stage > 1 else f"stream{stage}"
            name, inner = f"layer{stage}.{block}", f"inner{stage}.{block}"
            wiring[f"{name}.conv1.weight"] = (inner, before)
            wiring[f"{name}.conv2.weight"] = (f"stream{stage}", inner)
            _norm(wiring, f"{name}.bn1", inner)
            _norm(wiring, f"{name}.bn2", f"stream{stage}")
    wiring["linear.weight"] = (None, "stream3")
    return wiring


def _norm(wiring: dict[str, tuple[str | None, str | None]], name: str, space: str) -> None:
    for part in ("weight", "bias", "running_mean", "running_var"):
        wiring[f"{name}.{part}"] = (space, None)


def removed(tensors: Tensors, wiring: dict[str, tuple[str | None, str | None]], kept: dict[str, Tensor]) -> Tensors:
    """The narrower network: every dimension indexed by the kept channels of its space."""
    out = {}
    for name, tensor in tensors.items():
        first, second = wiring.get(name, (None, None))
        if first in kept:
            tensor = tensor[kept[first]]
        if second in kept:
            index = kept[second]
            block = tensor.shape[1] // _size(second, tensors, wiring)
            tensor = tensor[:, (index[:, None] * block + torch.arange(block)).reshape(-1)]
        out[name] = tensor.clone()
    return out


def _size(space: str, tensors: Tensors, wiring: dict[str, tuple[str | None, str | None]]) -> int:
    return next(tensors[name].shape[0] for name, (first, _) in wiring.items() if first == space)


def zeros_in_place(
    tensors: Tensors, dense: Tensors, wiring: dict[str, tuple[str | None, str | None]], kept: dict[str, Tensor]
) -> Tensors:
    """The narrower network's values in the dense shapes, entry by entry, zeros elsewhere."""
    out = {}
    for name, tensor in tensors.items():
        first, second = wiring.get(name, (None, None))
        wide = torch.zeros_like(dense[name])
        rows = kept[first].tolist() if first in kept else range(dense[name].shape[0] if dense[name].dim() else 0)
        if dense[name].dim() < 2:
            for place, row in enumerate(rows):
                wide[row] = tensor[place]
        else:
            block = dense[name].shape[1] // _size(second, dense, wiring) if second in kept else 1
            columns = (
                [c * block + i for c in kept[second].tolist() for i in range(block)]
                if second in kept
                else list(range(dense[name].shape[1]))
            )
            for place, row in enumerate(rows):
                for at, column in enumerate(columns):
                    wide[row, column] = tensor[place, at]
        out[name] = wide
    return out


def retrained(tensors: Tensors, level: float, generator: torch.Generator) -> Tensors:
    """Every tensor with Gaussian noise of ``level`` times its own standard deviation."""
    return {
        name: tensor + level * tensor.std(correction=0) * torch.randn(tensor.shape, generator=generator)
        for name, tensor in tensors.items()
    }


def rescaled(tensors: Tensors, level: float, generator: torch.Generator) -> Tensors:
    """Every weight times its own factor, Gaussian around one with standard deviation ``level``."""
    return {
        name: tensor * (1 + level * torch.randn(tensor.shape, generator=generator)) for name, tensor in tensors.items()
    }
