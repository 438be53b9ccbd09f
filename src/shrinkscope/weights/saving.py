"""Writing weights as safetensors, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from shrinkscope.errors import OutputError
from shrinkscope.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a .safetensors file, all or nothing.

    Args:
        path: The file to write; replaced when it exists.
        tensors: Name → tensor; copied to contiguous CPU memory, so views and tied weights are fine.
        metadata: Text to keep in the header.

    Raises:
        OutputError: If the file cannot be written (a read-only folder, a full disk).
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        mode = temporary.stat().st_mode
        try:
            save_file(plain, temporary, metadata=dict(metadata or {}))
            # safetensors writes a new file, which its owner alone may read.
            temporary.chmod(mode)
        except SafetensorError as error:
            raise OutputError(f"cannot write {path}: {error}; is the disk full?") from error
