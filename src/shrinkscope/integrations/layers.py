"""What the exports have in common: the layers of a plan as modules, and what a tool cannot be told."""

from collections.abc import Sequence

from shrinkscope.analysis.plan import Plan, PlanRow
from shrinkscope.compression.checks import listing
from shrinkscope.errors import IntegrationError
from shrinkscope.version import version


def pruned_rows(plan: Plan) -> list[PlanRow]:
    """The rows of a plan that remove something.

    Args:
        plan: The plan.

    Raises:
        IntegrationError: If there are none, or the plan is not one of weights that go one by one.
    """
    if plan.settings.method not in ("bits", "unstructured"):
        raise IntegrationError(
            f"the plan is one of {plan.settings.method}: what is exported is pruning of single weights; apply it, or "
            "prune writes it"
        )
    rows = [row for row in plan.rows if row.removed]
    if not rows:
        if plan.settings.method == "bits":
            raise IntegrationError("the plan is one of bits: what is exported is pruning; apply it, or prune writes it")
        raise IntegrationError("the plan removes nothing: there is nothing to export")
    return rows


def pruned_modules(plan: Plan, tool: str) -> dict[str, float]:
    """The modules that a plan prunes, with the fraction of their weights that goes; none that it leaves dense.

    Args:
        plan: The plan.
        tool: Name of the tool, for the message.

    Returns:
        Name of the module → level, in (0, 1].

    Raises:
        IntegrationError: If a layer is not the ``weight`` of a module, or nothing is pruned.
    """
    rows = pruned_rows(plan)
    unnamed = [row.layer for row in rows if row.layer.rpartition(".")[2] != "weight"]
    if unnamed:
        raise IntegrationError(
            f"{tool} prunes the weight of a module, and the plan prunes {listing(unnamed)}; plan without it: keep=…"
        )
    return {row.layer.removesuffix("weight").removesuffix("."): row.level for row in rows}


def title(plan: Plan) -> str:
    """One line that says what a file was made from.

    Args:
        plan: The plan.
    """
    return (
        f"Written by shrinkscope {version()} from a plan ({plan.settings.allocation}): "
        f"{100 * plan.sparsity:.1f} % of {plan.weights:,} weights in {len(plan.rows)} layers."
    )


def python_table(name: str, comment: str, lines: Sequence[str]) -> str:
    """A dict of Python source, an entry a line.

    Args:
        name: Its name.
        comment: What it maps to what.
        lines: The entries.
    """
    return "\n".join([f"{name} = {{  # {comment}", *(f"    {line}," for line in lines), "}"])
