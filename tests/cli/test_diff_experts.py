"""The experts of mixtures, as Mixtral and Qwen write them: singly, by part, and as one group."""

import json

import pytest
import torch

from commands import command
from shrinkscope.weights import save_tensors

diff = command("diff")

WIDTH, HIDDEN, EXPERTS, BLOCKS = 8, 12, 4, 2
LAYOUTS = {
    "mixtral": ("block_sparse_moe", {"w1": (HIDDEN, WIDTH), "w2": (WIDTH, HIDDEN), "w3": (HIDDEN, WIDTH)}),
    "qwen": ("mlp", {"gate_proj": (HIDDEN, WIDTH), "up_proj": (HIDDEN, WIDTH), "down_proj": (WIDTH, HIDDEN)}),
}
DAMAGED = 2


def state(layout: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    module, parts = LAYOUTS[layout]
    shapes = {"model.embed_tokens.weight": (20, WIDTH), "lm_head.weight": (20, WIDTH)}
    for block in range(BLOCKS):
        base = f"model.layers.{block}"
        shapes |= {f"{base}.self_attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkvo"}
        shapes[f"{base}.{module}.gate.weight"] = (EXPERTS, WIDTH)
        shapes |= {
            f"{base}.{module}.experts.{e}.{part}.weight": shape for e in range(EXPERTS) for part, shape in parts.items()
        }
        if layout == "qwen":
            shapes |= {f"{base}.{module}.shared_expert.{part}.weight": shape for part, shape in parts.items()}
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.fixture(params=LAYOUTS)
def mixtures(request, tmp_path):
    """A network, and one whose expert 2 of block 1 lost half of its weights while all else was rounded."""
    dense = state(request.param)
    module, _ = LAYOUTS[request.param]
    damaged = f"model.layers.1.{module}.experts.{DAMAGED}."
    after = {
        n: torch.where(t > 0, t, 0.0) if n.startswith(damaged) else (64 * t).round() / 64 for n, t in dense.items()
    }
    paths = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    save_tensors(paths[0], dense)
    save_tensors(paths[1], after)
    return dense, after, module, paths


def test_the_experts_are_one_group_and_single_rows(mixtures, monkeypatch, capsys):
    dense, after, module, paths = mixtures
    code, out, _ = diff(monkeypatch, capsys, *paths, "--group-by", "mixture", "--json")
    assert code == 0
    found = json.loads(out)
    # Singly: a row a tensor, those of the damaged expert first.
    assert sorted(row["layer"] for row in found["rows"]) == sorted(dense)
    damaged = f"model.layers.1.{module}.experts.{DAMAGED}."
    assert all(row["layer"].startswith(damaged) for row in found["rows"][:3])
    # As one group: all tensors of all experts of a block, without router and shared expert.
    groups = {group["group"]: group for group in found["groups"]["rows"]}
    for block in range(BLOCKS):
        mixture = f"model.layers.{block}.{module}.experts"
        names = [name for name in dense if name.startswith(f"{mixture}.")]
        assert len(names) == 3 * EXPERTS
        assert sorted(groups[mixture]["layers"]) == sorted(names)
        assert groups[mixture]["parameters"] == 3 * EXPERTS * WIDTH * HIDDEN
        x, y = (torch.cat([side[name].flatten() for name in names]) for side in (dense, after))
        # A dozen float64 sums.
        assert groups[mixture]["ap2"] == pytest.approx(float((x - y).square().sum()), rel=1e-12)
        assert groups[mixture]["zeros"] == int((y == 0).sum())
        assert f"model.layers.{block}.{module}.gate" in groups
    assert sum(group["parameters"] for group in groups.values()) == sum(tensor.numel() for tensor in dense.values())


def test_a_part_of_all_experts_is_a_group_of_a_block_or_of_all_blocks(mixtures, monkeypatch, capsys):
    _, _, module, paths = mixtures
    parts = LAYOUTS["mixtral" if module == "block_sparse_moe" else "qwen"][1]
    by_part = json.loads(diff(monkeypatch, capsys, *paths, "--group-by", "expert", "--json")[1])["groups"]["rows"]
    by_role = json.loads(diff(monkeypatch, capsys, *paths, "--group-by", "role", "--json")[1])["groups"]["rows"]
    for part in parts:
        sizes = {group["group"]: len(group["layers"]) for group in by_part + by_role}
        assert sizes[f"model.layers.1.{module}.experts.*.{part}"] == EXPERTS
        assert sizes[f"{module}.experts.*.{part}"] == EXPERTS * BLOCKS


def test_a_gate_holds_the_mixture_as_one(mixtures, monkeypatch, capsys):
    _, _, module, paths = mixtures
    gate = "zeros_gained > 40 in mixture *.experts"
    code, _, err = diff(monkeypatch, capsys, *paths, "--fail-if", gate)
    assert code == 1
    assert f"1 of 2 rows: model.layers.1.{module}.experts (" in err


def test_experts_in_one_tensor_against_single_ones(tmp_path, monkeypatch, capsys):
    dense = state("qwen")
    fused = {name: tensor for name, tensor in dense.items() if ".experts." not in name}
    for block in range(BLOCKS):
        base = f"model.layers.{block}.mlp.experts"
        each = {p: [dense[f"{base}.{e}.{p}.weight"] for e in range(EXPERTS)] for p in LAYOUTS["qwen"][1]}
        pairs = [torch.cat(pair) for pair in zip(each["gate_proj"], each["up_proj"], strict=True)]
        fused[f"{base}.gate_up_proj"] = torch.stack(pairs)
        fused[f"{base}.down_proj"] = torch.stack(each["down_proj"])
    save_tensors(tmp_path / "single.safetensors", dense)
    save_tensors(tmp_path / "fused.safetensors", fused)
    single, together = str(tmp_path / "single.safetensors"), str(tmp_path / "fused.safetensors")
    for paths, rows in (((single, together), len(dense)), ((together, single), len(fused))):
        code, out, _ = diff(monkeypatch, capsys, *paths, "--group-by", "mixture", "--json")
        found = json.loads(out)
        assert code == 0
        assert (len(found["rows"]), found["total"]["changed"]) == (rows, 0)
        groups = {group["group"]: group["parameters"] for group in found["groups"]["rows"]}
        assert groups["model.layers.0.mlp.experts"] == 3 * EXPERTS * WIDTH * HIDDEN
