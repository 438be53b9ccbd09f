"""Many heads on the same features, trained by one batched matrix product a step."""

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from shrinkscope.experiments.heads.locate import FeaturesError
from shrinkscope.experiments.settings import Training


class Head(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A linear last layer before training.

    Attributes:
        weight: Shape (classes, features).
        bias: Shape (classes,), or None for a layer without.
        kept: Bool, shape of the weight, False where it is held at zero; None holds nothing.
    """

    weight: Tensor
    bias: Tensor | None = None
    kept: Tensor | None = None


class Bank:
    """The weights of G groups of H heads each, and one step of gradient descent for all of them.

    The heads of a group see the same samples at each step, those of another group others: for one trial of a study is
    one group, and its order of samples its own.

    Args:
        groups: The heads of each group, as many in each, all of one shape, with or without a bias alike.
        settings: Momentum and weight decay.
        device: Where to compute.

    Raises:
        FeaturesError: If groups or shapes differ.
    """

    def __init__(self, groups: Sequence[Sequence[Head]], settings: Training, device: str = "cpu") -> None:
        kinds = {(head.weight.shape, head.weight.dtype, head.bias is None) for heads in groups for head in heads}
        if len(kinds) != 1 or len({len(heads) for heads in groups}) != 1:
            raise FeaturesError(
                f"{len(groups)} groups of {len(kinds)} kinds of heads; expected as many of one kind in each"
            )
        self.groups, self.heads = len(groups), len(groups[0])
        self.classes, self.features = groups[0][0].weight.shape
        # (G, H·C, d): the heads of a group side by side are one matrix.
        self._weight = self._side_by_side([[head.weight for head in heads] for heads in groups], device)
        biases = [[head.bias for head in heads if head.bias is not None] for heads in groups]
        self._bias = self._side_by_side(biases, device) if biases[0] else None
        self._removed = self._side_by_side([[_removed(head) for head in heads] for heads in groups], device)
        self._weight.masked_fill_(self._removed, 0)
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._momentum, self._decay = settings.momentum, settings.weight_decay

    @property
    def parameters(self) -> list[Tensor]:
        """Weights, shape (G, H·C, d), and biases, shape (G, H·C), if there are any; changed in place by ``step``."""
        return [self._weight] if self._bias is None else [self._weight, self._bias]

    def weight(self, group: int) -> Tensor:
        """The weights of one group as they are now, a view of shape (H, C, d)."""
        return self._weight[group].view(self.heads, self.classes, self.features)

    def bias(self, group: int) -> Tensor | None:
        """The biases of one group as they are now, a view of shape (H, C)."""
        return None if self._bias is None else self._bias[group].view(self.heads, self.classes)

    def step(self, features: Tensor, targets: Tensor, rate: float) -> None:
        """One step of every head on the cross-entropy of its group's mini-batch, batch means in nats.

        v ← μv + g + λw, w ← w − ηv, as ``experiments.train`` does; removed weights have no gradient.

        Args:
            features: Shape (G, batch, d).
            targets: Class indices, shape (G, batch).
            rate: Learning rate η.
        """
        errors = self._errors(features, targets)
        gradients = [torch.bmm(errors.transpose(1, 2), features).masked_fill_(self._removed, 0)]
        if self._bias is not None:
            gradients.append(errors.sum(dim=1))
        for parameter, velocity, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            velocity.mul_(self._momentum).add_(gradient).add_(parameter, alpha=self._decay)
            parameter.sub_(velocity, alpha=rate)

    def _errors(self, features: Tensor, targets: Tensor) -> Tensor:
        """Derivatives (p − y)/batch of the mean losses in the logits, shape (G, batch, H·C)."""
        count = features.shape[1]
        if self._bias is None:
            logits = torch.bmm(features, self._weight.transpose(1, 2))
        else:
            logits = torch.baddbmm(self._bias.unsqueeze(1), features, self._weight.transpose(1, 2))
        errors = torch.softmax(logits.view(self.groups, count, self.heads, self.classes), dim=3)
        place = targets[:, :, None, None].expand(-1, -1, self.heads, 1)
        errors.scatter_add_(3, place, errors.new_full((), -1.0).expand(place.shape))
        return errors.div_(count).view(self.groups, count, self.heads * self.classes)

    @staticmethod
    def _side_by_side(tensors: Sequence[Sequence[Tensor]], device: str) -> Tensor:
        return torch.stack([torch.cat([tensor.detach() for tensor in group]) for group in tensors]).to(device)


def _removed(head: Head) -> Tensor:
    return torch.zeros(head.weight.shape, dtype=torch.bool) if head.kept is None else ~head.kept.cpu()
