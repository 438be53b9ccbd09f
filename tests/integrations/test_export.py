"""A plan written by the name of a tool."""

import pytest

from shrinkscope.errors import IntegrationError, OutputError
from shrinkscope.integrations import TOOLS, export
from shrinkscope.integrations.llm_compressor import llm_compressor_recipe
from shrinkscope.integrations.torch_prune import torch_prune_script
from shrinkscope.integrations.torch_pruning import torch_pruning_script
from shrinkscope.integrations.torchao import torchao_script

WRITERS = {
    "torch": torch_prune_script,
    "torch-pruning": torch_pruning_script,
    "llm-compressor": llm_compressor_recipe,
    "torchao": torchao_script,
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_holds_what_the_tools_writer_returns(made, tmp_path, tool):
    path = tmp_path / ("recipe.yaml" if tool == "llm-compressor" else "script.py")
    text = export(made, tool, path)
    assert path.read_text() == text == export(made, tool) == WRITERS[tool](made)
    assert "from a plan (erk): 60.0 % of" in text.splitlines()[0]
    if path.suffix == ".py":
        compile(text, str(path), "exec")
        assert max(map(len, text.splitlines())) <= 120


def test_mistakes_are_named(made, tmp_path):
    expected = "unknown tool 'tensorrt'; expected one of torch, torch-pruning, llm-compressor, torchao. Lightning and"
    with pytest.raises(IntegrationError, match=expected):
        export(made, "tensorrt", tmp_path / "plan.py")
    with pytest.raises(OutputError, match=r"recipe.json: llm-compressor takes .yaml or .yml"):
        export(made, "llm-compressor", tmp_path / "recipe.json")
    with pytest.raises(OutputError, match=r"script.yaml: torch takes .py"):
        export(made, "torch", tmp_path / "script.yaml")
    assert not list(tmp_path.iterdir())
