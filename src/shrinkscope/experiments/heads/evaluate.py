"""Loss and accuracy of many heads on the same samples, as ``performance.evaluate`` finds them for one network."""

import hashlib

import torch
from torch import Tensor

from shrinkscope.performance import Evaluation
from shrinkscope.performance.metrics import DEFAULT_METRICS

AT_ONCE = 1 << 22
"""Logits that are computed at a time: 32 MB in float64."""


class Judged:
    """Samples that heads are evaluated on.

    Args:
        features: Shape (samples, features).
        targets: Class indices, shape (samples,), on the CPU.
    """

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        self.features, self.targets = features, targets
        self._digest = hashlib.blake2b(targets.contiguous().view(torch.uint8).numpy().data, digest_size=16).hexdigest()

    def evaluate(self, weights: Tensor, biases: Tensor | None) -> list[Evaluation]:
        """Loss in nats and accuracy as a fraction of each head, per sample too.

        Args:
            weights: Shape (heads, classes, features).
            biases: Shape (heads, classes), or None.

        Returns:
            One evaluation a head, which can be paired with those of any network on the same samples.
        """
        heads, classes, _ = weights.shape
        found = {name: torch.empty(heads, len(self.targets), dtype=torch.float64) for name in DEFAULT_METRICS}
        infinite = torch.zeros(heads, dtype=torch.int64)
        block = max(1, AT_ONCE // (heads * classes))
        start = 0
        for features, targets in zip(self.features.split(block), self.targets.split(block), strict=True):
            stop = start + len(targets)
            logits = self._logits(features.to(weights), weights, biases)
            infinite += (~logits.isfinite()).any(dim=2).sum(dim=1).cpu()
            rows, repeated = logits.reshape(-1, classes).cpu(), targets.repeat(heads)
            for name, metric in DEFAULT_METRICS.items():
                found[name][:, start:stop] = torch.as_tensor(metric(rows, repeated)).view(heads, -1)
            start = stop
        return [self._evaluation({n: v[head] for n, v in found.items()}, int(infinite[head])) for head in range(heads)]

    def logits(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Logits of one head on all samples, in the type of its weight, on the CPU.

        Args:
            weight: Shape (classes, features).
            bias: Shape (classes,), or None.
        """
        parts = self.features.split(max(1, AT_ONCE // len(weight)))
        alone = None if bias is None else bias[None]
        return torch.cat([self._logits(part.to(weight), weight[None], alone)[0].cpu() for part in parts])

    @staticmethod
    def _logits(features: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        """Shape (heads, samples, classes)."""
        heads, classes, width = weights.shape
        found = features @ weights.reshape(heads * classes, width).T
        if biases is not None:
            found += biases.reshape(-1)
        return found.view(len(features), heads, classes).transpose(0, 1)

    def _evaluation(self, per_sample: dict[str, Tensor], infinite: int) -> Evaluation:
        return Evaluation(
            samples=len(self.targets),
            non_finite=infinite,
            metrics=dict(DEFAULT_METRICS),
            values={name: float(values.mean()) for name, values in per_sample.items()},
            per_sample=per_sample,
            outputs=None,
            targets=None,
            targets_digest=self._digest,
        )
