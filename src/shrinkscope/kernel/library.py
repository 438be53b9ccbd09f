"""The kernel's shared library: loaded once, or the reason why not."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Literal

from shrinkscope.kernel.build import LIBRARY

InstructionSet = Literal["generic", "avx2", "avx512", "avx512bf16"]

PATHS: dict[InstructionSet, int] = {"generic": 1, "avx2": 2, "avx512": 3, "avx512bf16": 4}
"""Numbers of the instruction sets in kernel.h."""

_ABI = 1


class Sums(ctypes.Structure):
    """``struct sums`` of kernel.h."""

    _fields_ = (
        *(
            (name, ctypes.c_uint64)
            for name in (
                "zeros_dense",
                "zeros_compressed",
                "zeros_both",
                "changed",
                "bits_differ",
                "nonfinite_dense",
                "nonfinite_compressed",
                "careful_blocks",
            )
        ),
        *(
            (name, ctypes.c_double)
            for name in ("square_dense", "square_compressed", "square_delta", "product", "largest_delta")
        ),
    )


@cache
def loaded() -> ctypes.CDLL | str:
    """The library, or one sentence that says why there is none."""
    path = Path(__file__).with_name(LIBRARY)
    if not path.exists():
        return (
            "the C kernel was not built when shrinkscope was installed (was there a C compiler?): PyTorch takes the "
            "sums, several times slower; install gcc or clang, then shrinkscope again"
        )
    try:
        library = ctypes.CDLL(str(path))
        if library.shrinkscope_abi() != _ABI:
            return "the C kernel is of another version of shrinkscope: PyTorch takes the sums; install it again"
    except (OSError, AttributeError) as error:
        return f"the C kernel cannot be loaded ({error}): PyTorch takes the sums; install shrinkscope again"
    return _declared(library)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, count, integer = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    library.shrinkscope_pair_sums.argtypes = (pointer, pointer, count, integer, integer, integer, ctypes.POINTER(Sums))
    library.shrinkscope_read.argtypes = (pointer, pointer, count, integer)
    library.shrinkscope_read.restype = ctypes.c_uint64
    library.shrinkscope_distinct.argtypes = (pointer, count, integer, pointer, ctypes.c_int64)
    library.shrinkscope_distinct.restype = ctypes.c_int64
    library.shrinkscope_most_in_groups.argtypes = (pointer, count, integer, pointer)
    library.shrinkscope_most_in_groups.restype = None
    return library


def available() -> InstructionSet | None:
    """The best instruction set of this processor that the kernel was built for; None where there is no kernel."""
    library = loaded()
    if isinstance(library, str):
        return None
    best = library.shrinkscope_best_path()
    return next(name for name, number in PATHS.items() if number == best)


def why_not() -> str:
    """One sentence that says why there is no kernel, and what to do; empty where there is one."""
    library = loaded()
    return library if isinstance(library, str) else ""
