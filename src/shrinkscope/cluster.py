"""A Ray cluster for the length of a block: the one that is joined already, one by its address, or one started here."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from shrinkscope.errors import ClusterError

LOCAL = "local"
"""The address that starts a cluster on this machine, which ends with the block."""

RETRIES = 2
"""How often a task is carried out again when its worker dies."""

_OBJECTS = 256 << 20  # bytes of the object store of a cluster that is started: only plans and sums travel
_PATIENCE = 5.0  # seconds


@contextmanager
def joined(address: str, workers: int) -> Iterator[Any]:
    """Be part of a Ray cluster within a block; its workers import what this process would import.

    Args:
        address: Of the cluster, such as ``HOST:6379``, ``ray://HOST:10001`` or ``auto``; ``local`` starts one on this
            machine. A process that has joined a cluster before stays with it, whatever the address.
        workers: Processes of a cluster that is started, one core each.

    Yields:
        The module ray.

    Raises:
        ClusterError: If ray is not installed, or the cluster cannot be joined or started.
    """
    ray = imported()
    if ray.is_initialized():
        yield ray
        return
    try:
        try:
            _start(ray, workers) if address == LOCAL else _join(ray, address)
        except (OSError, RuntimeError, ValueError, AssertionError) as error:
            raise ClusterError(f"cannot join the Ray cluster {address}: {said(error)}") from error
        yield ray
    finally:
        ray.shutdown()


def imported() -> Any:
    """The module ray.

    Raises:
        ClusterError: If it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ClusterError(f"ray cannot be imported ({error}); pip install 'shrinkscope[ray]'") from error
    return ray


def said(error: BaseException) -> str:
    """What an error of Ray says, in one line: the last one, since those before are a worker's traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _start(ray: Any, workers: int) -> None:
    # Its processes inherit the environment; a runtime environment would have every worker started twice. Ray sends
    # figures of its use to its makers unless told otherwise.
    wanted = _environment() | {"RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ |= wanted
    try:
        settings = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init(address=LOCAL, num_cpus=workers, object_store_memory=_OBJECTS, **settings)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _join(ray: Any, address: str) -> None:
    _require_listener(address)
    environment = {"env_vars": _environment()}
    ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)


def _require_listener(address: str) -> None:
    """Ray itself would try for many minutes to reach a cluster that is not there."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname is not None and place.port is not None:
        socket.create_connection((place.hostname, place.port), timeout=_PATIENCE).close()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  # "" is the working directory
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
