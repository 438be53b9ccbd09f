"""Compiling the kernel: run by the build hook when the package is installed, or by hand after a change of the C code.

    python src/shrinkscope/kernel/build.py

Imports the standard library alone, as the build hook runs it before anything is installed.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARY = "_kernel.so"
"""The same name everywhere: ctypes loads a shared library whatever it is called."""

_SOURCES = ("kernel.c", "values.c")
# -ffp-contract=fast lets a multiplication and an addition become one operation, which rounds once instead of twice.
_OPTIONS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=fast", "-Wno-psabi")


def build(folder: Path) -> str | None:
    """Compile the kernel in the folder of its sources.

    Args:
        folder: Where the sources are and the library goes; an older library is replaced, or removed on failure.

    Returns:
        None, or one line that says why there is no library: it is an optimisation, and nothing fails without it.
    """
    library = folder / LIBRARY
    reasons = []
    for compiler in _compilers():
        reason = _compile(compiler, folder, library)
        if reason is None:
            return None
        reasons.append(f"{shlex.join(compiler)}: {reason}")
    library.unlink(missing_ok=True)
    return "; ".join(reasons) or "no C compiler (cc, gcc or clang) was found"


def _compilers() -> list[list[str]]:
    # A compiler that was asked for is the only one that is tried.
    asked = os.environ.get("CC")
    if asked:
        return [shlex.split(asked)]
    return [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]


def _compile(compiler: list[str], folder: Path, library: Path) -> str | None:
    handle, name = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    temporary = Path(name)
    command = [*compiler, *_OPTIONS, *(str(folder / source) for source in _SOURCES), "-lm", "-o", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        if not temporary.stat().st_size:
            return "it wrote nothing"
        temporary.chmod(0o755)
        # A rename: a process that has the older library loaded keeps it.
        temporary.replace(library)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    else:
        return None
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    failure = build(Path(__file__).parent)
    print(failure or f"built {Path(__file__).with_name(LIBRARY)}")
    sys.exit(failure is not None)
