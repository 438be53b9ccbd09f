"""What features depend on, in one digest: weights, images, transform, versions."""

import hashlib
import sys
from importlib.metadata import version as installed

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.experiments.data import Part

FORMAT = 1
"""Version of what the files of features hold."""

Samples = tuple[Tensor, Tensor]
Source = Part | Samples
"""Images that are decoded batch by batch, or inputs and targets in memory."""

View = tuple[int, int]
"""Seed of the augmentation, and number of the view."""


def features_key(model: nn.Module, head: str, source: Source, view: View | None, dtype: torch.dtype) -> str:
    """Digest of everything that features depend on; where it lies, its name and the last layer's weights are no part.

    Args:
        model: The network.
        head: Name of its last layer.
        source: The images.
        view: Which augmented view; None: as images are evaluated.
        dtype: Type that they are kept in.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for text in (FORMAT, _versions(), head, _structure(model, head), _transform(source, view), view, dtype):
        digest.update(f"{text}\n".encode())
    digest.update(_digest_of_source(source).encode())
    for name, tensor in model.state_dict().items():
        # Counters of batches seen have no effect where momentum is set, and none in evaluation.
        if name.rpartition(".")[0] != head and not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()


def _versions() -> str:
    # Pillow decodes and scales images. Another byte order would be another file.
    return f"torch {torch.__version__} pillow {installed('pillow')} {sys.byteorder}"


def _structure(model: nn.Module, head: str) -> str:
    """Classes and settings of the modules that come before the last layer."""
    modules = ((name, module) for name, module in model.named_modules() if name != head)
    return ";".join(f"{name}:{type(module).__qualname__}({module.extra_repr()})" for name, module in modules)


def _transform(source: Source, view: View | None) -> str:
    if not isinstance(source, Part):
        return "as given"
    # Without a view nothing is augmented, whatever training would do.
    acting = source.transform if view else msgspec.structs.replace(source.transform, augmentation="none")
    return msgspec.json.encode(acting, order="sorted").decode()


def _digest_of_source(source: Source) -> str:
    if isinstance(source, Part):
        return source.digest
    digest = hashlib.blake2b(digest_size=16)
    for tensor in source:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
