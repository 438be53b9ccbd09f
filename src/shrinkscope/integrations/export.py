"""A plan written for another tool, by the tool's name."""

import os
from collections.abc import Callable
from pathlib import Path

from shrinkscope.analysis.plan import Plan
from shrinkscope.errors import IntegrationError, OutputError
from shrinkscope.files import write_text
from shrinkscope.integrations.llm_compressor import llm_compressor_recipe
from shrinkscope.integrations.torch_prune import torch_prune_script
from shrinkscope.integrations.torch_pruning import torch_pruning_script
from shrinkscope.integrations.torchao import torchao_script

_WRITERS: dict[str, tuple[Callable[[Plan], str], tuple[str, ...]]] = {
    "torch": (torch_prune_script, (".py",)),
    "torch-pruning": (torch_pruning_script, (".py",)),
    "llm-compressor": (llm_compressor_recipe, (".yaml", ".yml")),
    "torchao": (torchao_script, (".py",)),
}

TOOLS = tuple(_WRITERS)
"""The tools that a plan can be written for; Lightning and plain training loops take the plan itself."""


def export(plan: Plan, to: str, path: str | os.PathLike[str] | None = None) -> str:
    """Write a plan for another tool.

    Args:
        plan: The plan.
        to: ``torch`` (``torch.nn.utils.prune``), ``torch-pruning``, ``llm-compressor`` or ``torchao``.
        path: File to write, all or nothing; .yaml for llm-compressor, .py for the others. None writes none.

    Returns:
        What was written.

    Raises:
        IntegrationError: If the tool is unknown, or cannot be told what the plan says.
        OutputError: If the suffix is another, or the file cannot be written.
    """
    if to not in _WRITERS:
        raise IntegrationError(
            f"unknown tool {to!r}; expected one of {', '.join(TOOLS)}. "
            "Lightning and plain training loops take the plan itself: shrinkscope.integrations"
        )
    write, suffixes = _WRITERS[to]
    if path is not None and Path(path).suffix.lower() not in suffixes:
        raise OutputError(f"cannot write {path}: {to} takes {' or '.join(suffixes)}")
    text = write(plan)
    if path is not None:
        write_text(path, text)
    return text
