import pytest
import torch
from torch import nn

from shrinkscope.curvature import last_layer_hessian
from shrinkscope.errors import CurvatureError


class Applied(nn.Module):
    """Two linear layers, and something of one's own on top."""

    def __init__(self, top):
        super().__init__()
        self.first, self.second, self.top = nn.Linear(4, 3), nn.Linear(3, 3), top
        self.to(torch.float64)

    def forward(self, inputs):
        return self.top(self, self.first(inputs).tanh())


def test_the_layer_called_last_is_found_whatever_the_order_of_registration(classes):
    class Swapped(Applied):
        def forward(self, inputs):
            return self.first(self.top(self, inputs))

    network = Swapped(lambda self, x: torch.tanh(self.second(x[:, :3]) @ torch.ones(3, 4, dtype=torch.float64)))
    assert list(last_layer_hessian(network, classes).shapes) == ["first.weight", "first.bias"]


@pytest.mark.parametrize(
    ("top", "message"),
    [
        (
            lambda self, h: self.second(h).log_softmax(1),
            "the outputs of Applied are not those of its last linear layer",
        ),
        (lambda self, h: self.second(h)[:, :2], "not those of its last linear layer second; use hessian"),
        (lambda self, h: self.second(self.second(h)), "second is used more than once in a forward pass"),
    ],
)
def test_networks_that_do_not_end_in_a_linear_layer_used_once_are_refused(classes, top, message):
    data = classes[0], classes[1] % 2
    with pytest.raises(CurvatureError, match=message):
        last_layer_hessian(Applied(top), data)


def test_a_network_without_a_linear_layer_is_refused(images):
    network = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()).to(torch.float64)
    with pytest.raises(CurvatureError, match="the outputs of Sequential are not of a linear layer: it has none"):
        last_layer_hessian(network, images)


def test_tied_weights_are_refused():
    network = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)).to(torch.float64)
    network[1].weight = network[0].weight
    data = torch.randint(6, (9,)), torch.randint(6, (9,))
    with pytest.raises(CurvatureError, match=r"1.weight is tied to 0.weight, so that its features depend on it"):
        last_layer_hessian(network, data)


def test_targets_that_are_no_classes_are_refused(mlp, numbers):
    with pytest.raises(CurvatureError, match=r"shortcut needs \(n, classes\) and class indices: use hessian"):
        last_layer_hessian(mlp, numbers)


def test_another_layer_than_the_one_asked_for_is_refused(conv, images):
    with pytest.raises(CurvatureError, match="the last linear layer is head, not 'hed'; the nearest are head"):
        last_layer_hessian(conv, images, layer="hed")


def test_the_memory_of_the_features_is_foreseen(conv, images):
    # 20 samples of 8 features, a bias, and five matrices of 3 classes: 20 × 24 × 8 bytes.
    with pytest.raises(
        CurvatureError,
        match=r"the features of 20 samples × 8 for the last layer needs about 3,840 bytes \(3.75 KiB\) and 3,839 bytes "
        r".* are allowed by memory_limit; take fewer samples",
    ):
        last_layer_hessian(conv, images, memory_limit=3839)
    assert last_layer_hessian(conv, images, memory_limit=3840).samples == 20
