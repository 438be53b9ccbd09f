"""Fused tensors against separate ones, both ways, in every layout: checked entry by entry."""

import pytest
import torch
from torch import Tensor

from shrinkscope.errors import PairingError
from shrinkscope.weights import open_weights
from shrinkscope.weights.mapping import Fusion, Rules, Step, comparable, expert_group, mixture


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def mapped(dense, compressed, **rules) -> Step:
    return comparable(open_weights(dense), open_weights(compressed), Rules(**rules))


def assert_both_ways(separate: dict[str, Tensor], fused: dict[str, Tensor], **rules) -> Step:
    """The fused network reads as the separate one, the separate one as the fused one, whole and in windows."""
    step = mapped(separate, fused, **rules)
    for expected, found in ((separate, step), (fused, mapped(fused, separate, **rules))):
        assert set(found.compressed) == set(expected)
        for name, tensor in expected.items():
            view = found.compressed[name]
            assert torch.equal(view.read(), tensor)
            flat, middle = tensor.reshape(-1), tensor.numel() // 2
            assert torch.equal(view.piece(1, middle), flat[1:middle])
            assert torch.equal(torch.cat(list(view.chunks(7))), flat)
        assert found.notes
    return step


ROWS = (12, 4, 4)


def separate(prefix: str = "layers.0.attn.", parts: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")):
    """Weights and biases of three projections, the weights first."""
    named = list(zip(parts, ROWS, strict=True))
    out = {f"{prefix}{part}.weight": rand(rows, 8, seed=i) for i, (part, rows) in enumerate(named)}
    return out | {f"{prefix}{part}.bias": rand(rows, seed=9 + i) for i, (part, rows) in enumerate(named)}


@pytest.mark.parametrize("name", ["qkv_proj", "Wqkv", "qkv", "in_proj"])
@pytest.mark.parametrize("parts", [("q_proj", "k_proj", "v_proj"), ("query", "key", "value")])
def test_rows_one_after_another_with_grouped_queries(name, parts):
    dense = separate(parts=parts)
    tensors = list(dense.values())
    fused = {
        f"layers.0.attn.{name}.weight": torch.cat(tensors[:3]),
        f"layers.0.attn.{name}.bias": torch.cat(tensors[3:]),
    }
    step = assert_both_ways(dense, fused)
    assert [note.kind for note in step.notes] == ["split"]
    assert "split into" in step.notes[0].text


def test_names_at_the_top_of_the_network():
    dense = {"q_proj.weight": rand(4, 3), "k_proj.weight": rand(4, 3, seed=1), "v_proj.weight": rand(4, 3, seed=2)}
    assert_both_ways(dense, {"qkv_proj.weight": torch.cat(list(dense.values()))})


def test_multi_head_attention_without_a_module_of_its_own():
    dense = separate("attn.")
    tensors = list(dense.values())
    assert_both_ways(
        dense, {"attn.in_proj_weight": torch.cat(tensors[:3]), "attn.in_proj_bias": torch.cat(tensors[3:])}
    )


@pytest.mark.parametrize("inputs", [8, 20])  # of 20 inputs the fused matrix is square, and its name tells
def test_gpt2_stores_its_matrix_transposed(inputs):
    rows = (12, 4, 4)
    dense = {f"h.0.{p}_proj.weight": rand(r, inputs, seed=i) for i, (p, r) in enumerate(zip("qkv", rows, strict=True))}
    assert_both_ways(dense, {"h.0.c_attn.weight": torch.cat(list(dense.values())).T.contiguous()})


def by_heads(parts: list[Tensor], groups: int) -> Tensor:
    """Rows head by head, one row at a time."""
    size = [len(part) // groups for part in parts]
    rows = [part[g * s + i] for g in range(groups) for part, s in zip(parts, size, strict=True) for i in range(s)]
    return torch.stack(rows)


@pytest.mark.parametrize(("shapes", "heads", "groups"), [((12, 12, 12), 3, 3), ((12, 4, 4), 6, 2)])
def test_rows_head_by_head_when_the_number_of_heads_is_known(shapes, heads, groups):
    dense = {f"l.{p}_proj.weight": rand(r, 5, seed=i) for i, (p, r) in enumerate(zip("qkv", shapes, strict=True))}
    fused = {"l.query_key_value.weight": by_heads(list(dense.values()), groups)}
    assert_both_ways(dense, fused, heads=heads)


def test_heads_are_never_guessed():
    dense = {f"l.{p}_proj.weight": rand(12, 5, seed=i) for i, p in enumerate("qkv")}
    step = mapped(dense, {"l.query_key_value.weight": rand(36, 5)})
    assert set(step.compressed) == {"l.query_key_value.weight"}
    assert [note.kind for note in step.notes] == ["refused"]
    assert "give it with --heads, or put config.json beside the weights" in step.notes[0].text


@pytest.mark.parametrize("heads", [5, 2])
def test_a_wrong_number_of_heads_is_noticed(heads):
    dense = {f"l.{p}_proj.weight": rand(r, 5) for p, r in zip("qkv", (12, 4, 4), strict=True)}
    step = mapped(dense, {"l.query_key_value.weight": rand(20, 5)}, heads=heads)
    assert "check --heads" in step.notes[0].text


def test_heads_are_read_from_the_configuration_beside(tmp_path):
    dense = {f"l.{p}_proj.weight": rand(12, 5, seed=i) for i, p in enumerate("qkv")}
    fused = {"l.query_key_value.weight": by_heads(list(dense.values()), 3)}
    torch.save(fused, tmp_path / "model.pt")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 3}')
    step = comparable(open_weights(dense), open_weights(tmp_path / "model.pt"))
    assert torch.equal(step.compressed["l.k_proj.weight"].read(), dense["l.k_proj.weight"])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PairingError, match="not a readable JSON object"):
        comparable(open_weights(dense), open_weights(tmp_path / "model.pt"))


@pytest.mark.parametrize(("parts", "name"), [(("gate_proj", "up_proj"), "gate_up_proj"), (("w1", "w3"), "w13")])
def test_gate_and_up(parts, name):
    dense = {f"mlp.{part}.weight": rand(6, 4, seed=i) for i, part in enumerate(parts)}
    assert_both_ways(dense, {f"mlp.{name}.weight": torch.cat(list(dense.values()))})


@pytest.mark.parametrize("swapped", [False, True])
def test_experts_stacked_in_one_tensor(swapped):
    shapes = {"gate_proj": (6, 4), "up_proj": (6, 4), "down_proj": (4, 6)}
    experts = [{part: rand(*shape, seed=10 * e + len(part)) for part, shape in shapes.items()} for e in range(11)]
    dense = {f"m.experts.{e}.{part}.weight": t for e, parts in enumerate(experts) for part, t in parts.items()}
    gates = torch.stack([torch.cat([parts["gate_proj"], parts["up_proj"]]) for parts in experts])
    downs = torch.stack([parts["down_proj"] for parts in experts])
    if swapped:
        gates, downs = gates.transpose(1, 2).contiguous(), downs.transpose(1, 2).contiguous()
    assert_both_ways(dense, {"m.experts.gate_up_proj": gates, "m.experts.down_proj": downs})


def test_a_fusion_of_the_users_own():
    dense = {"a.one.weight": rand(3, 2), "a.two.weight": rand(5, 2)}
    rule = Fusion(fused="*.both.*", parts=("*.one.*", "*.two.*"))
    assert_both_ways(dense, {"a.both.weight": torch.cat(list(dense.values()))}, fusions=(rule,))


def test_shapes_that_do_not_fit_are_said():
    dense = {f"l.{p}_proj.weight": rand(4, 5) for p in "qkv"}
    assert "together they are 12×5" in mapped(dense, {"l.qkv_proj.weight": rand(11, 5)}).notes[0].text
    odd = dense | {"l.v_proj.weight": rand(4, 6)}
    assert "their shapes (4×5, 4×5, 4×6) do not fit" in mapped(odd, {"l.qkv_proj.weight": rand(12, 5)}).notes[0].text


@pytest.mark.parametrize(
    ("fused", "parts", "message"),
    [
        ("*.a.*", ("*.b", "*.c"), "different wildcards"),
        ("*.a", ("b.*",), "different wildcards|begins"),
        ("*.a", ("*.#.b", "*.c"), "with one # in each, or in none"),
        ("*.a", (), "with one # in each, or in none"),
    ],
)
def test_patterns_that_cannot_be_filled_are_refused(fused, parts, message):
    with pytest.raises(PairingError, match=message):
        Fusion(fused=fused, parts=parts)


@pytest.mark.parametrize(
    ("name", "group", "whole"),
    [
        ("layers.3.experts.12.w1", "layers.3.experts.*.w1", "layers.3.experts"),
        ("experts.0.up.weight", "experts.*.up.weight", "experts"),
        ("l.1.moe.experts.expert_7.w1", "l.1.moe.experts.expert_*.w1", "l.1.moe.experts.expert"),
        ("l.1.moe.expert.7.w1", "l.1.moe.expert.*.w1", "l.1.moe.expert"),
        ("l.1.mlp.shared_expert.gate.weight", None, None),
        ("l.1.mlp.shared_experts.gate.weight", None, None),
        ("l.1.mlp.experts.gate_up_proj", None, "l.1.mlp.experts"),
        ("l.1.my_experts.3.w", None, None),
    ],
)
def test_experts_of_one_mixture_share_a_group(name, group, whole):
    assert (expert_group(name), mixture(name)) == (group, whole)
