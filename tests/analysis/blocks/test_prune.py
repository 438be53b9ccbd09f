"""Pruning block by block against pruning the whole network in memory in the same order."""

import json

import numpy as np
import pytest
import torch

from references.sparsegpt import sparsegpt
from shrinkscope.analysis.blocks import perplexity, prune_blocks
from shrinkscope.analysis.plan.records import Plan, PlanRow, PlanSettings
from shrinkscope.compression import compensated_to_counts
from shrinkscope.errors import CompressionError, OutputError, StoreError
from shrinkscope.latent import KroneckerPrecision, Precisions
from shrinkscope.weights import open_weights
from tiny_checkpoints import saved, token_ids

PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj")
PARTS = (*PARTS, "mlp.up_proj", "mlp.down_proj")
INSIDE = tuple(part.rpartition(".")[2] for part in PARTS)


def plan_of(network, levels=(0.3, 0.5, 0.7), only=INSIDE) -> Plan:
    rows = []
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if len(parts) > 4 and parts[-2] in only:
            rows.append(
                PlanRow(layer=name, weights=tensor.numel(), removed=round(levels[int(parts[2])] * tensor.numel()))
            )
    return Plan(rows=tuple(rows), settings=PlanSettings(allocation="uniform"))


def by_lowest(weight: np.ndarray, importance: np.ndarray, removed: int) -> np.ndarray:
    found = weight.copy()
    found.ravel()[np.argsort(importance.ravel(), kind="stable")[:removed]] = 0.0
    return found


def inputs_of(network, names, ids):
    """What layers are given when the whole network runs."""
    seen = {}
    handles = [
        network.get_submodule(name).register_forward_pre_hook(lambda module, x: seen.update({module: x[0]}))
        for name in names
    ]
    with torch.no_grad():
        network(ids)
    for handle in handles:
        handle.remove()
    return [seen[network.get_submodule(name)] for name in names]


def in_memory(network, plan: Plan, ids, within: str, damping: float) -> None:
    """The whole network at once: after each block, the inputs of the next come from the pruned ones before it."""
    counts = {row.layer: row.removed for row in plan.rows}
    for number in range(3):
        names = [f"model.layers.{number}.{part}" for part in PARTS if f"model.layers.{number}.{part}.weight" in counts]
        for name, x in zip(names, inputs_of(network, names, ids), strict=True):
            rows = x.reshape(-1, x.shape[-1]).numpy()
            moment, module = rows.T @ rows / len(ids), network.get_submodule(name)
            weight, removed = module.weight.detach().numpy(), counts[f"{name}.weight"]
            if within == "magnitude":
                new = by_lowest(weight, np.abs(weight), removed)
            elif within == "informed":
                new = by_lowest(weight, np.abs(weight) * np.sqrt(np.diag(moment)), removed)
            elif within == "swept":
                new = sparsegpt(weight, moment, removed, damping, 128)[1]
            else:
                seen_by = KroneckerPrecision(torch.tensor(moment)[None, None], len(weight))
                precisions = Precisions("input", {name: seen_by}, {}, "here")
                given = {name: torch.tensor(weight)}
                new = compensated_to_counts(given, {name: removed}, precisions, damping=damping)[1][name].numpy()
            with torch.no_grad():
                module.weight.copy_(torch.tensor(new))


@pytest.mark.parametrize("within", ["magnitude", "informed", "swept", "compensated"])
def test_equals_pruning_the_network_in_memory(tmp_path, within):
    whole, ids = saved(tmp_path / "net", shards="8KB"), token_ids()
    plan = plan_of(whole)
    done: list[int] = []
    found = prune_blocks(
        tmp_path / "net",
        plan,
        ids,
        tmp_path / "out",
        within=within,
        damping=0.02,
        batch_size=4,
        dtype=torch.float64,
        shard_bytes=4000,
        progress=done.append,
    )
    with torch.no_grad():
        dense = whole(ids, output_hidden_states=True).hidden_states
        in_memory(whole, plan, ids, within, 0.02)
        pruned = whole(ids, output_hidden_states=True).hidden_states
    written = {name: view.read() for name, view in open_weights(tmp_path / "out").items()}
    assert written.keys() == whole.state_dict().keys()
    for name, tensor in whole.state_dict().items():
        # Moments are summed in another order; a decomposition magnifies that by its condition, about 1e4 here.
        torch.testing.assert_close(written[name], tensor, rtol=1e-8, atol=1e-9)
    for row in plan.rows:
        assert int((written[row.layer] == 0).sum()) == row.removed
    assert done == [1, 2, 3]
    assert (found.weights, found.removed) == (plan.weights, plan.removed)
    for number in (0, 1):  # the third one's states are given after the norm only
        error = float((pruned[number + 1] - dense[number + 1]).norm() / dense[number + 1].norm())
        assert found.blocks[number].error == pytest.approx(error, rel=1e-8)
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_the_output_is_a_checkpoint_of_transformers(tmp_path):
    import transformers

    whole, ids = saved(tmp_path / "net", tie_word_embeddings=True, dtype=torch.bfloat16), token_ids()
    (tmp_path / "net" / "tokenizer.json").write_text("{}")
    prune_blocks(tmp_path / "net", plan_of(whole), ids, tmp_path / "out", shard_bytes=3000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")}
    assert set(index["weight_map"].values()) == set(files)
    assert max(files.values()) < 3000 + 1500  # with its header, whose names take the rest
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    for name, view in open_weights(tmp_path / "out").items():
        assert torch.equal(loaded.state_dict()[name], view.read())
    assert (
        sum(view.parameters * 2 for view in open_weights(tmp_path / "out").values()) == index["metadata"]["total_size"]
    )


def test_layers_and_blocks_that_are_not_planned_stay(tmp_path):
    whole, ids = saved(tmp_path / "net"), token_ids()
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    found = prune_blocks(
        tmp_path / "net", plan_of(whole, (0.0, 0.5, 0.0), ("up_proj",)), ids, tmp_path / "out", dtype=torch.float64
    )
    assert [block.error > 0 for block in found.blocks] == [False, True, True]
    assert [block.removed for block in found.blocks] == [0, 192, 0]
    for name, view in open_weights(tmp_path / "out").items():
        assert torch.equal(view.read(), before[name]) is (name != "model.layers.1.mlp.up_proj.weight")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(tmp_path, monkeypatch, after):
    from shrinkscope.analysis.blocks import prune

    whole, ids = saved(tmp_path / "net"), token_ids(7)
    plan = plan_of(whole)
    straight = prune_blocks(tmp_path / "net", plan, ids, tmp_path / "straight")

    def killed(*_):
        raise Killed

    calls = []
    own = prune._Run._propagate

    def counting(self, kind, number, block):
        calls.append(number)
        if (kind, number) == ("pruned", after):
            raise Killed
        own(self, kind, number, block)

    with monkeypatch.context() as patch:
        patch.setattr(prune._Run, "_propagate", counting)
        patch.setattr(prune, "write_rest", killed)
        with pytest.raises(Killed):
            prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors.index.json").exists()
    with pytest.raises(OutputError, match="holds an unfinished run with another checkpoint, plan, inputs or options"):
        prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out", damping=0.5)
    found = prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out")
    assert found.resumed == after
    assert [block.error for block in found.blocks] == [block.error for block in straight.blocks]
    names = sorted(path.name for path in (tmp_path / "straight").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    with pytest.raises(OutputError, match="is there and not empty"):
        prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out")


def test_what_cannot_be_done_is_an_error(tmp_path):
    whole, ids = saved(tmp_path / "net"), token_ids()
    plan = plan_of(whole)
    with pytest.raises(CompressionError, match="within is 'best'; expected one of magnitude, informed, swept"):
        prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out", within="best")
    other = Plan(rows=(PlanRow(layer="fc.weight", weights=4, removed=1),), settings=plan.settings)
    with pytest.raises(CompressionError, match=r"weights of fc.weight, and .* has no such layer"):
        prune_blocks(tmp_path / "net", other, ids, tmp_path / "out")
    other = Plan(rows=(PlanRow(layer=plan.rows[0].layer, weights=4, removed=1),), settings=plan.settings)
    with pytest.raises(CompressionError, match=r"removes 1 of 4 weights of .*q_proj.* has 256 weights"):
        prune_blocks(tmp_path / "net", other, ids, tmp_path / "out")
    with pytest.raises(OutputError, match="the largest file is 0 bytes"):
        prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out", shard_bytes=0)
    (tmp_path / "out" / ".unfinished").mkdir(parents=True)
    (tmp_path / "out" / ".unfinished" / "journal.json").write_text("{")
    with pytest.raises(StoreError, match=r"cannot read .*journal.json: .*; remove .* and begin again"):
        prune_blocks(tmp_path / "net", plan, ids, tmp_path / "out")


def test_moments_that_do_not_determine_the_weights_are_an_error(tmp_path):
    whole = saved(tmp_path / "net")
    few = torch.tensor([[1, 1]])  # two vectors for sixteen columns
    with pytest.raises(CompressionError, match="singular"):
        prune_blocks(tmp_path / "net", plan_of(whole), few, tmp_path / "out", damping=0.0)


def test_perplexity_is_that_of_transformers(tmp_path):
    whole, ids = saved(tmp_path / "net"), token_ids(5)
    found = perplexity(tmp_path / "net", ids, batch_size=2, dtype=torch.float64)
    with torch.no_grad():
        losses = [float(whole(one[None], labels=one[None]).loss) for one in ids]
        together = float(whole(ids, labels=ids).loss)
    # transformers takes the loss in float32.
    assert found.losses == pytest.approx(losses, rel=1e-5)
    assert found.loss.value == pytest.approx(together, rel=1e-5)
    assert found.loss.standard_error == pytest.approx(np.std(losses, ddof=1) / np.sqrt(5), rel=1e-4)
    assert found.perplexity.value == pytest.approx(np.exp(together), rel=1e-4)
    assert found.perplexity.standard_error == pytest.approx(found.perplexity.value * found.loss.standard_error)
    assert found.tokens == 9
    assert found.less(found).value == found.less(found).standard_error == 0.0
    assert perplexity(tmp_path / "net", ids[:1]).loss.standard_error == np.inf
