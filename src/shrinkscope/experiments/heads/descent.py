"""Training all heads of several trials together on features that were computed once."""

from collections.abc import Callable, Sequence

import msgspec
import torch
from torch import Tensor

from shrinkscope.experiments.heads.bank import Bank, Head
from shrinkscope.experiments.heads.locate import FeaturesError
from shrinkscope.experiments.settings import Training
from shrinkscope.experiments.train import learning_rate


class Group(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Heads that see the same samples in the same order: those of one trial.

    Attributes:
        heads: The heads, at least one.
        views: Features of the training samples, each of shape (samples, features): one tensor, or one for each
            augmented view; epoch t, counted from 0, uses view t modulo their number.
        targets: Class indices, shape (samples,).
        order: Decides the order of the samples, one permutation an epoch, as in ``experiments.train``.
    """

    heads: Sequence[Head]
    views: Sequence[Tensor]
    targets: Tensor
    order: torch.Generator


AfterEpoch = Callable[[int, Bank], None]


def train_heads(
    groups: Sequence[Group],
    settings: Training,
    *,
    after_epoch: AfterEpoch | None = None,
    device: str = "cpu",
    done: int = 0,
    state: Sequence[Tensor] = (),
) -> Bank:
    """Train the heads of all groups by SGD on cross-entropy, each as ``experiments.train`` would train it alone.

    Args:
        groups: The heads, as many in each group, all of one shape, and the features of their training samples.
        settings: Epochs, batch size, learning rate and its schedule.
        after_epoch: Called with 1, 2, … and the heads after each epoch.
        device: Where to compute; features and heads are copied there if they are elsewhere.
        done: Epochs that an earlier call has finished: their orders are drawn and not used.
        state: Parameters and then velocities after these epochs, as ``Bank`` has them.

    Returns:
        The trained heads.

    Raises:
        FeaturesError: If features, targets and heads do not fit each other.
    """
    for group in groups:
        _check(group, len(groups[0].targets))
    bank = Bank([group.heads for group in groups], settings, device)
    for own, kept in zip([*bank.parameters, *bank.velocities], state, strict=False):
        own.copy_(kept)
    targets = [group.targets.to(device) for group in groups]
    for epoch in range(settings.epochs):
        orders = [torch.randperm(len(group.targets), generator=group.order) for group in groups]
        if epoch < done:
            continue
        views = [group.views[epoch % len(group.views)].to(device) for group in groups]
        rate = learning_rate(settings, epoch)
        for rows in zip(*(order.to(device).split(settings.batch_size) for order in orders), strict=True):
            # Features that are kept in float16 are computed with as the heads are.
            features = torch.stack([view[row] for view, row in zip(views, rows, strict=True)]).to(bank.parameters[0])
            bank.step(features, torch.stack([y[row] for y, row in zip(targets, rows, strict=True)]), rate)
        if after_epoch is not None:
            after_epoch(epoch + 1, bank)
    return bank


def _check(group: Group, samples: int) -> None:
    width = group.heads[0].weight.shape[1]
    for view in group.views:
        if view.shape != (len(group.targets), width):
            raise FeaturesError(
                f"features of shape {tuple(view.shape)} for {len(group.targets)} targets and heads of {width} features"
            )
    if len(group.targets) != samples:
        raise FeaturesError(f"groups of {samples} and {len(group.targets)} samples cannot be trained together")
