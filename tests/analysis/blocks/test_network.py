"""A network run block by block is the network; what is none is an error."""

import json

import pytest
import torch

from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.blocks.perplexity import through_blocks
from shrinkscope.errors import CompressionError, DataError, WeightsError
from tiny_checkpoints import saved, token_ids

CASES = [
    ("Llama", {}),
    ("Llama", {"tie_word_embeddings": True, "head_dim": 6}),
    ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    ("Mistral", {"sliding_window": 4}),
    ("Qwen2", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    ("Bert", {"num_key_value_heads": None}),
]


@pytest.mark.parametrize(("kind", "settings"), CASES)
@pytest.mark.parametrize("shards", ["50GB", "8KB"])
def test_blocks_one_after_the_other_are_the_network(tmp_path, kind, settings, shards):
    whole = saved(tmp_path / "net", kind, shards=shards, **{k: v for k, v in settings.items() if v is not None})
    network, ids = BlockNetwork(tmp_path / "net", dtype=torch.float64), token_ids(5)
    assert network.depth == 3
    with torch.no_grad():
        expected = whole(ids)
        last = torch.cat([*through_blocks(network, ids, tmp_path, 2)])
        with network.ending() as end:
            states = end(last)
            found = network.scores(states) if network.predicts_tokens else states
        wanted = expected.logits if network.predicts_tokens else expected.last_hidden_state
    # The same operations; attention in float64 in batches of another size.
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert network.predicts_tokens is (kind != "Bert")
    assert all(parameter.is_meta for parameter in network.model.parameters())


def test_layers_go_by_their_stored_names_and_selection(tmp_path):
    saved(tmp_path / "net")
    network = BlockNetwork(tmp_path / "net")
    inside = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    inside = (*inside, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    assert [*network.layers(1)] == [f"model.layers.1.{name}.weight" for name in inside]
    assert [*network.layers(2, "*.down_proj.weight")] == ["model.layers.2.mlp.down_proj.weight"]


def test_bert_saved_under_a_prefix_is_found(tmp_path):
    from safetensors.torch import load_file, save_file

    whole = saved(tmp_path / "net", "Bert")
    path = tmp_path / "net" / "model.safetensors"
    save_file({f"bert.{name}": tensor for name, tensor in load_file(path).items()}, path)
    network, ids = BlockNetwork(tmp_path / "net", dtype=torch.float64), token_ids(2)
    with torch.no_grad():
        found = torch.cat([*through_blocks(network, ids, tmp_path, 2)])
        torch.testing.assert_close(found, whole(ids).last_hidden_state, rtol=1e-10, atol=1e-10)


def change(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_what_is_no_supported_network_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match=r"config.json: no such file; expected a folder in the layout"):
        BlockNetwork(tmp_path)
    folder = tmp_path / "net"
    saved(folder)
    change(folder, architectures=["GPT2LMHeadModel"])
    with pytest.raises(WeightsError, match="holds a GPT2LMHeadModel; what goes .* is LlamaForCausalLM, Mistral"):
        BlockNetwork(folder)
    change(folder, architectures=None)
    with pytest.raises(WeightsError, match="holds a model_type 'llama' without architectures"):
        BlockNetwork(folder)
    change(folder, architectures=["LlamaForCausalLM"], quantization_config={"bits": 4})
    with pytest.raises(WeightsError, match="holds packed weights"):
        BlockNetwork(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match="holds a list; expected a configuration"):
        BlockNetwork(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="not a readable configuration"):
        BlockNetwork(folder)


@pytest.mark.parametrize("settings", [{"num_attention_heads": 5}, {"hidden_size": "wide"}])
def test_a_configuration_that_transformers_refuses_is_an_error(tmp_path, settings):
    saved(tmp_path / "net")
    change(tmp_path / "net", **settings)
    with pytest.raises(WeightsError, match="no usable configuration of LlamaForCausalLM"):
        BlockNetwork(tmp_path / "net")


def test_a_network_without_blocks_is_an_error(tmp_path):
    saved(tmp_path / "net")
    change(tmp_path / "net", num_hidden_layers=0)
    with pytest.raises(WeightsError, match="no list of blocks"):
        BlockNetwork(tmp_path / "net")


def test_a_missing_file_tensor_or_shape_is_an_error(tmp_path):
    folder = tmp_path / "net"
    saved(folder, shards="8KB")
    change(folder, intermediate_size=25)
    with pytest.raises(WeightsError, match=r"gate_proj.weight has shape \(24, 16\), config.json stands for \(25, 16\)"):
        BlockNetwork(folder).layers(0)
    change(folder, intermediate_size=24, num_hidden_layers=4)
    with pytest.raises(WeightsError, match=r"holds no model.layers.3.self_attn.q_proj.weight"):
        BlockNetwork(folder).layers(3)
    next(iter(sorted(folder.glob("*.safetensors")))).unlink()
    with pytest.raises(WeightsError, match="names the file model-00001-of-.*, which is not there; fetch it"):
        BlockNetwork(folder)


def test_weights_that_are_not_finite_are_an_error(tmp_path):
    whole = saved(tmp_path / "net")
    with torch.no_grad():
        whole.model.layers[1].mlp.up_proj.weight[3, 4] = torch.nan
    whole.save_pretrained(tmp_path / "net")
    network = BlockNetwork(tmp_path / "net")
    with network.block(0):
        pass
    with pytest.raises(CompressionError, match=r"model.layers.1.mlp.up_proj.weight has 1 NaN"), network.block(1):
        pass


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[1, 31]]), "token 31 is not in the vocabulary of 31"),
        (torch.tensor([[-1, 3]]), "token -1 is not in the vocabulary"),
        (torch.ones(3, 41, dtype=torch.int64), "sequences of 41 tokens; the network takes at most 40"),
        (torch.ones(3, 4), "expected whole numbers of shape"),
        (torch.ones(4, dtype=torch.int64), "expected whole numbers of shape"),
        (torch.ones(4, 1, dtype=torch.int64), "at least 2 positions"),
        (torch.ones(0, 4, dtype=torch.int64), "no sequence of tokens"),
    ],
)
def test_tokens_that_are_not_the_networks_are_an_error(tmp_path, tokens, message):
    saved(tmp_path / "net")
    with pytest.raises(DataError, match=message):
        BlockNetwork(tmp_path / "net").check_tokens(tokens)


def test_without_transformers_the_error_says_what_to_install(tmp_path, monkeypatch):
    saved(tmp_path / "net")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(WeightsError, match=r"install shrinkscope\[llm\]"):
        BlockNetwork(tmp_path / "net")
