"""Plans as recipes of llm-compressor: what the recipe says, and what llm-compressor does with it.

llm-compressor 0.14 wants an older torch than these tests run with, so that it is run by an interpreter of its own:

    uv venv llmc && uv pip install --python llmc/bin/python llmcompressor==0.14.0.1
    LLM_COMPRESSOR_PYTHON=$PWD/llmc/bin/python uv run pytest tests/integrations/test_llm_compressor.py
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings
from shrinkscope.errors import CompressionError, IntegrationError
from shrinkscope.integrations.llm_compressor import llm_compressor_recipe

CONFIG = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 160,  # down_proj has two of SparseGPT's blocks of 128 columns
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
SHAPES = {
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_proj": (160, 64),
    "mlp.up_proj": (160, 64),
    "mlp.down_proj": (64, 160),
}
LAYERS = {f"model.layers.{block}.{name}": shape for block in range(2) for name, shape in SHAPES.items()}
# Fields of the two modifiers in llm-compressor 0.14.0.1 that matter here, as pydantic lists them, with their types.
FIELDS = {"sparsity": float, "targets": list}
SETTINGS = PlanSettings(allocation="hand")


def llama_plan(within="magnitude") -> Plan:
    """Every layer at a level of its own but for two that share one; the last block's down_proj stays dense."""
    shares = [0.07 * index for index in range(1, len(LAYERS))] + [0.0]
    shares[3] = shares[0]
    rows = [
        PlanRow(layer=f"{name}.weight", weights=rows * columns, removed=round(share * rows * columns))
        for (name, (rows, columns)), share in zip(LAYERS.items(), shares, strict=True)
    ]
    # Written in another order than the model has: llm-compressor's lists go by that, names do not.
    return Plan(rows=tuple(rows[::-1]), settings=msgspec.structs.replace(SETTINGS, within=within))


@pytest.mark.parametrize("within", ["magnitude", "compensated"])
def test_a_recipe_gives_every_pruned_layer_its_level_once(within):
    made = llama_plan(within)
    recipe = yaml.safe_load(llm_compressor_recipe(made))
    assert list(recipe) == ["shrinkscope_stage"]  # "…_stage" and "…_modifiers" are what llm-compressor looks for
    said = {}
    for group, modifiers in recipe["shrinkscope_stage"].items():
        assert group.endswith("_modifiers")
        ((name, fields),) = modifiers.items()
        assert name == {"magnitude": "WandaPruningModifier", "compensated": "SparseGPTModifier"}[within]
        assert {field: type(value) for field, value in fields.items()} == FIELDS
        for target in fields["targets"]:
            assert target not in said
            said[target] = fields["sparsity"]
    assert said == {row.layer.removesuffix(".weight"): row.level for row in made.rows if row.removed}
    assert len(recipe["shrinkscope_stage"]) == len(set(said.values())) < len(said)


def test_a_small_level_stays_a_number():
    made = Plan(rows=(PlanRow(layer="a.weight", weights=10**7, removed=1),), settings=SETTINGS)
    (group,) = yaml.safe_load(llm_compressor_recipe(made, modifier="sparsegpt"))["shrinkscope_stage"].values()
    assert group == {"SparseGPTModifier": {"sparsity": 1e-7, "targets": ["a"]}}


def test_what_it_cannot_be_told_is_refused():
    with pytest.raises(CompressionError, match="modifier is 'obs'; expected one of wanda, sparsegpt"):
        llm_compressor_recipe(llama_plan(), modifier="obs")
    with pytest.raises(IntegrationError, match="the plan removes nothing: there is nothing to export"):
        llm_compressor_recipe(Plan(rows=(PlanRow(layer="a.weight", weights=4, removed=0),), settings=SETTINGS))
    row = PlanRow(layer="attention.in_proj_weight", weights=4, removed=2)
    with pytest.raises(IntegrationError, match="llm-compressor prunes the weight of a module, and the plan prunes att"):
        llm_compressor_recipe(Plan(rows=(row,), settings=SETTINGS))


def interpreter() -> str:
    """The Python that has llm-compressor."""
    if importlib.util.find_spec("llmcompressor"):
        return sys.executable
    if named := os.environ.get("LLM_COMPRESSOR_PYTHON"):
        return named
    pytest.skip("llm-compressor is not installed here and LLM_COMPRESSOR_PYTHON does not name a Python that has it")


@pytest.mark.parametrize("modifier", ["wanda", "sparsegpt"])
def test_llm_compressor_reaches_the_levels(modifier, tmp_path):
    python, made = interpreter(), llama_plan()
    (tmp_path / "recipe.yaml").write_text(llm_compressor_recipe(made, modifier=modifier))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    script = Path(__file__).with_name("llm_compressor_run.py")
    files = [tmp_path / "recipe.yaml", tmp_path / "config.json", tmp_path / "zeros.json"]
    subprocess.run([python, script, *files], cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "zeros.json").read_text())
    levels = {row.layer.removesuffix(".weight"): row.level for row in made.rows}
    for name, (rows, columns) in LAYERS.items():
        level = levels[name]
        if not level:
            expected = 0
        elif modifier == "wanda":
            expected = rows * int(columns * level)  # whole columns of every row
        else:
            blocks = [min(128, columns - start) for start in range(0, columns, 128)]
            expected = sum(int(rows * block * level) + 1 for block in blocks)
        assert found[name] == expected, name
    assert found["lm_head"] == 0  # no target
