"""The page of the allocation benchmark: for each network a table a way, accuracy by allocation and level."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]

# Of the issue that asked for this: ResNet-20, the same 761 images; random search on the joint KL of 128 inputs.
EARLIER = {"resnet20": {0.5: 91.7, 0.6: 86.6, 0.7: 77.9, 0.8: 63.6}}

PLANNED = {
    "magnitude": "",
    "compensated": ", planned for compensated weights",
    "reestimated": ", planned for re-estimated statistics",
    "compensated-reestimated": ", planned for both",
}

_WAYS = {
    "magnitude": "The lowest magnitudes go, nothing else changes",
    "compensated": "Those weights go that the others can make up for, and these do",
    "magnitude, re-estimated": "The lowest magnitudes go; batch norm's statistics re-estimated from the inputs",
    "compensated, re-estimated": "The others make up for what goes; batch norm's statistics re-estimated",
    "magnitude, trained": "The lowest magnitudes go; then one epoch of training on 1,280 images",
    "compensated, trained": "The others make up for what goes; then one epoch of training on 1,280 images",
}

# What `joint` is planned for where its result is used in this way.
_PURPOSES = {
    "magnitude": "magnitude",
    "compensated": "compensated",
    "magnitude, re-estimated": "reestimated",
    "compensated, re-estimated": "compensated-reestimated",
    "magnitude, trained": "magnitude",
    "compensated, trained": "compensated",
}

_HEAD = """# Which sparsity for which layer

Accuracy in percent after pruning, by who chose the sparsity of each layer. Every allocation removes exactly the same
number of weights. `joint` is `shrinkscope.plan`: it looks at unlabelled inputs that are not among those that judge,
half of them searched on, half to choose among what was found. Where there were several draws of the inputs and of
random moves, the mean is given with the least and the largest. **Bold**: the first of its column, or no more below it
than one standard error of the difference of two accuracies that agree on nine images of ten, √(0.1/images).

*Planned for compensated weights*: `compensate=True`; *for re-estimated statistics*: `reestimate=True`; *for both*: both
of them. The others are planned for magnitudes and nothing else, in whatever way they are carried out. `owl`,
`alpha_pruning` and all rivals are the rules of [plans](plan.md#the-allocations) with the constants that their papers
recommend.

Written by `python benchmarks/allocation.py NETWORK LEVEL …` from docs/allocation/.
"""


def page(rows: Sequence[Row]) -> str:
    """The page.

    Args:
        rows: As the benchmark keeps them.
    """
    networks = dict.fromkeys(row["network"] for row in rows)
    sections = [_section(name, [row for row in rows if row["network"] == name]) for name in networks]
    return _HEAD + _targets(rows) + _firsts(rows) + "".join(sections)


def _firsts(rows: Sequence[Row]) -> str:
    """How often the search is the first, by network and way."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    lines = ["\n## First, or within noise of the first\n"]
    lines.append(
        "In how many of the levels `joint` is bold below, planned for the way in which it is carried out (for "
        "training: as without it); in brackets the levels. Where no plan was made for a way, there is nothing.\n"
    )
    lines += ["| | " + " | ".join(networks) + " |", _rule(networks)]
    for way, title in _WAYS.items():
        cells = []
        for network in networks:
            of_way = [row for row in rows if row["network"] == network and way in row["accuracy"]]
            held = {row["level"] for row in of_way if (row["allocation"], row["for"]) == ("joint", _PURPOSES[way])}
            first = [level for level in sorted(held) if _is_first([r for r in of_way if r["level"] == level], way)]
            percents = ", ".join(f"{100 * level:.0f}" for level in first)
            cells.append(f"{len(first)} of {len(held)} ({percents})" if held else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _is_first(rows: Sequence[Row], way: str) -> bool:
    found = {
        key: _mean(v) for key, of in _by_allocation(rows, lambda r: r["accuracy"][way]).items() for v in of.values()
    }
    return found["joint" + PLANNED[_PURPOSES[way]]] >= max(found.values()) - _noise(rows)


def _noise(rows: Sequence[Row]) -> float:
    """A standard error of the difference of two accuracies, in points."""
    return 100 * (0.1 / rows[0]["images"]) ** 0.5


def _targets(rows: Sequence[Row]) -> str:
    """By how much the search is ahead of the best other allocation, lowest magnitudes going."""
    lines = ["\n## Ahead of the best rival\n"]
    lines.append(
        "`joint` minus the best other allocation at that level, points of accuracy, lowest magnitudes going:\n"
    )
    levels = sorted({row["level"] for row in rows})
    lines += ["| network | " + " | ".join(f"{100 * level:.0f} %" for level in levels) + " |", _rule(levels)]
    for name in dict.fromkeys(row["network"] for row in rows):
        found = _by_allocation([row for row in rows if row["network"] == name and row["for"] == "magnitude"], _plain)
        cells = []
        for level in levels:
            means = {key: _mean(values[level]) for key, values in found.items() if values[level]}
            mine = means.pop("joint", None)
            cells.append("" if mine is None or not means else f"{mine - max(means.values()):+.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _section(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    lines = [f"\n## {name}\n", f"{first['images']:,} test images; dense {first['dense']:.1f} %."]
    for way, title in _WAYS.items():
        of_way = [row for row in rows if way in row["accuracy"]]
        if of_way:
            lines += [f"\n{title}:\n", *_table(of_way, way, EARLIER.get(name, {}) if way == "magnitude" else {})]
    cost = [row for row in rows if row["allocation"] == "joint"]
    if cost:
        passes = _mean([row["forward_equivalents"] for row in cost])
        seconds = _mean([row["seconds"] for row in cost])
        lines.append(
            f"\n`joint` looked at {first['inputs']} inputs and took, on average, {passes:,.0f} passes of the network "
            f"over one input and {seconds:.0f} s on one thread of a busy machine."
        )
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], way: str, earlier: dict[float, float]) -> list[str]:
    levels = sorted({row["level"] for row in rows})
    found = _by_allocation(rows, lambda row: row["accuracy"][way])
    noise = _noise(rows)
    best = {level: max(_mean(values[level]) for values in found.values() if values[level]) for level in levels}
    lines = ["| allocation | " + " | ".join(f"{100 * level:.0f} %" for level in levels) + " |", _rule(levels)]
    for allocation, values in found.items():
        cells = [_cell(values[level], best[level] - noise) for level in levels]
        lines.append(f"| {allocation} | " + " | ".join(cells) + " |")
    if earlier:
        cells = [f"{earlier[level]:.1f}" if level in earlier else "" for level in levels]
        lines.append("| random search on the joint KL, as reported earlier | " + " | ".join(cells) + " |")
    return lines


def _by_allocation(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[str, dict[float, list[float]]]:
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        label = row["allocation"] + PLANNED[row["for"]]
        found[label][row["level"]].append(value(row))
    return found


def _plain(row: Row) -> float:
    return row["accuracy"]["magnitude"]


def _rule(levels: Sequence[float]) -> str:
    return "|---|" + "---:|" * len(levels)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _cell(values: Sequence[float], bold_from: float) -> str:
    if not values:
        return ""
    mean = _mean(values)
    shown = f"**{mean:.1f}**" if mean >= bold_from else f"{mean:.1f}"
    return shown if len(values) == 1 else f"{shown} ({min(values):.1f}–{max(values):.1f})"
