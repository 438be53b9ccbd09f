"""LoRA adapters in PEFT's layout, against W₀ + scale·BA in float64 written from PEFT's documentation."""

import json
import math

import pytest
import torch
from torch import Tensor

from shrinkscope.errors import PairingError
from shrinkscope.weights import open_weights
from shrinkscope.weights.mapping import Rules, Step, comparable

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["fc1", "fc2"], "init_lora_weights": True}


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


BASE = {
    "model.fc1.weight": rand(8, 5),
    "model.fc1.bias": rand(8),
    "model.fc2.weight": rand(6, 6),
    "head.weight": rand(3, 8),
}
A1, B1, A2, B2 = rand(4, 5), rand(8, 4), rand(4, 6), rand(6, 4)


def adapter(prefix: str = "base_model.model.", suffix: str = "") -> dict[str, Tensor]:
    pairs = {"fc1": (A1, B1), "fc2": (A2, B2)}
    return {
        f"{prefix}model.{layer}.lora_{side}{suffix}.weight": tensor
        for layer, pair in pairs.items()
        for side, tensor in zip("AB", pair, strict=True)
    }


def merged(tmp_path, tensors: dict[str, Tensor], base: dict[str, Tensor] | None = None, **entries) -> Step:
    torch.save(tensors, tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG | entries))
    return comparable(open_weights(BASE if base is None else base), open_weights(tmp_path / "adapter_model.bin"))


def close(found: Tensor, expected: Tensor) -> None:
    # Sums of at most ten products in float64.
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("suffix", ["", ".default", ".mine"])
def test_the_base_with_the_adapter_on_it(tmp_path, suffix):
    step = merged(tmp_path, adapter(suffix=suffix))
    assert set(step.compressed) == set(BASE)
    view = step.compressed["model.fc1.weight"]
    expected = BASE["model.fc1.weight"] + 6 / 4 * B1 @ A1
    close(view.read(), expected)
    close(view.piece(3, 22), expected.reshape(-1)[3:22])
    close(step.compressed["model.fc2.weight"].read(), BASE["model.fc2.weight"] + 6 / 4 * B2 @ A2)
    assert view.stored == 8 * 5 + 4 * (8 + 5)
    assert step.compressed["head.weight"] is step.dense["head.weight"]
    note = step.notes[-1]
    assert note.kind == "adapter"
    assert "LoRA adapter with scale 1.5 added to 2 tensors of the dense network" in note.text


def test_rank_stabilised_scale_and_patterns(tmp_path):
    own = adapter() | {
        "base_model.model.model.fc2.lora_A.weight": A2[:2],
        "base_model.model.model.fc2.lora_B.weight": B2[:, :2],
    }
    step = merged(tmp_path, own, use_rslora=True, rank_pattern={"fc2": 2}, alpha_pattern={r"model\.fc[23]": 10})
    close(step.compressed["model.fc1.weight"].read(), BASE["model.fc1.weight"] + 6 / math.sqrt(4) * B1 @ A1)
    close(step.compressed["model.fc2.weight"].read(), BASE["model.fc2.weight"] + 10 / math.sqrt(2) * B2[:, :2] @ A2[:2])


def test_a_pattern_matches_whole_components(tmp_path):
    step = merged(tmp_path, adapter(), alpha_pattern={"c1": 100})
    close(step.compressed["model.fc1.weight"].read(), BASE["model.fc1.weight"] + 6 / 4 * B1 @ A1)


def test_matrices_stored_as_in_by_out(tmp_path):
    base = BASE | {"model.fc1.weight": rand(5, 8)}
    step = merged(tmp_path, adapter(), base, fan_in_fan_out=True)
    close(step.compressed["model.fc1.weight"].read(), base["model.fc1.weight"] + 1.5 * (B1 @ A1).T)
    close(step.compressed["model.fc2.weight"].read(), base["model.fc2.weight"] + 1.5 * (B2 @ A2).T)


def test_embeddings_and_convolutions(tmp_path):
    base = {"e.weight": rand(9, 5), "c.weight": rand(8, 3, 3, 3)}
    ea, eb, ca, cb = rand(4, 9), rand(5, 4), rand(4, 3, 3, 3), rand(8, 4, 1, 1)
    tensors = {"e.lora_embedding_A": ea, "e.lora_embedding_B": eb, "c.lora_A.weight": ca, "c.lora_B.weight": cb}
    step = merged(tmp_path, {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, base)
    close(step.compressed["e.weight"].read(), base["e.weight"] + 1.5 * (eb @ ea).T)
    change = torch.einsum("orxy,rikl->oikl", cb, ca)
    close(step.compressed["c.weight"].read(), base["c.weight"] + 1.5 * change)


def test_whole_modules_and_biases_of_the_adapter_replace_the_bases(tmp_path):
    head, bias = rand(3, 8, seed=5), rand(8, seed=5)
    own = adapter() | {"base_model.model.head.weight": head, "base_model.model.model.fc1.bias": bias}
    step = merged(tmp_path, own, modules_to_save=["head"])
    assert torch.equal(step.compressed["head.weight"].read(), head)
    assert torch.equal(step.compressed["model.fc1.bias"].read(), bias)
    assert "2 tensors replaced by the adapter's own" in step.notes[-1].text


def test_an_adapter_around_its_own_base(tmp_path):
    own = adapter(suffix=".default")
    own |= {
        f"base_model.model.{name}".replace(".weight", ".base_layer.weight"): 2 * t
        for name, t in BASE.items()
        if "fc" in name
    }
    own |= {"base_model.model.head.original_module.weight": BASE["head.weight"]}
    own |= {"base_model.model.head.modules_to_save.default.weight": 3 * BASE["head.weight"]}
    step = merged(tmp_path, own)
    assert set(step.compressed) == set(BASE)
    close(step.compressed["model.fc1.weight"].read(), 2 * BASE["model.fc1.weight"] + 1.5 * B1 @ A1)
    close(step.compressed["head.weight"].read(), 3 * BASE["head.weight"])


def test_a_base_tensor_that_the_adapter_saves_itself_is_the_one_adapted(tmp_path):
    own = adapter() | {"base_model.model.model.fc1.base_layer.weight": 2 * BASE["model.fc1.weight"]}
    step = merged(tmp_path, own)
    close(step.compressed["model.fc1.weight"].read(), 2 * BASE["model.fc1.weight"] + 1.5 * B1 @ A1)
    close(step.compressed["model.fc2.weight"].read(), BASE["model.fc2.weight"] + 1.5 * B2 @ A2)


def test_a_tied_head_that_is_adapted_is_its_own_tensor(tmp_path):
    shared = rand(9, 5)
    own = {"base_model.model.head.lora_A.weight": A1, "base_model.model.head.lora_B.weight": rand(9, 4)}
    step = merged(tmp_path, own, {"embed.weight": shared, "head.weight": shared})
    assert step.compressed.tied == {}
    close(step.compressed["head.weight"].read(), shared + 1.5 * own["base_model.model.head.lora_B.weight"] @ A1)
    assert torch.equal(step.compressed["embed.weight"].read(), shared)


def test_half_precision_bases_are_summed_without_rounding(tmp_path):
    base = {name: tensor.bfloat16() for name, tensor in BASE.items()}
    view = merged(tmp_path, adapter(), base).compressed["model.fc1.weight"]
    close(view.read().double(), base["model.fc1.weight"].double() + 1.5 * B1 @ A1)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"use_dora": True}, "sets use_dora: DoRA rescales every column"),
        ({"peft_type": "LOHA"}, "an adapter of type LOHA, and only LORA is merged"),
        ({"init_lora_weights": "pissa_niter_4"}, "started by 'pissa_niter_4', which changes the base itself"),
        ({"target_parameters": ["experts.w1"]}, "sets target_parameters"),
        ({"a_new_trick": 3}, "sets a_new_trick: what it does to the weights is not known"),
        ({"r": "four"}, "expected PEFT's adapter_config.json"),
        ({"r": 5}, "has rank 4 and adapter_config.json says 5"),
    ],
)
def test_what_is_no_plain_lora_is_refused_with_its_reason(tmp_path, entries, message):
    with pytest.raises(PairingError, match=message):
        merged(tmp_path, adapter(), **entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model.model.model.fc1.lora_A.other.weight": A1}, r"holds 2 adapters \(default, other\)"),
        ({"base_model.model.model.fc1.lora_magnitude_vector": A1}, "is no part of a plain LoRA"),
        ({"base_model.model.model.fc9.lora_A.weight": A1}, "has lora_A only"),
        (
            {f"base_model.model.model.fc9.lora_{s}.weight": t for s, t in (("A", A1), ("B", B1))},
            "adapts .*model.fc9.weight, which state dict does not have",
        ),
        ({"base_model.model.model.fc9.weight": A1}, "holds model.fc9.weight, which state dict does not have"),
        ({"base_model.model.model.fc1.lora_A.weight": rand(4, 7)}, "adds 8×7 to model.fc1.weight, which is 8×5"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(PairingError, match=message):
        merged(tmp_path, adapter() | change)


def test_an_adapter_without_its_configuration_is_refused_unless_it_is_named(tmp_path):
    with pytest.raises(PairingError, match="no adapter_config.json lies with it"):
        comparable(open_weights(BASE), open_weights(adapter()))
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps(CONFIG))
    step = comparable(open_weights(BASE), open_weights(adapter()), Rules(adapter=str(path)))
    close(step.compressed["model.fc1.weight"].read(), BASE["model.fc1.weight"] + 1.5 * B1 @ A1)
