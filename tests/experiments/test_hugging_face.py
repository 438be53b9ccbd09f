"""A Llama in the layout of Hugging Face is the same function in transformers."""

import pytest
import torch

from shrinkscope.experiments.zoo.hugging_face import save_hugging_face
from shrinkscope.experiments.zoo.llama import Llama, LlamaSizes
from tiny_checkpoints import transformers


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 3])
def test_transformers_gives_the_same_logits(tmp_path, tied, kv_heads):
    sizes = LlamaSizes(dim=12, hidden=10, layers=2, heads=3, kv_heads=kv_heads, vocabulary=11, positions=9, tied=tied)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, ids = Llama(sizes).eval(), torch.randint(11, (2, 8))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    save_hugging_face(network, sizes, tmp_path / "net")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "net").eval()
    with torch.no_grad():
        # float32 through two blocks, in another order of operations, on logits of order 1.
        torch.testing.assert_close(loaded(ids).logits, network(ids), rtol=1e-4, atol=1e-4)
