"""Where numbers come from: the versions and the machine behind them, and the run that these make with a study."""

import datetime
import hashlib
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path

import msgspec

from shrinkscope.experiments.config import Study, encode, identity
from shrinkscope.experiments.store import Run
from shrinkscope.version import version

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def new_run(study: Study, ingredients: Mapping[str, str] | None = None, device: str = "cpu") -> Run:
    """The run of a study with what is installed here; the same key for the same study, ingredients and versions.

    Args:
        study: The study.
        ingredients: What else the numbers depend on: digests of the data and of the weights to start from.
        device: ``cpu`` or ``cuda``; named in the hardware, and no part of the key.

    Returns:
        The run, starting now. Its key is the head of a hash, 12 hexadecimal digits.
    """
    config_hash = identity(study)
    versions = msgspec.json.encode(_versions() | dict(ingredients or {}), order="sorted").decode()
    return Run(
        run=hashlib.sha256(f"{config_hash} {versions}".encode()).hexdigest()[:12],
        config_hash=config_hash,
        config=encode(study),
        versions=versions,
        seed=study.seed,
        hardware=hardware(device),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _versions() -> dict[str, str]:
    packages = {package: installed(package) for package in _PACKAGES}
    return {"shrinkscope": version(), "python": platform.python_version()} | packages


def hardware(device: str = "cpu") -> str:
    """The machine in words: processor, cores, system, and the GPU that is computed on.

    Args:
        device: ``cpu`` or ``cuda``.
    """
    if device == "cuda":
        import torch

        return f"{torch.cuda.get_device_name()}, {_processor()}, {os.cpu_count()} cores, {platform.system()}"
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")
