"""A plan in the terminal: its table of layers, the trade-off, and its summary."""

from rich.console import Console
from rich.table import Table

from shrinkscope.analysis.plan import Plan, PlanPoint


def print_plan(plan: Plan, *, console: Console | None = None) -> None:
    """Print a plan.

    Args:
        plan: The plan.
        console: Where to; standard output by default.
    """
    console = console or Console()
    console.print(_layers(plan))
    if plan.curve:
        console.print(_curve(plan))
    console.print(plan.summary(), highlight=False, markup=False)


def _layers(plan: Plan) -> Table:
    if plan.settings.method == "bits":
        return _bits(plan)
    if plan.settings.method != "unstructured":
        return _choices(plan)
    table = Table(title="How much of each layer to remove", title_justify="left")
    table.add_column("layer", overflow="fold")
    for heading in ("weights", "kept", "removed %", "as well %", "KL alone", "share %"):
        table.add_column(heading, justify="right")
    for row in plan.rows:
        range_ = None if row.lower is None or row.upper is None else f"{100 * row.lower:.0f}–{100 * row.upper:.0f}"
        table.add_row(
            row.layer,
            f"{row.weights:,}",
            f"{row.kept:,}",
            f"{100 * row.level:.1f}",
            range_ or "",
            "" if row.cost_alone is None else f"{row.cost_alone:.3g}",
            "" if row.share is None else f"{100 * row.share:.1f}",
        )
    return table


def _bits(plan: Plan) -> Table:
    table = Table(title="How many bits the weights of each layer get", title_justify="left")
    table.add_column("layer", overflow="fold")
    for heading in ("weights", "bits", "KL alone", "share %"):
        table.add_column(heading, justify="right")
    for row in plan.rows:
        table.add_row(
            row.layer,
            f"{row.weights:,}",
            "as it is" if row.bits is None else str(row.bits),
            "" if row.cost_alone is None else f"{row.cost_alone:.3g}",
            "" if row.share is None else f"{100 * row.share:.1f}",
        )
    return table


def _choices(plan: Plan) -> Table:
    table = Table(title="What is done to each layer", title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("weights", justify="right")
    table.add_column("choice")
    table.add_column("as well", overflow="fold")
    for heading in ("KL alone", "share %"):
        table.add_column(heading, justify="right")
    for row in plan.rows:
        table.add_row(
            row.layer,
            f"{row.weights:,}",
            row.choice,
            "; ".join(row.near),
            "" if row.cost_alone is None else f"{row.cost_alone:.3g}",
            "" if row.share is None else f"{100 * row.share:.1f}",
        )
    return table


def _curve(plan: Plan) -> Table:
    table = Table(title="The same plan, milder and harsher", title_justify="left")
    first = "sparsity %" if plan.settings.method == "unstructured" else "bytes"
    for heading in (first, "KL", "± s.e.", "changed classes %"):
        table.add_column(heading, justify="right")
    for point in plan.curve:
        table.add_row(*_point(point))
    return table


def _point(point: PlanPoint) -> tuple[str, str, str, str]:
    error, share = point.kl.standard_error, point.disagreement
    return (
        f"{100 * point.sparsity:.1f}" if point.size is None else f"{point.size:,}",
        f"{point.kl.value:.3g}",
        "" if error is None else f"{error:.2g}",
        "" if share is None else f"{100 * share.value:.1f}",
    )
