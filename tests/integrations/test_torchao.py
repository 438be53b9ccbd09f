"""Plans as torchao's filter function, run by torchao."""

import importlib.util

import msgspec
import pytest
import torch
from torch import nn

from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings
from shrinkscope.errors import CompressionError, IntegrationError
from shrinkscope.integrations.torchao import filter_fn, torchao_script

pytest.importorskip("torchao", reason="the library is in the extra `formats`")

from torchao.quantization import Int8WeightOnlyConfig, quantize_
from torchao.sparsity import apply_fake_sparsity

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao deprecates parts of itself

LEVELS = {"body.0": 0.5, "body.2": 0.49, "body.4": 0.9, "picture": 0.9}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
        self.picture = nn.Conv2d(1, 4, 5)
        self.attention = nn.MultiheadAttention(32, 2)
        self.other = nn.Linear(32, 32)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network()


@pytest.fixture
def made(network):
    rows = []
    for name, level in (LEVELS | {"attention.out_proj": 0.9}).items():
        size = network.get_submodule(name).weight.numel()
        rows.append(PlanRow(layer=f"{name}.weight", weights=size, removed=round(level * size)))
    return Plan(rows=tuple(rows), settings=PlanSettings(allocation="hand"))


def taken(network, chosen) -> list[str]:
    return [name for name, module in network.named_modules() if chosen(module, name)]


def test_torchao_quantises_what_the_plan_prunes_to_half(network, made):
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    quantize_(network, Int8WeightOnlyConfig(), filter_fn(made))
    kinds = {name: type(module.weight) for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    quantised = [
        name for name, kind in kinds.items() if kind is not nn.Parameter and not issubclass(kind, nn.Parameter)
    ]
    assert quantised == ["body.0", "body.4"]
    for name in ("body.2.weight", "other.weight", "attention.out_proj.weight", "picture.weight"):
        assert torch.equal(network.get_parameter(name), before[name])
    error = network.body[0].weight.dequantize() - before["body.0.weight"]
    assert 0 < float(error.abs().max()) < 0.01


def test_torchao_makes_two_of_four_zero_where_the_plan_prunes_to_half(network, made):
    apply_fake_sparsity(network, filter_fn=filter_fn(made))
    for name in ("body.0", "body.4"):
        zeros = (network.get_submodule(name).weight == 0).reshape(-1, 4).sum(dim=1)
        assert bool((zeros == 2).all())
    for name in ("body.2", "other", "picture", "attention.out_proj"):
        assert not bool((network.get_submodule(name).weight == 0).any())


@pytest.mark.parametrize(("at_least", "names"), [(0.45, ["body.0", "body.2", "body.4"]), (0.9, ["body.4"])])
def test_the_script_takes_the_same_layers(network, made, tmp_path, at_least, names):
    (tmp_path / "chosen.py").write_text(torchao_script(made, at_least=at_least))
    spec = importlib.util.spec_from_file_location("chosen", tmp_path / "chosen.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    # A level is the nearest number of weights: 922 of 1,024 are a little more than 0.9.
    assert taken(network, script.filter_fn) == taken(network, filter_fn(made, at_least=at_least)) == names


def test_what_takes_no_layer_is_refused(made):
    with pytest.raises(IntegrationError, match="no layer loses 0.95 of its weights, the most is 0.900 of"):
        filter_fn(made, at_least=0.95)
    with pytest.raises(CompressionError, match="at_least is 50; expected a fraction between 0 and 1"):
        torchao_script(made, at_least=50)
    row = msgspec.structs.replace(made.rows[0], layer="attention.in_proj_weight")
    with pytest.raises(IntegrationError, match="torchao prunes the weight of a module"):
        filter_fn(msgspec.structs.replace(made, rows=(row,)))
