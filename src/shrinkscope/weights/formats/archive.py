"""Zip archives, the containers of .npz and .pt: where the bytes of a stored member lie."""

import struct
import zipfile
from typing import IO

from shrinkscope.weights.formats.checks import shown
from shrinkscope.weights.remote.path import AnyPath, RemotePath

_LOCAL_HEADER = 30
_DESCRIBED = 8  # the flag of members whose sizes follow behind them
_32_BITS = 0xFFFFFFFF


def archive_of(path: AnyPath) -> zipfile.ZipFile:
    """A zip archive; its members keep it open as long as they are.

    Args:
        path: The archive.
    """
    # zipfile opens, shares and closes the file behind a path itself; what reads ranges has nothing to close.
    return zipfile.ZipFile(path.open("rb") if isinstance(path, RemotePath) else path)


def member_ends(archive: zipfile.ZipFile) -> dict[str, int]:
    """Where the bytes of each member end, when the archive has no gaps: before the next one, or its data descriptor.

    Args:
        archive: The archive, of which only the directory is looked at.
    """
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    following = [*(info.header_offset for info in members[1:]), archive.start_dir]
    return {
        info.filename: end - (_descriptor(info) if info.flag_bits & _DESCRIBED and info.file_size else 0)
        for info, end in zip(members, following, strict=True)
    }


def _descriptor(info: zipfile.ZipInfo) -> int:
    """Bytes of a data descriptor: of 64 bits where the member's sizes or place need it, as PyTorch writes them."""
    return 24 if max(info.header_offset, info.file_size, info.compress_size) >= _32_BITS else 16


def data_offset(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: behind its local header, whose length the archive's directory does not tell.

    Args:
        file: The archive.
        info: The member, as the directory describes it.

    Raises:
        EOFError: If the member ends beyond the file.
    """
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) != _LOCAL_HEADER:
        raise EOFError(f"{shown(info.filename)} begins beyond the file")
    name, extra = struct.unpack("<HH", header[26:])
    begin = info.header_offset + _LOCAL_HEADER + name + extra
    if begin + info.compress_size > file.seek(0, 2):
        raise EOFError(f"{shown(info.filename)} ends beyond the file")
    return begin
