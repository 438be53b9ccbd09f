"""Networks as steps: what is one step, and what is looked into."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from shrinkscope.analysis.scan import scan
from shrinkscope.analysis.traced.trace import Steps, UntraceableError
from shrinkscope.performance import predictive_divergence


class Padding(nn.Conv2d):
    """Pads its inputs first, by code that branches on their shape."""

    def forward(self, inputs):
        missing = max((-(-inputs.shape[-1] // 2) - 1) * 2 + 3 - inputs.shape[-1], 0)
        return super().forward(functional.pad(inputs, (0, missing, 0, missing)) if missing > 0 else inputs)


class Adapted(nn.Linear):
    """A linear layer with another one inside, as an adapter has it."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.inner = nn.Linear(*sizes)

    def forward(self, inputs):
        return super().forward(inputs) + self.inner(inputs)


def network(first=Padding):
    torch.manual_seed(0)
    return nn.Sequential(first(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Flatten(), Adapted(12, 4)).eval()


INPUTS = torch.randn(8, 1, 7, 7, generator=torch.Generator().manual_seed(0))


def test_a_convolution_that_looks_at_shapes_is_one_step():
    model = network()
    steps = Steps(model)
    assert torch.equal(steps.run_all(steps.start(INPUTS)), model(INPUTS))
    assert [str(node.target) for node in steps.nodes if node.op == "call_module"] == ["0", "1", "2", "3", "4.inner"]
    assert steps.first_use(model[0].weight) < steps.first_use(model[2].weight)


def test_a_scan_of_it_begins_at_the_layer_that_changed():
    model = network()
    found = scan(model, inputs=INPUTS, methods=["lowest"], levels=[0.5], early_stop=False)
    for row in found.rows:
        changed = network()
        changed.load_state_dict(model.state_dict())
        weight = changed.get_parameter(row.layer)
        gone = weight.detach().abs().flatten().argsort(stable=True)[: weight.numel() // 2]
        with torch.no_grad():
            weight.view(-1)[gone] = 0
        expected = predictive_divergence(model, changed, INPUTS).kl.value
        assert row.predictive_kl.value == pytest.approx(expected, rel=1e-4, abs=1e-7)  # float32


class Branching(nn.Module):
    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


def test_other_modules_that_look_at_values_are_refused():
    with pytest.raises(UntraceableError, match="control flow"):
        Steps(nn.Sequential(Branching(), nn.Linear(2, 2)))
