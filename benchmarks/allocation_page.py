"""The page of the allocation benchmark: for each network a table a way, accuracy by allocation and level."""

from collections.abc import Callable, Collection, Mapping, Sequence

from allocation_cells import PLANNED, WAYS, Level, cells, first_of, holds, ours, rivals
from allocation_rows import Row

from shrinkscope.analysis.plan.allocations import DATA_FREE

# Of the issue that asked for this: ResNet-20, the same 761 images; random search on the joint KL of 128 inputs.
EARLIER = {"resnet20": {0.5: 91.7, 0.6: 86.6, 0.7: 77.9, 0.8: 63.6}}

_HEAD = """# Which sparsity for which layer

Accuracy in percent after pruning, by who chose the sparsity of each layer. Every allocation removes exactly the same
number of weights. `joint` is `shrinkscope.plan`: it looks at unlabelled inputs that are not among those that judge,
half of them searched on, half to choose among what was found. Where there were several draws of the inputs, of random
moves and of the training, the mean is given with the least and the largest. **Bold**: the first of its column, or so
little behind it that the 95 % interval of their difference holds zero: over the images, on each of which both were
judged, and over the draws where there were several. One draw says nothing of what other training, or other inputs,
would do.

*Planned for compensated weights*: `compensate=True`; *for re-estimated statistics*: `reestimate=True`; *for both*: both
of them. The others are planned for magnitudes and nothing else, in whatever way they are carried out; *without data*
from inputs that are made from what batch norm remembers (`shape=` in place of `inputs=`). `owl`, `alpha_pruning` and
all rivals are the rules of [plans](plan.md#the-allocations) with the constants that their papers recommend.

*Brief training*: 20 steps on 64 images each, none of which judges: one epoch of 1,280 labelled images. EfficientNet-
Lite0 has no others than the 256 that are looked at: five epochs of these, the dense network's predictions in place of
labels.

Written by `python benchmarks/allocation.py NETWORK LEVEL …` from docs/allocation/.
"""


def page(rows: Sequence[Row]) -> str:
    """The page.

    Args:
        rows: As the benchmark keeps them.
    """
    names = dict.fromkeys(row["network"] for row in rows)
    networks = {name: [row for row in rows if row["network"] == name] for name in names}
    sections = [_section(name, of_network) for name, of_network in networks.items()]
    return _HEAD + _targets(networks) + _firsts(networks) + "".join(sections)


def _firsts(networks: Mapping[str, Sequence[Row]]) -> str:
    """How often the search is the first, by network and way, and where it is not."""
    lines = ["\n## First, or within noise of the first\n"]
    lines.append(
        "In how many of the levels `joint`, planned for the way in which it is carried out, is ahead of all rivals, or "
        "within noise of the first of them: the 95 % interval of the difference holds zero. Training moves the "
        "statistics of batch norm, so that before it plans for re-estimated ones are counted. In brackets the levels; "
        "where no plan was made for a way, there is nothing.\n"
    )
    lines += ["| | " + " | ".join(networks) + " |", _rule(networks)]
    behind: list[str] = []
    places = clearly = 0
    for way, title in WAYS.items():
        counted = []
        for network, rows in networks.items():
            label = ours(rows, way)
            held = {level: found for level, found in cells(rows, way).items() if label in found and rivals(found)}
            first = [level for level, found in held.items() if holds(found[label], rivals(found))]
            places, clearly = places + len(held), clearly + len(held) - len(first)
            percents = ", ".join(f"{100 * level:.0f}" for level in first)
            counted.append(f"{len(first)} of {len(held)} ({percents})" if held else "")
            missed = [level for level, found in held.items() if not holds(found[label], rivals(found), 1)]
            behind += [_behind(network, title, level, held[level], label) for level in missed]
        lines.append(f"| {title} | " + " | ".join(counted) + " |")
    if behind:
        lines.append(
            f"\nOf {places} places it is behind by more than 1.96 standard errors in {clearly}; if all allocations "
            f"were equal, {places * 0.025:.0f} would be by chance, and more because the first of several is chosen by "
            "what it reached. Wherever it is behind by more than one standard error, with that error; **bold** those "
            f"{clearly}:\n"
        )
        lines += [
            "| network | way | level | joint | first rival | behind by |",
            "|---|---|---:|---:|---|---:|",
            *behind,
        ]
    return "\n".join(lines) + "\n"


def _behind(network: str, title: str, level: float, found: Level, label: str) -> str:
    first = first_of(rivals(found))
    points, error = found[label].behind(found[first])
    told = f"{points:.2f} ± {error:.2f}"
    return (
        f"| {network} | {title} | {100 * level:.0f} % | {found[label].mean:.2f} | {found[first].mean:.2f} ({first}) "
        f"| {told if holds(found[label], rivals(found)) else f'**{told}**'} |"
    )


def _targets(networks: Mapping[str, Sequence[Row]]) -> str:
    """By how much the search is ahead of the best other allocation, lowest magnitudes going; and without data."""
    lines = ["\n## Ahead of the best rival\n"]
    lines.append(
        "`joint` minus the best other allocation at that level, points of accuracy, lowest magnitudes going:\n"
    )
    lines += _leads(networks, "joint", rivals)
    without = "joint" + PLANNED["without data"]
    lines.append(
        "\nThe same without a single input, from what batch norm remembers, minus the best of those that look at no "
        f"data ({', '.join(f'`{name}`' for name in DATA_FREE)}):\n"
    )
    lines += _leads(networks, without, lambda level: {name: level[name] for name in DATA_FREE if name in level})
    return "\n".join(lines) + "\n"


def _leads(networks: Mapping[str, Sequence[Row]], label: str, others: Callable[[Level], Level]) -> list[str]:
    """A row a network that has the label: by how much that is ahead of the best of others, by level."""
    levels = sorted({row["level"] for rows in networks.values() for row in rows})
    lines = ["| network | " + " | ".join(f"{100 * level:.0f} %" for level in levels) + " |", _rule(levels)]
    for name, rows in networks.items():
        of_magnitudes = [row for row in rows if row["for"] in ("magnitude", "without data")]
        found = cells(of_magnitudes, "magnitude")
        if any(label in level for level in found.values()):
            shown = [_ahead(found.get(level, {}), label, others) for level in levels]
            lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return lines


def _ahead(found: Level, label: str, others: Callable[[Level], Level]) -> str:
    compared = others(found)
    if not compared or label not in found:
        return ""
    points, error = compared[first_of(compared)].behind(found[label])
    return f"{points:+.1f} ± {error:.1f}"


def _section(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    lines = [f"\n## {name}\n", f"{first['images']:,} test images; dense {first['dense']:.1f} %."]
    for way, title in WAYS.items():
        found = cells(rows, way)
        if found:
            lines += [f"\n{title}:\n", *_table(found, EARLIER.get(name, {}) if way == "magnitude" else {})]
    cost = [row for row in rows if row["allocation"] == "joint" and row["for"] != "without data"]
    if cost:
        passes = _mean([row["forward_equivalents"] for row in cost])
        seconds = _mean([row["seconds"] for row in cost])
        lines.append(
            f"\n`joint` looked at {first['inputs']} inputs and took, on average, {passes:,.0f} passes of the network "
            f"over one input ({passes / 10_000:.1f} evaluations of 10,000 images) and {seconds:.0f} s on one thread of "
            "a busy machine."
        )
    return "\n".join(lines) + "\n"


def _table(found: Mapping[float, Level], earlier: dict[float, float]) -> list[str]:
    lines = ["| allocation | " + " | ".join(f"{100 * level:.0f} %" for level in found) + " |", _rule(found)]
    for allocation in dict.fromkeys(label for level in found.values() for label in level):
        shown = [_cell(level, allocation) for level in found.values()]
        lines.append(f"| {allocation} | " + " | ".join(shown) + " |")
    if earlier:
        shown = [f"{earlier[level]:.1f}" if level in earlier else "" for level in found]
        lines.append("| random search on the joint KL, as reported earlier | " + " | ".join(shown) + " |")
    return lines


def _rule(columns: Collection[object]) -> str:
    return "|---|" + "---:|" * len(columns)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _cell(level: Level, allocation: str) -> str:
    if allocation not in level:
        return ""
    cell = level[allocation]
    shown = f"**{cell.mean:.1f}**" if holds(cell, level) else f"{cell.mean:.1f}"
    draws = cell.accuracies
    return shown if len(draws) == 1 else f"{shown} ({min(draws):.1f}–{max(draws):.1f})"
