"""Small random networks of transformers, saved as users have them."""

import warnings
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")
with warnings.catch_warnings():
    # Libraries that it imports where they are installed warn of their own escape sequences.
    warnings.simplefilter("ignore")
    for _kind in ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "BertModel", "AutoModelForCausalLM"):
        getattr(transformers, _kind)

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 31,
    "max_position_embeddings": 40,
}


def saved(folder: Path, kind: str = "Llama", *, dtype=torch.float64, shards: str = "50GB", **settings):
    """A random network of an architecture in a folder; the network itself, in evaluation mode."""
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        name = "BertModel" if kind == "Bert" else f"{kind}ForCausalLM"
        network = getattr(transformers, name)(config).to(dtype).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                # Larger than initial weights, so that each block matters.
                parameter.add_(0.3 * torch.randn(parameter.shape, dtype=dtype))
    network.save_pretrained(folder, max_shard_size=shards)
    return network


def token_ids(sequences: int = 6, positions: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randint(31, (sequences, positions), generator=torch.Generator().manual_seed(seed))
