"""The page of the allocation benchmark: a table a network, accuracy by allocation and level."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Of the issue that asked for this: ResNet-20, the same 761 images; random search on the joint KL of 128 inputs.
EARLIER = {"resnet20": {0.5: 91.7, 0.6: 86.6, 0.7: 77.9, 0.8: 63.6}}

_WAYS = {
    "re-estimated": "lowest magnitudes, batch norm's statistics re-estimated from the {inputs} unlabelled inputs",
    "compensated": "but of those weights that the others can make up for, which they do (`CompensatedPruning`, "
    "input moments of the {inputs} unlabelled inputs)",
    "compensated, re-estimated": "both",
}

_HEAD = """# Which sparsity for which layer

Accuracy in percent after one-shot pruning of the lowest magnitudes of each layer, no fine-tuning, no re-estimation of
batch norm, unless the table says so. Every allocation removes exactly the same number of weights. `joint` looks at
unlabelled inputs that are not among those that judge: half of them searched on, half to choose among what was found.
*For compensated weights*: planned with `compensate=True` and carried out so: the kept weights make up for the others.

Written by `python benchmarks/allocation.py NETWORK LEVEL …` from docs/allocation.json.
"""


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The page.

    Args:
        rows: As the benchmark keeps them.
    """
    networks = dict.fromkeys(row["network"] for row in rows)
    return _HEAD + "".join(_section(name, [row for row in rows if row["network"] == name]) for name in networks)


def _section(name: str, rows: Sequence[dict[str, Any]]) -> str:
    first = rows[0]
    lines = [f"\n## {name}\n", f"{first['images']} test images; dense {first['dense']:.1f} %.\n"]
    lines += _table(rows, lambda row: row["accuracy"], EARLIER.get(name, {}))
    cost = [row for row in rows if row["allocation"] == "joint"]
    if cost:
        passes = sum(row["forward_equivalents"] for row in cost) / len(cost)
        seconds = sum(row["seconds"] for row in cost) / len(cost)
        lines.append(
            f"\n`joint`: {len({row['seed'] for row in cost})} seed(s), on {first['inputs']} inputs, on average "
            f"{passes:,.0f} passes of the network over one input and {seconds:.0f} s on one thread of a busy machine."
        )
    other = [row for row in rows if "within" in row]
    for way in other[0]["within"] if other else ():
        lines += [f"\nThe same numbers, {_WAYS[way].format(inputs=first['inputs'])}:\n"]
        lines += _table(other, lambda row, way=way: row["within"][way], {})
    return "\n".join(lines) + "\n"


def _table(
    rows: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float], earlier: Mapping[float, float]
) -> list[str]:
    levels = sorted({row["level"] for row in rows})
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["allocation"]][row["level"]].append(value(row))
    lines = ["| allocation | " + " | ".join(f"{100 * level:.0f} %" for level in levels) + " |"]
    lines += ["|---|" + "---:|" * len(levels)]
    for allocation, by_level in found.items():
        lines.append(f"| {allocation} | " + " | ".join(_cell(by_level.get(level, [])) for level in levels) + " |")
    if earlier:
        cells = [f"{earlier[level]:.1f}" if level in earlier else "" for level in levels]
        lines.append("| random search on the joint KL, as reported earlier | " + " | ".join(cells) + " |")
    return lines


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = sum(values) / len(values)
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ({min(values):.1f}–{max(values):.1f})"
