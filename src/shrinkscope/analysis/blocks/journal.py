"""Which blocks an interrupted run has done, so that the next one goes on after them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
from torch import Tensor

from shrinkscope.analysis.blocks.records import BlockReport
from shrinkscope.errors import OutputError, StoreError
from shrinkscope.files import json_text, write_text

FOLDER = ".unfinished"
_FILE = "journal.json"


class Journal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done.

    Attributes:
        key: Of what was asked for; another run must not go on with it.
        blocks: Reports of the blocks that are done, from the first.
    """

    key: str
    blocks: tuple[BlockReport, ...] = ()

    def save(self, folder: Path) -> None:
        """Write it, all or nothing.

        Args:
            folder: Of the output.
        """
        write_text(folder / FOLDER / _FILE, json_text(self))


def journal_of(folder: Path, key: str) -> Journal:
    """The journal in a folder of output, or a new one.

    Args:
        folder: Of the output.
        key: Of what is asked for.

    Raises:
        OutputError: If there is another run's output, finished or not.
        StoreError: If the journal is damaged.
    """
    path = folder / FOLDER / _FILE
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is there and not empty; give a new folder with --out")
        return Journal(key=key)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Journal)
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"cannot read {path}: {error}; remove {folder} and begin again") from error
    if found.key != key:
        raise OutputError(
            f"{folder} holds an unfinished run with another checkpoint, plan, inputs or options; go on with those, or "
            "remove it"
        )
    return found


def key_of(folder: Path, tokens: Tensor, settings: Mapping[str, object]) -> str:
    """What tells runs apart: the checkpoint's files by name, size and time, the tokens, and the options.

    Args:
        folder: The dense checkpoint.
        tokens: Token ids.
        settings: Everything else, encodable.
    """
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    found = hashlib.sha256(msgspec.json.encode([str(folder.resolve()), files, dict(settings)]))
    found.update(str(tuple(tokens.shape)).encode() + tokens.contiguous().numpy().tobytes())
    return found.hexdigest()
