"""A plan in Lightning: a callback that keeps removed weights at zero through ``Trainer.fit``."""

from collections.abc import Mapping
from typing import Any

from shrinkscope.analysis.plan import Plan
from shrinkscope.compression import Mask
from shrinkscope.errors import IntegrationError
from shrinkscope.integrations.training import PlanMasks

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise IntegrationError(f"lightning cannot be imported ({error}); pip install 'shrinkscope[lightning]'") from error


class PlanCallback(Callback):
    """Prunes as a plan says when fitting starts, at once or growing, and keeps it so through every optimiser step.

    Weights stay plain parameters: checkpoints hold zeros and no masks under other names, and load anywhere. The
    gradients of removed weights are zero before clipping. Every epoch logs ``plan_sparsity``, counted in the network.
    A checkpoint of the callback resumes with the same masks. Under DDP every process computes the same masks.

    Args:
        plan: The plan, or a mask.
        network: Attribute of the LightningModule that holds the network of the plan, such as ``"net"``; by default the
            plan is for the module itself.
        steps: Steps of the optimiser until the plan's levels are reached, as 1 − (1 − t/steps)³ (Zhu & Gupta 2017);
            0 prunes at once.
        every: Steps between two updates of growing masks.

    Raises:
        CompressionError: When fitting starts, if the plan is for another network or for compensated weights, if a
            mask is to grow, or if the weights are not whole on this process, as under FSDP.
    """

    def __init__(self, plan: Plan | Mask, *, network: str = "", steps: int = 0, every: int = 100) -> None:
        self.plan = plan
        self.network = network
        self.steps = steps
        self.every = every
        self.masks: PlanMasks | None = None
        self._restored: Mapping[str, Any] | None = None
        self._hooks: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mask the weights, and have every step of an optimiser followed by the masks."""
        self.masks = PlanMasks(pl_module.get_submodule(self.network), self.plan, steps=self.steps, every=self.every)
        if self._restored is not None:
            self.masks.load_state_dict(self._restored)
        # Hooks of the optimisers, so that manual optimisation with several steps a batch is followed, too. Only the
        # first counts steps.
        for index, optimizer in enumerate(trainer.optimizers):
            self._hooks.append(optimizer.register_step_post_hook(self._counted if index == 0 else self._followed))

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take removed weights out of the gradients."""
        if self.masks is not None:
            self.masks.mask_gradients()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the sparsity."""
        if self.masks is not None:
            pl_module.log("plan_sparsity", self.masks.sparsity, sync_dist=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the optimisers as they were."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the masks and the steps taken."""
        return {} if self.masks is None else self.masks.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume with the masks of a checkpoint.

        Args:
            state_dict: What ``state_dict`` returned.
        """
        self._restored = state_dict or None
        if self.masks is not None and state_dict:  # some strategies load checkpoints when fitting has started
            self.masks.load_state_dict(state_dict)

    def _counted(self, *_: Any) -> None:
        if self.masks is not None:
            self.masks.step()

    def _followed(self, *_: Any) -> None:
        if self.masks is not None:
            self.masks.zero()
