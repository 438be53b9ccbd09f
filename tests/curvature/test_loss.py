import pytest
import torch
from torch import nn

from shrinkscope.curvature import gauss_newton, hessian
from shrinkscope.curvature.loss import MeanLoss
from shrinkscope.errors import CurvatureError


class ZeroOne(nn.Module):
    """The error rate: piecewise constant."""

    reduction = "mean"

    def forward(self, outputs, targets):
        errors = (outputs.argmax(1) != targets).to(outputs.dtype)
        return errors if self.reduction == "none" else errors.mean()


class Hinge(nn.Module):
    """Piecewise linear."""

    reduction = "mean"

    def forward(self, outputs, targets):
        losses = (1 - outputs.gather(1, targets[:, None])[:, 0]).clamp_min(0)
        return losses if self.reduction == "none" else losses.mean()


def losses_of(module, outputs, targets):
    return MeanLoss(module).checked(outputs, targets)


def test_the_loss_of_each_sample_averages_what_a_sample_has_besides():
    outputs = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.randint(3, (4, 5), generator=torch.Generator().manual_seed(1))
    losses = losses_of(nn.CrossEntropyLoss(), outputs, targets)
    expected = [nn.functional.cross_entropy(z[None], y[None]) for z, y in zip(outputs, targets, strict=True)]
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-14, atol=0)


def test_targets_without_the_last_dimension_are_not_broadcast():
    outputs, targets = torch.arange(6.0)[:, None], torch.arange(6.0)
    assert losses_of(nn.MSELoss(), outputs, targets).tolist() == [0.0] * 6


def test_the_module_given_is_unchanged():
    module = nn.CrossEntropyLoss()
    MeanLoss(module)
    assert module.reduction == "mean"


@pytest.mark.parametrize(
    ("module", "unit"),
    [
        (nn.CrossEntropyLoss(), "nats"),
        (nn.MSELoss(), "squared units of the target"),
        (nn.SmoothL1Loss(), "units of SmoothL1Loss"),
    ],
)
def test_units(module, unit):
    assert MeanLoss(module).unit == unit


def test_probabilities_are_targets_too(mlp, classes):
    spread = torch.softmax(torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1)
    vector = torch.ones(43, dtype=torch.float64)
    # The Gauss-Newton matrix of cross-entropy depends on the outputs alone.
    soft, hard = gauss_newton(mlp, (classes[0], spread)), gauss_newton(mlp, classes)
    torch.testing.assert_close(soft.product(vector), hard.product(vector), rtol=1e-10, atol=1e-14)


def test_a_saturated_cross_entropy_still_has_second_derivatives():
    network = nn.Linear(2, 2).to(torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1e4, 0.0], [0.0, 1e4]]))
    data = torch.eye(2, dtype=torch.float64), torch.arange(2)
    assert float(hessian(network, data).product(torch.ones(6, dtype=torch.float64)).norm()) == 0


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            nn.CrossEntropyLoss(reduction="sum"),
            "the loss is CrossEntropyLoss with reduction 'sum'; expected a torch loss",
        ),
        (nn.Identity(), "the loss is Identity with reduction None"),
        (nn.functional.cross_entropy, "the loss is function with reduction None"),
        (
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)),
            "CrossEntropyLoss is not the mean",
        ),
        (nn.CrossEntropyLoss(ignore_index=1), "CrossEntropyLoss is not the mean of the losses of its samples"),
        (ZeroOne(), "ZeroOne has no second derivative in the outputs of the network; give a smooth loss"),
        (Hinge(), "Hinge has no second derivative"),
    ],
)
def test_losses_without_the_curvature_of_a_mean_are_refused(mlp, classes, module, message):
    with pytest.raises(CurvatureError, match=message):
        hessian(mlp, classes, module)


def test_the_absolute_error_has_no_second_derivative(mlp, numbers):
    with pytest.raises(CurvatureError, match="L1Loss has no second derivative"):
        hessian(mlp, numbers, nn.L1Loss())


def test_targets_that_would_be_broadcast_are_refused(mlp, numbers):
    with pytest.raises(CurvatureError, match=r"MSELoss got outputs of shape \(30, 3\) and targets of shape \(30, 2\)"):
        hessian(mlp, (numbers[0], numbers[1][:, :2]), nn.MSELoss())
