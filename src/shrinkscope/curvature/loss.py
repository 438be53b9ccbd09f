"""The loss whose curvature is meant: a mean over samples, with the loss of each sample, twice differentiable."""

import copy

import torch
from torch import Tensor, nn

from shrinkscope.errors import CurvatureError

_NATS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.GaussianNLLLoss, nn.PoissonNLLLoss)
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # a mean of the same numbers in another order


class MeanLoss:
    """A torch loss module taken as the mean of the losses of single samples.

    Args:
        module: A loss with ``reduction="mean"``, for example ``nn.CrossEntropyLoss()`` or ``nn.MSELoss()``.

    Raises:
        CurvatureError: If it has no such reduction.
    """

    def __init__(self, module: nn.Module) -> None:
        reduction = getattr(module, "reduction", None)
        if not isinstance(module, nn.Module) or reduction != "mean":
            raise CurvatureError(
                f"the loss is {type(module).__name__} with reduction {reduction!r}; expected a torch loss module with "
                "reduction='mean', such as nn.CrossEntropyLoss() or nn.MSELoss()"
            )
        self.module = module
        self._each = copy.copy(module)
        self._each.reduction = "none"  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """The class of the loss."""
        return type(self.module).__name__

    @property
    def unit(self) -> str:
        """Unit of the loss: nats for negative log-likelihoods."""
        if isinstance(self.module, _NATS):
            return "nats"
        return "squared units of the target" if isinstance(self.module, nn.MSELoss) else f"units of {self.name}"

    def fitting(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The targets in the shape of the outputs where both are numbers, so that nothing is broadcast.

        Args:
            outputs: Outputs of the network, shape (n, ...).
            targets: Classes, or numbers with one entry for every output.

        Raises:
            CurvatureError: If there is not one number for every output.
        """
        if not targets.is_floating_point() or targets.shape == outputs.shape:
            return targets
        if targets.numel() != outputs.numel():
            raise CurvatureError(
                f"{self.name} got outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}; "
                "give one target for every output"
            )
        return targets.reshape(outputs.shape)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample, shape (n,), averaged over what a sample has besides.

        Args:
            outputs: Outputs of the network, shape (n, ...).
            targets: Targets that fit the loss.
        """
        losses = self._each(outputs, self.fitting(outputs, targets))
        return losses.reshape(len(outputs), -1).mean(dim=1)

    def checked(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample after checking that the loss is finite and the mean of them.

        Args:
            outputs: Outputs of the network, shape (n, ...).
            targets: Targets that fit the loss.

        Raises:
            CurvatureError: If a loss is not finite, or samples have different weights in the mean.
        """
        mean = self.module(outputs, self.fitting(outputs, targets))
        losses = self.each(outputs, targets)
        bad = len(losses) - int(torch.isfinite(losses).sum())
        if bad:
            raise CurvatureError(
                f"the loss is not finite for {bad} of {len(losses)} samples of a batch; repair the network or the data"
            )
        scale = float(losses.detach().abs().mean())
        if abs(float(mean) - float(losses.detach().mean())) > _TOLERANCE.get(losses.dtype, 1e-4) * scale:
            raise CurvatureError(
                f"{self.name} is not the mean of the losses of its samples (class weights or ignore_index?); give one "
                "that weighs all samples alike"
            )
        return losses

    def check_twice_differentiable(self, outputs: Tensor, targets: Tensor) -> None:
        """Check that the loss has second derivatives in the outputs.

        Args:
            outputs: Outputs of the network on one batch.
            targets: Targets of that batch.

        Raises:
            CurvatureError: If the loss is constant or linear wherever it is tried.
        """
        # At outputs drawn at random too: a saturated cross-entropy has none at those of the network.
        drawn = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=outputs.dtype)
        if not any(self._bends(z.detach().to(outputs.device), targets) for z in (outputs, drawn)):
            raise CurvatureError(
                f"{self.name} has no second derivative in the outputs of the network; give a smooth loss such as "
                "nn.CrossEntropyLoss() or nn.MSELoss()"
            )

    def _bends(self, outputs: Tensor, targets: Tensor) -> bool:
        with torch.enable_grad():
            outputs = outputs.clone().requires_grad_()
            loss = self.module(outputs, self.fitting(outputs, targets))
            if not loss.requires_grad:
                return False
            (slope,) = torch.autograd.grad(loss, outputs, create_graph=True)
            if not slope.requires_grad:
                return False
            # A weighted sum: the plain one vanishes for losses that do not feel a shift of all outputs.
            weights = torch.linspace(1, 2, slope.numel(), dtype=slope.dtype, device=slope.device).square()
            (bend,) = torch.autograd.grad((slope.reshape(-1) * weights).sum(), outputs, allow_unused=True)
        return bend is not None and bool((bend != 0).any())
