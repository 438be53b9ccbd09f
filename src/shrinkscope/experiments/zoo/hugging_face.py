"""The language model Llama as a folder in the layout of Hugging Face."""

import json
import os
from pathlib import Path

from torch import Tensor

from shrinkscope.experiments.zoo.llama import Llama, LlamaSizes
from shrinkscope.files import write_text
from shrinkscope.weights import save_tensors


def save_hugging_face(network: Llama, sizes: LlamaSizes, folder: str | os.PathLike[str]) -> None:
    """Write a network as config.json and model.safetensors, which transformers reads as a LlamaForCausalLM.

    Rotary angles turn adjacent pairs of a head's entries here and those half a head apart there, so the rows of q_proj
    and k_proj are written in another order.

    Args:
        network: The network.
        sizes: Its sizes.
        folder: Where to; created if it is not there.

    Raises:
        OutputError: If the files cannot be written.

    Source: derived here; tests/experiments/test_hugging_face.py compares the logits of both.
    """
    tensors = dict(network.state_dict())
    if sizes.tied:
        del tensors["lm_head.weight"]
    for name in tensors:
        heads = {"q_proj": sizes.heads, "k_proj": sizes.kv_heads}.get(name.split(".")[-2])
        if heads is not None:
            tensors[name] = _halves(tensors[name], heads)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": sizes.dim,
        "intermediate_size": sizes.hidden,
        "max_position_embeddings": sizes.positions,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": sizes.tied,
        "torch_dtype": "float32",
        "vocab_size": sizes.vocabulary,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    save_tensors(Path(folder) / "model.safetensors", tensors, {"format": "pt"})
    write_text(Path(folder) / "config.json", json.dumps(config, indent=2) + "\n")


def _halves(weight: Tensor, heads: int) -> Tensor:
    """The even rows of each head, then the odd ones."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(weight.shape)
