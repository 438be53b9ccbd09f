"""A plan in the terminal: its table of layers, the trade-off, and its summary."""

from collections.abc import Sequence

from rich.console import Console

from shrinkscope.analysis.plan import Plan, PlanGroup, PlanPoint, PlanRow
from shrinkscope.analysis.plan.parts import DENSE
from shrinkscope.report.output import WIDEST, standard_output
from shrinkscope.report.sheet import Cell, Column, Sheet, quantity_cell, value, whole, words
from shrinkscope.report.terminal import print_sheet

_LAYER = Column(title="layer", numeric=False)
_WEIGHTS = Column(title="weights", priority=1)
_ALONE = Column(
    title="KL alone",
    unit="nats",
    status="estimate",
    meaning="Divergence of the predictions when this layer alone is compressed so.",
)
_SHARE = Column(
    title="share",
    unit="%",
    status="estimate",
    meaning="Share of the damage: what the joint KL falls by when this layer is left as it is.",
)
_AS_WELL = "Moves the joint KL by less than its standard error, to first order, the other layers as planned."
_KL = Column(title="KL", unit="nats", status="estimate", meaning="Joint divergence, with its standard error.")
_CHANGED = Column(
    title="changed classes", unit="%", status="estimate", meaning="Share of the inputs whose predicted class changes."
)


def print_plan(plan: Plan, *, console: Console | None = None) -> None:
    """Print a plan.

    Args:
        plan: The plan.
        console: Where to; standard output by default.
    """
    console = standard_output(console)
    print_sheet(plan_sheet(plan), console)
    if plan.curve:
        print_sheet(curve_sheet(plan), console)
    for line in plan.summary().splitlines():
        console.print(line, width=min(console.width, WIDEST), markup=False)


def plan_sheet(plan: Plan) -> Sheet:
    """The layers in the order of the network, and what becomes of each.

    Args:
        plan: The plan.
    """
    if plan.groups:
        return _groups_sheet(plan.groups)
    make = {"unstructured": _removed, "bits": _bits}.get(plan.settings.method, _choices)
    title, columns, cells = make(plan.rows)
    rows = tuple(
        (words(row.layer), whole(row.weights), *own, value(row.cost_alone), value(row.share, "percent"))
        for row, own in zip(plan.rows, cells, strict=True)
    )
    return Sheet(title=title, columns=(_LAYER, _WEIGHTS, *columns, _ALONE, _SHARE), rows=rows)


def _groups_sheet(groups: Sequence[PlanGroup]) -> Sheet:
    columns = (
        Column(title="first layer", numeric=False),
        Column(title="layers", priority=2, meaning="How many layers make these channels, and lose them together."),
        Column(title="channels", priority=1),
        Column(title="removed", status="exact", meaning="How many of them go, with all that reads them."),
        Column(title="as well", numeric=False, status="estimate", meaning=_AS_WELL, priority=3),
        _ALONE,
        _SHARE,
    )
    rows = tuple(
        (
            words(group.name),
            whole(len(group.layers)),
            whole(group.channels),
            whole(group.removed),
            words("; ".join(group.near)),
            value(group.cost_alone),
            value(group.share, "percent"),
        )
        for group in groups
    )
    return Sheet(title="How many channels of each group to remove", columns=columns, rows=rows)


def curve_sheet(plan: Plan) -> Sheet:
    """The same plan, milder and harsher.

    Args:
        plan: The plan.
    """
    sparse = plan.settings.method == "unstructured"
    first = Column(title="removed", unit="%") if sparse else Column(title="size", unit="bytes")
    rows = tuple((_size(point), quantity_cell(point.kl), _share(point)) for point in plan.curve)
    return Sheet(title="The same plan, milder and harsher", columns=(first, _KL, _CHANGED), rows=rows)


_Cells = tuple[str, tuple[Column, ...], list[tuple[Cell, ...]]]


def _removed(rows: Sequence[PlanRow]) -> _Cells:
    columns = (
        Column(title="kept", priority=2),
        Column(title="removed", unit="%", status="exact", meaning="Share of the layer's weights that go."),
        Column(title="as well", unit="%", status="estimate", meaning=_AS_WELL, numeric=True),
    )
    cells = [(whole(row.kept), value(row.level, "percent"), _range(row)) for row in rows]
    return "How much of each layer to remove", columns, cells


def _bits(rows: Sequence[PlanRow]) -> _Cells:
    columns = (
        Column(title="bits"),
        Column(title="as well", numeric=False, status="estimate", meaning=_AS_WELL, priority=3),
    )
    cells = [(words(DENSE) if row.bits is None else whole(row.bits), words("; ".join(row.near))) for row in rows]
    return "How many bits the weights of each layer get", columns, cells


def _choices(rows: Sequence[PlanRow]) -> _Cells:
    columns = (
        Column(title="choice", numeric=False),
        Column(title="as well", numeric=False, status="estimate", meaning=_AS_WELL, priority=3),
    )
    return "What is done to each layer", columns, [(words(row.choice), words("; ".join(row.near))) for row in rows]


def _range(row: PlanRow) -> Cell:
    if row.lower is None or row.upper is None:
        return value(None)
    return Cell(f"{100 * row.lower:.0f}–{100 * row.upper:.0f}", row.lower)


def _size(point: PlanPoint) -> Cell:
    return value(point.sparsity, "percent") if point.size is None else whole(point.size)


def _share(point: PlanPoint) -> Cell:
    return value(None if point.disagreement is None else point.disagreement.value, "percent")
