"""A plan as a recipe of llm-compressor: one modifier a level, all of them in one pass over the calibration data."""

import json
from decimal import Decimal
from typing import Literal

from shrinkscope.analysis.plan import Plan
from shrinkscope.compression.checks import check_choice
from shrinkscope.integrations.layers import pruned_modules, title

Modifier = Literal["wanda", "sparsegpt"]

_NAMES = {"wanda": "WandaPruningModifier", "sparsegpt": "SparseGPTModifier"}


def llm_compressor_recipe(plan: Plan, *, modifier: Modifier | None = None) -> str:
    """The recipe with which llm-compressor's ``oneshot`` prunes each layer to the level of the plan.

    Its pruning modifiers take one ``sparsity`` each (a list is matched to the model's modules by their order alone),
    so there is one for each level, with the layers' full names as ``targets``. Layers that the plan leaves dense, or
    does not name, are no target of any, so that ``ignore`` stays empty.

    Args:
        plan: The plan.
        modifier: ``wanda`` (magnitude times the norm of the input; the others stay) or ``sparsegpt`` (the others make
            up for what goes). By default that which is nearer to what the plan was made for: ``sparsegpt`` for
            compensated weights, else ``wanda``.

    Returns:
        YAML. Wanda rounds down to whole columns of every row, SparseGPT removes one weight more in each block of 128
        columns.

    Raises:
        CompressionError: If the modifier is unknown.
        IntegrationError: If the plan removes nothing, or a layer is not the ``weight`` of a module.
    """
    if modifier is None:
        modifier = "sparsegpt" if plan.settings.within == "compensated" else "wanda"
    check_choice("modifier", modifier, tuple(_NAMES))
    by_level: dict[float, list[str]] = {}
    for module, level in pruned_modules(plan, "llm-compressor").items():
        by_level.setdefault(level, []).append(module)
    stages = [_group(number, _NAMES[modifier], *level) for number, level in enumerate(sorted(by_level.items()), 1)]
    return "\n".join([f"# {title(plan)}", "shrinkscope_stage:", *stages]) + "\n"


def _group(number: int, name: str, level: float, modules: list[str]) -> str:
    targets = [f"        - {json.dumps(module, ensure_ascii=False)}" for module in modules]
    # Written out, since YAML takes 1e-06 for text.
    sparsity = f"{Decimal(repr(level)):f}"
    lines = [f"  level{number}_modifiers:", f"    {name}:", f"      sparsity: {sparsity}", "      targets:", *targets]
    return "\n".join(lines)
