"""diff of networks that are not written alike: the options, and what is said."""

import json

import pytest
import torch

from commands import command
from shrinkscope.weights import save_tensors

run = command()


@pytest.fixture
def dense(tmp_path):
    generator = torch.Generator().manual_seed(3)
    shapes = {f"l.{part}_proj.weight": (6, 20) for part in "qkv"} | {"fc.weight": (12, 20)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(tensors, tmp_path / "a.pt")
    return tensors


def test_rules_kept_and_heads_reach_the_comparison(dense, tmp_path, monkeypatch, capsys):
    heads = [dense[f"l.{part}_proj.weight"].view(3, 2, 20) for part in "qkv"]
    fused = torch.cat(heads, dim=1).reshape(18, 20)
    torch.save({"l.query_key_value.weight": fused, "out.weight": dense["fc.weight"][[7, 0, 5]]}, tmp_path / "b.pt")
    (tmp_path / "kept.json").write_text('{"fc": [7, 0, 5]}')
    (tmp_path / "rules.toml").write_text("[[rename]]\npattern = '^out\\.'\nreplacement = 'fcc.'\n")
    files = (str(tmp_path / "a.pt"), str(tmp_path / "b.pt"))
    options = ("--rules", str(tmp_path / "rules.toml"), "--rename", "^fcc=fc", "--kept", str(tmp_path / "kept.json"))
    code, out, _ = run(monkeypatch, capsys, "diff", *files, *options, "--heads", "3", "--json")
    assert code == 0
    found = json.loads(out)
    rows = {row["layer"]: row for row in found["rows"]}
    assert {name: rows[name]["changed"] for name in dense} == {name: 0 if "l." in name else 180 for name in dense}
    assert rows["fc.weight"]["sparsity"] == 0.75
    assert [m["kind"] for m in found["unpaired"]] == ["mapped"] * 4


def test_a_wrong_renaming_is_one_line(dense, tmp_path, monkeypatch, capsys):
    files = (str(tmp_path / "a.pt"), str(tmp_path / "a.pt"))
    code, _, err = run(monkeypatch, capsys, "diff", *files, "--rename", "abc")
    assert code == 2
    assert "expected PATTERN=REPLACEMENT" in err


@pytest.fixture
def base_and_adapter(tmp_path):
    """Directories as Hugging Face and PEFT write them; the adapter moves one of three layers."""
    generator = torch.Generator().manual_seed(6)
    shapes = {"model.layers.0.self_attn.q_proj.weight": (8, 6), "model.layers.0.mlp.up_proj.weight": (12, 6)}
    base = {
        name: torch.randn(shape, generator=generator) for name, shape in (shapes | {"lm_head.weight": (9, 6)}).items()
    }
    left, right = torch.randn(8, 2, generator=generator), torch.randn(2, 6, generator=generator)
    for folder in ("base", "adapter"):
        (tmp_path / folder).mkdir()
    save_tensors(tmp_path / "base" / "model.safetensors", base)
    (tmp_path / "base" / "config.json").write_text('{"model_type": "llama", "num_attention_heads": 2}')
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    factors = {f"{prefix}.lora_A.weight": right, f"{prefix}.lora_B.weight": left}
    save_tensors(tmp_path / "adapter" / "adapter_model.safetensors", factors)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj"], "init_lora_weights": True}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "base"}))
    return base, 8 / 2 * left @ right, str(tmp_path / "base"), str(tmp_path / "adapter")


def test_a_base_and_a_peft_adapter(base_and_adapter, monkeypatch, capsys):
    base, change, *folders = base_and_adapter
    code, out, _ = run(monkeypatch, capsys, "diff", *folders, "--json", "--rank")
    assert code == 0
    found = json.loads(out)
    rows = {row["layer"]: row for row in found["rows"]}
    assert set(rows) == set(base)
    adapted = rows["model.layers.0.self_attn.q_proj.weight"]
    # Products and sums of float32 numbers, rounded to float32 once more.
    assert adapted["ap2"] == pytest.approx(float(change.double().square().sum()), rel=1e-6)
    assert 1 < adapted["effective_rank"] <= 2 + 1e-6
    assert [rows[name]["changed"] for name in base if "q_proj" not in name] == [0, 0]
    notes = [mismatch["explanation"] for mismatch in found["unpaired"] if mismatch["kind"] == "mapped"]
    assert len(notes) == len(found["unpaired"])
    assert [note for note in notes if "LoRA adapter with scale 4 added to 1 tensors" in note]
    code, out, _ = run(monkeypatch, capsys, "diff", *folders)
    assert code == 0
    assert "1 of 3 compared tensors changed" in " ".join(out.split())
    assert "identical" not in out


def test_an_adapter_that_changes_nothing_is_identical_only_bit_by_bit(base_and_adapter, tmp_path, monkeypatch, capsys):
    base, _, *folders = base_and_adapter
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    zeros = {f"{prefix}.lora_A.weight": torch.ones(2, 6), f"{prefix}.lora_B.weight": torch.zeros(8, 2)}
    save_tensors(tmp_path / "adapter" / "adapter_model.safetensors", zeros)
    code, out, _ = run(monkeypatch, capsys, "diff", *folders)
    assert code == 0
    assert f"identical: all {sum(tensor.numel() for tensor in base.values())} values" in " ".join(out.split())
    # One weight of −0 on the base's side: −0 + 0 is 0, an equal number of other bits.
    base["model.layers.0.self_attn.q_proj.weight"][0, 0] = -0.0
    save_tensors(tmp_path / "base" / "model.safetensors", base)
    assert "equal, but not identical: 1 of 3" in " ".join(run(monkeypatch, capsys, "diff", *folders)[1].split())


def test_what_was_left_out_keeps_networks_from_being_identical(dense, tmp_path, monkeypatch, capsys):
    both = (str(tmp_path / "a.pt"), str(tmp_path / "a.pt"))
    assert "identical: all" in run(monkeypatch, capsys, "diff", *both)[1]
    assert "identical" not in run(monkeypatch, capsys, "diff", *both, "--exclude", "fc.*")[1]
    torch.save(dense | {"more.weight": torch.ones(2, 2)}, tmp_path / "b.pt")
    assert "identical" not in run(monkeypatch, capsys, "diff", both[0], str(tmp_path / "b.pt"))[1]
    torch.save({name: tensor.double() for name, tensor in dense.items()}, tmp_path / "b.pt")
    out = " ".join(run(monkeypatch, capsys, "diff", both[0], str(tmp_path / "b.pt"))[1].split())
    assert "equal, but not identical: 4 of 4 tensors" in out
