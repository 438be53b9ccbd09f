"""How much memory a computation will take and how much there is, told before it is asked for."""

import os
from pathlib import Path

import torch

from shrinkscope.errors import CurvatureError

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_STEPS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def available_bytes(device: torch.device | str = "cpu") -> int | None:
    """Bytes that can be allocated now without swapping.

    Args:
        device: Where: the machine's memory for the CPU, that of the card for CUDA.

    Returns:
        The number, within the limit of the container where there is one; None where the system does not tell.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    known = [number for number in (_machine(), _container()) if number is not None]
    return min(known) if known else None


def check_memory(what: str, needed: int, limit: int | None, device: torch.device | str, advice: str) -> None:
    """Refuse a computation that does not fit, before it starts.

    Args:
        what: What needs the memory, with its sizes.
        needed: Bytes it will take.
        limit: Bytes it may take; what is available on the device when None.
        device: Where it will be.
        advice: What makes it smaller.

    Raises:
        CurvatureError: If it needs more.
    """
    allowed = available_bytes(device) if limit is None else limit
    if allowed is not None and needed > allowed:
        source = f"available on {device}" if limit is None else "allowed by memory_limit"
        raise CurvatureError(
            f"{what} needs about {needed:,} bytes ({readable(needed)}) and {allowed:,} bytes ({readable(allowed)}) are "
            f"{source}; {advice}"
        )


def readable(number: int) -> str:
    """A number of bytes with a binary prefix: 1536 → ``"1.5 KiB"``."""
    for size, prefix in _STEPS:
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number} B"


def _machine() -> int | None:
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container() -> int | None:
    """What a container's limit leaves (control groups, version 2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        return None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return None
