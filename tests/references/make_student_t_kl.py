"""Writes student_t_kl.json: the divergence of shifted Student-t distributions over the whole grid that is promised.

    cd tests && python -m references.make_student_t_kl        # about 40 minutes on one core

Every value comes from the line integral and is confirmed by each series that is feasible there and by the double
integral of the definition (in 2 and 3 dimensions, where that is slow, only if no series is feasible). The script stops
if any of them differs by more than 1e-15 of the value.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any

from mpmath import mp

from references import student_t

DIMS = (1, 2, 3, 10, 100, 10**3, 2 * 10**4, 10**6, 10**8, 10**10)
DFS = (0.5, 1, 2, 4, 30, 1e3, 1e6)
FILE = Path(__file__).with_name("student_t_kl.json")
TOLERANCE = 1e-15


def deltas(dim: int) -> tuple[float, ...]:
    """Distances of the grid, in both their absolute scale and that of the dimension."""
    return (1e-8, 1e-4, 1e-2, 1.0, 10.0, math.sqrt(dim), 100 * math.sqrt(dim), 1e8)


def derivations(dim: int, df: float, delta: float) -> dict[str, Any]:
    """Value of every derivation that is feasible at this point."""
    values = {"line integral": student_t.by_line_integral(dim, df, delta)}
    if delta**2 / df < 3:  # the ratio of successive terms is then below 3/4
        values["power series"] = student_t.by_power_series(dim, df, delta)
    if student_t.mixture_series_terms(df, delta) < 1000:
        values["mixture series"] = student_t.by_mixture_series(dim, df, delta)
    if len(values) == 1 or dim not in (2, 3):  # half a minute each in 2 and 3 dimensions
        values["double integral"] = student_t.by_double_integral(dim, df, delta)
    return values


def entry(dim: int, df: float, delta: float) -> dict[str, object]:
    """One confirmed value of the file."""
    with mp.workdps(25):
        values = derivations(dim, df, delta)
        value = values["line integral"]
        spread = max(student_t.relative_error(other, value) for other in values.values())
        if len(values) < 2 or spread > TOLERANCE:
            raise ArithmeticError(f"derivations differ by {spread} at {dim=} {df=} {delta=}: {values}")
        names, digits = list(values), mp.nstr(value, 20)
        return {
            "dim": dim,
            "df": df,
            "delta": delta,
            "kl": digits,
            "derivations": names,
            "spread": float(f"{spread:.1e}"),
        }


def main() -> None:
    """Compute, print and write the grid."""
    lines = []
    for dim, df in itertools.product(DIMS, DFS):
        for delta in deltas(dim):
            lines.append(json.dumps(entry(dim, df, delta)))
            print(lines[-1], flush=True)
    partial = FILE.with_suffix(".partial")
    partial.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    partial.replace(FILE)


if __name__ == "__main__":
    main()
