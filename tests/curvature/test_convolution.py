"""Convolutions with a forward of their own, against plain ones behind a module that pads."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from shrinkscope.curvature import fisher_diagonal, input_moments, kronecker_fisher
from shrinkscope.errors import CurvatureError
from shrinkscope.experiments.zoo.efficientnet_lite import SamePadConv2d

MARGINS = (1, 2, 0, 1)


class Padded(nn.Conv2d):
    """As EfficientNet's: pads by itself, then goes on as its base class does."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(pad(input, MARGINS))


class Direct(nn.Conv2d):
    """As timm's: calls torch's function, some arguments by their names."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        settings = {"stride": self.stride, "dilation": self.dilation, "groups": self.groups}
        return conv2d(pad(input, MARGINS), self.weight, bias=self.bias, padding=(0, 0), **settings)


class Same(nn.Conv2d):
    """Lets torch pad."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return conv2d(2 * input, self.weight, self.bias, 1, "same", self.dilation, self.groups)


class Doubled(nn.Module):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return 2 * input


class Restless(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return (
            conv2d(input, self.weight, self.bias, 1, 1) + conv2d(input, self.weight, self.bias, 1, 2)[..., 1:-1, 1:-1]
        )


def networks(kind: type[nn.Conv2d], **settings: object) -> tuple[nn.Module, nn.Module, Tensor]:
    """One with the class, one that computes the same from plain modules, and inputs."""
    torch.manual_seed(0)
    own = kind(4, 6, 3, dtype=torch.float64, **settings)  # type: ignore[arg-type]
    if kind is Same:
        first, plain = Doubled(), nn.Conv2d(4, 6, 3, padding="same", dtype=torch.float64, **settings)  # type: ignore[arg-type]
    else:
        first, plain = nn.ZeroPad2d(MARGINS), nn.Conv2d(4, 6, 3, dtype=torch.float64, **settings)  # type: ignore[arg-type]
    plain.load_state_dict(own.state_dict())
    inputs = torch.randn(5, 4, 7, 8, dtype=torch.float64)
    head = nn.Linear(own(inputs).flatten(1).shape[1], 3, dtype=torch.float64)
    return (
        nn.Sequential(nn.Identity(), own, nn.Flatten(), head),
        nn.Sequential(first, plain, nn.Flatten(), head),
        inputs,
    )


CASES = [
    (Padded, {}),
    (Padded, {"stride": 2, "groups": 2, "bias": False}),
    (Direct, {"dilation": 2}),
    (Direct, {"groups": 2, "stride": (1, 2)}),
    (Same, {"dilation": (2, 1), "groups": 2}),
]


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_statistics_are_those_of_the_plain_convolution(kind, settings):
    own, plain, inputs = networks(kind, **settings)
    assert torch.equal(own(inputs), plain(inputs))
    name = "1.weight"
    mine, theirs = (input_moments(model, inputs).layers[name].moment for model in (own, plain))
    assert torch.equal(mine.mean(), theirs.mean())
    for statistic in (fisher_diagonal, kronecker_fisher):
        made = [
            statistic(model, inputs, generator=torch.Generator().manual_seed(1), layers="*.weight")
            for model in (own, plain)
        ]
        precisions = [one.precisions() for one in made]
        vector = torch.randn(own[1].weight.numel(), dtype=torch.float64)
        # The same products in the same order.
        values = [one.of(name, len(vector)).quadratic(vector) for one in precisions]
        assert values[0] == values[1] > 0


def test_the_network_is_left_as_it_is():
    own, _, inputs = networks(Padded)
    before = (type(own[1]), list(own.state_dict()), dict(own.named_modules()).keys())
    input_moments(own, inputs)
    assert (type(own[1]), list(own.state_dict()), dict(own.named_modules()).keys()) == before


def test_the_convolutions_of_efficientnet_have_an_input():
    model = nn.Sequential(SamePadConv2d(3, 3, 3, stride=2, groups=3), nn.Flatten(), nn.Linear(12, 2))
    moments = input_moments(model, torch.randn(4, 3, 4, 4))
    assert sorted(moments.layers) == ["0.weight", "2.weight"]
    assert moments.layers["0.weight"].moment.mean().shape == (3, 1, 9, 9)


def test_settings_that_change_from_call_to_call_are_refused():
    model = nn.Sequential(Restless(2, 2, 3), nn.Flatten(), nn.Linear(32, 2))
    with pytest.raises(CurvatureError, match=r"a Restless convolves with other settings .*leave the layer out"):
        input_moments(model, torch.randn(2, 2, 4, 4))
