"""Zip archives, the containers of .npz and .pt: where the bytes of a stored member lie."""

import struct
import zipfile
from typing import IO

from shrinkscope.weights.formats.checks import shown

_LOCAL_HEADER = 30


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
