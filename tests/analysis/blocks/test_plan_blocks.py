"""Plans of language models: baselines against the same functions on all weights, and what the search promises."""

import pytest
import torch

from shrinkscope.analysis.blocks import plan_blocks
from shrinkscope.analysis.blocks.plan import ALLOCATIONS
from shrinkscope.analysis.plan import Plan
from shrinkscope.analysis.plan.alpha_pruning import alpha_pruning
from shrinkscope.analysis.plan.importance import importances
from shrinkscope.analysis.plan.owl import owl
from shrinkscope.analysis.plan.uniform import uniform
from shrinkscope.errors import CompressionError, DataError, SelectionError, WeightsError
from tiny_checkpoints import saved, token_ids


def weights_of(whole):
    return {
        name: tensor
        for name, tensor in whole.state_dict().items()
        if name.endswith("_proj.weight") and tensor.ndim == 2
    }


def test_baselines_are_those_of_the_whole_network(tmp_path):
    whole, ids = saved(tmp_path / "net", shards="8KB"), token_ids()
    weights = weights_of(whole)
    total = round(0.55 * sum(weight.numel() for weight in weights.values()))
    expected = {
        "uniform": uniform({name: weight.numel() for name, weight in weights.items()}, total),
        "alpha_pruning": alpha_pruning(weights, total),
        "owl": owl(importances(whole, weights, ids), total),
    }
    for name, counts in expected.items():
        tokens = ids if name == "owl" else None
        made = plan_blocks(tmp_path / "net", tokens, sparsity=0.55, allocation=name, dtype=torch.float64)
        assert {row.layer: row.removed for row in made.rows} == counts
        assert (made.verdict, made.kl is None) == (("reached", False) if tokens is not None else ("unpredicted", True))


@pytest.mark.parametrize("ranking", ["informed", "magnitude"])
def test_the_search_is_no_worse_than_any_start_and_repeats_itself(tmp_path, ranking):
    saved(tmp_path / "net", num_hidden_layers=2)
    options = {"sparsity": 0.5, "ranking": ranking, "rounds": 3, "keep": ["*.0.self_attn.*"]}
    made = plan_blocks(tmp_path / "net", token_ids(8), **options)
    assert made == plan_blocks(tmp_path / "net", token_ids(8), **options)
    assert made.removed == round(0.5 * made.weights)
    assert len(made.rows) == 2 * 7 - 4
    assert {rival.allocation for rival in made.rivals} == {*ALLOCATIONS} - {"joint"}
    assert made.start in ALLOCATIONS
    assert made.kl is not None
    start = next(rival for rival in made.rivals if rival.allocation == made.start)
    assert made.kl.value <= start.kl.value
    assert start.excess.value == pytest.approx(start.kl.value - made.kl.value)
    assert all(row.cost_alone is not None and row.cost_alone >= 0 for row in made.rows)
    # A dense pass, two draws back, four starts, and at least one round forth and back on half of the sequences.
    assert made.forward_equivalents >= 8 * (1 + 2 * 3 + 4 + 2) + 3 * 4
    made.save(tmp_path / "plan.toml")
    assert Plan.load(tmp_path / "plan.toml") == made


def test_what_cannot_be_planned_is_an_error(tmp_path):
    saved(tmp_path / "net")
    with pytest.raises(CompressionError, match=r"sparsity is 1.0; expected a fraction"):
        plan_blocks(tmp_path / "net", sparsity=1.0)
    with pytest.raises(CompressionError, match="allocation is 'lamp'; expected one of joint"):
        plan_blocks(tmp_path / "net", sparsity=0.5, allocation="lamp")
    with pytest.raises(CompressionError, match="ranking is 'best'"):
        plan_blocks(tmp_path / "net", sparsity=0.5, ranking="best")
    with pytest.raises(CompressionError, match="draws is 0"):
        plan_blocks(tmp_path / "net", sparsity=0.5, draws=0)
    with pytest.raises(DataError, match="allocation 'joint' needs tokens: give some, or take one of uniform"):
        plan_blocks(tmp_path / "net", sparsity=0.5)
    with pytest.raises(DataError, match="3 sequences of tokens; expected at least 4"):
        plan_blocks(tmp_path / "net", token_ids(3), sparsity=0.5)
    with pytest.raises(SelectionError, match=r"leave no layer to prune; a block's are .*q_proj"):
        plan_blocks(tmp_path / "net", token_ids(), sparsity=0.5, keep=["*"])
    saved(tmp_path / "bert", "Bert")
    with pytest.raises(WeightsError, match="is a BertModel, which predicts no tokens to plan by"):
        plan_blocks(tmp_path / "bert", token_ids(), sparsity=0.5)
