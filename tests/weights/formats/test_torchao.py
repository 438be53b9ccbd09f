"""torchao's tensors in memory, in PyTorch's files and in safetensors are read as torchao dequantises them."""

import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shrinkscope.errors import WeightsError
from shrinkscope.weights import open_weights

pytest.importorskip("torchao", reason="the library is in the extra `formats`")

from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerGroup,
    quantize_,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao deprecates parts of itself

CONFIGURATIONS = {
    "int8": lambda: Int8WeightOnlyConfig(version=2),
    "float8": Float8WeightOnlyConfig,
    "intx4": lambda: IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
}


@pytest.fixture(params=CONFIGURATIONS)
def state(request) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 24)).to(torch.bfloat16)
    quantize_(model, CONFIGURATIONS[request.param]())
    return dict(model.state_dict())


def assert_reads_as_torchao(weights, state) -> None:
    assert (sorted(weights), weights.unreadable) == (["0.bias", "0.weight"], {})
    view, expected = weights["0.weight"], state["0.weight"].dequantize()
    assert (view.shape, view.dtype, view.role) == (tuple(expected.shape), expected.dtype, "linear")
    assert torch.equal(view.read(), expected)
    assert torch.equal(torch.cat(list(view.chunks(101))), expected.reshape(-1))


def test_in_memory(state):
    assert_reads_as_torchao(open_weights(state), state)


def test_in_a_file_of_pytorch(tmp_path, state):
    torch.save(state, tmp_path / "x.pt")
    assert_reads_as_torchao(open_weights(tmp_path / "x.pt"), state)


def test_in_safetensors(tmp_path, state):
    tensors, metadata = flatten_tensor_state_dict(state)
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    assert_reads_as_torchao(open_weights(tmp_path / "x.safetensors"), state)


def test_without_torchao_its_weights_are_listed_with_what_to_do(tmp_path, state, monkeypatch):
    tensors, metadata = flatten_tensor_state_dict(state)
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    torch.save(state, tmp_path / "x.pt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    weights = open_weights(tmp_path / "x.safetensors")
    assert "which is not installed; install torchao" in weights.unreadable["0.weight"]
    assert list(weights) == ["0.bias"]


def test_a_class_that_torchao_does_not_have(tmp_path):
    metadata = {"m.weight": '{"_type": "Secret", "_data": {}, "_tensor_data_names": ["qdata"]}'}
    save_file({"m._weight_qdata": torch.ones(2)}, tmp_path / "x.safetensors", metadata=metadata)
    assert "torchao cannot restore its Secret" in open_weights(tmp_path / "x.safetensors").unreadable["m.weight"]


def test_text_that_is_not_torchaos(tmp_path):
    metadata = {"m.weight": '{"_tensor_data_names": ["qdata"]}', "n.weight": "{", "format": "pt"}
    save_file({"m._weight_qdata": torch.ones(2)}, tmp_path / "x.safetensors", metadata=metadata)
    assert "is not torchao's" in open_weights(tmp_path / "x.safetensors").unreadable["m.weight"]


def test_tensors_packed_for_kernels_are_listed(tmp_path):
    state = {
        "fc.weight": torch.ones(2, 2),
        "fc._packed_params": (torch.ones(1), None),
        "z": torch.ones(1).to(torch.cfloat),
    }
    weights = open_weights(state)
    assert "is a tuple of tensors" in weights.unreadable["fc._packed_params"]
    assert "complex" in weights.unreadable["z"]


def test_pytorchs_own_quantised_tensors_are_numbers():
    quantised = torch.quantize_per_channel(torch.randn(4, 6), torch.rand(4) / 9, torch.arange(4), 0, torch.qint8)
    view = open_weights({"w": quantised})["w"]
    assert torch.equal(view.read(), quantised.dequantize())
    assert torch.equal(torch.cat(list(view.chunks(5))), quantised.dequantize().reshape(-1))


def test_sparse_tensors_are_read_dense(tmp_path):
    dense = torch.eye(4)
    torch.save({"w": dense.to_sparse()}, tmp_path / "x.pt")
    assert torch.equal(open_weights(tmp_path / "x.pt")["w"].read(), dense)
    vast = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (1 << 20, 1 << 20))
    assert "too large to be read dense" in open_weights({"w": vast}).unreadable["w"]


def test_a_class_that_torchao_does_not_vouch_for_is_refused(tmp_path, monkeypatch):
    module = types.ModuleType("torchao.secret")
    exec("class Foreign: pass", vars(module))
    monkeypatch.setitem(sys.modules, "torchao.secret", module)
    torch.save({"w": torch.ones(1), "x": module.Foreign()}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="would run code stored in it"):
        open_weights(tmp_path / "x.pt")
