import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from shrinkscope.analysis.traced.trace import Steps, UntraceableError


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.matrix = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Parameter(torch.randn(5, 16))

    def forward(self, images):
        hidden = functional.conv2d(images, self.kernel, groups=2)
        tokens = functional.linear(hidden.flatten(2), self.matrix)
        tokens = functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return torch.bmm(tokens, tokens.transpose(1, 2)) @ torch.ones(4, 3)


NETWORKS = {
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)
        ),
        (3, 2, 9, 9),
    ),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 3, stride=2), nn.Conv2d(4, 3, 1)), (3, 2, 5, 5)),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Linear(7, 2)), (5, 3, 4)),
    "functional": (Functional, (3, 2, 6, 6)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds_are_half_of_the_operations_that_torch_counts(name):
    make, shape = NETWORKS[name]
    model, inputs = make().eval(), torch.randn(shape)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            expected = model(inputs)
        steps = Steps(model)
        assert torch.equal(steps.survey(steps.start(inputs)), expected)
    assert 2 * sum(steps._work) == counter.get_total_flops()


def test_recurrent_layers_count_their_weights_at_every_position():
    model = nn.Sequential(nn.LSTM(5, 7, batch_first=True))
    steps = Steps(model)
    steps.survey(steps.start(torch.randn(2, 3, 5)))
    # Four gates, from 5 inputs and 7 hidden values, at 2 × 3 positions.
    assert sum(steps._work) == 4 * 7 * (5 + 7) * 6


def test_a_network_without_products_is_shared_by_its_steps():
    steps = Steps(nn.Sequential(nn.ReLU(), nn.Tanh()))
    steps.survey(steps.start(torch.randn(2, 3)))
    assert [steps.share_from(start) for start in range(5)] == [1, 0.75, 0.5, 0.25, 0]


def test_control_flow_on_values_cannot_be_traced():
    class Branching(nn.Module):
        def forward(self, inputs):
            return inputs if inputs.sum() > 0 else -inputs

    with pytest.raises(UntraceableError, match="TraceError: symbolically traced variables"):
        Steps(Branching())


def test_an_argument_without_default_cannot_be_filled():
    class Two(nn.Module):
        def forward(self, inputs, other):
            return inputs + other

    steps = Steps(Two())
    with pytest.raises(UntraceableError, match="its argument other has no default"):
        steps.start(torch.zeros(1))


def test_arguments_with_defaults_keep_them():
    class Optional(nn.Module):
        def forward(self, inputs, scale=2.0, mask=None, *rest, **options):
            return inputs * scale if mask is None else inputs * mask

    steps = Steps(Optional())
    assert torch.equal(steps.run_all(steps.start(torch.ones(2))), torch.full((2,), 2.0))
