"""What one network's evaluation holds, and how it accumulates over batches."""

import hashlib

import msgspec
import torch
from torch import Tensor

from shrinkscope.errors import DataError
from shrinkscope.performance.metrics import Metric, declaration_of


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Performance of one network on one set of samples.

    Attributes:
        samples: Number of samples.
        non_finite: Number of samples whose outputs hold NaN or an infinity.
        metrics: The metrics that were measured.
        values: Value of each metric over all samples, in the unit the metric declares; NaN is kept, never
            replaced.
        per_sample: Float64 values of shape (samples,) of the metrics that give one value per sample.
        outputs: All outputs, on the CPU, when some metric is a scalar of the whole set; otherwise None.
        targets: All targets under the same condition.
        targets_digest: Digest of the targets in order, which tells whether two evaluations can be paired.
    """

    samples: int
    non_finite: int
    metrics: dict[str, Metric]
    values: dict[str, float]
    per_sample: dict[str, Tensor]
    outputs: Tensor | None
    targets: Tensor | None
    targets_digest: str

    def unit(self, metric: str) -> str:
        """Return the unit of ``metric``.

        Args:
            metric: Name of a measured metric.

        Returns:
            The declared unit, or "unstated".
        """
        return declaration_of(self.metrics[metric]).unit

    def standard_error(self, metric: str) -> float | None:
        """Return the standard error of a metric that is a mean over samples, in the metric's unit.

        Args:
            metric: Name of a measured metric.

        Returns:
            Sample standard deviation over the square root of the number of samples; None for a scalar metric
            or one sample.
        """
        if metric not in self.per_sample or self.samples < 2:
            return None
        return float(self.per_sample[metric].std(correction=1)) / self.samples**0.5


class Tally:
    """The evaluation of one network while its batches come in: ``add`` each, then ask for ``evaluation``.

    Args:
        metrics: Name to metric. One that returns a scalar on the first batch is measured on the whole set at
            the end, because a mean over batches of, say, macro-F1 is not macro-F1; outputs and targets are
            kept for it.
    """

    def __init__(self, metrics: dict[str, Metric]) -> None:
        self._metrics = metrics
        self._whole_set = {name for name, metric in metrics.items() if declaration_of(metric).whole_set}
        self._parts: dict[str, list[Tensor]] = {name: [] for name in metrics if name not in self._whole_set}
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._samples = 0
        self._non_finite = 0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Measure one more batch.

        Args:
            outputs: The network's outputs, on the CPU, one row per sample.
            targets: The targets of the same samples, on the CPU.

        Raises:
            DataError: If a metric's result is neither one value per sample nor, from the first batch on, a
                scalar.
        """
        for name in list(self._parts):
            self._measure(name, outputs, targets)
        if self._whole_set:
            self._outputs.append(outputs)
            self._targets.append(targets)
        self._digest.update(targets.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        self._samples += len(outputs)
        self._non_finite += int((~outputs.isfinite()).reshape(len(outputs), -1).any(dim=1).sum())

    def evaluation(self) -> Evaluation:
        """Return the evaluation of everything added.

        Returns:
            Values over all samples.

        Raises:
            DataError: If a metric of the whole set does not return a scalar.
        """
        outputs = torch.cat(self._outputs) if self._whole_set else None
        targets = torch.cat(self._targets) if self._whole_set else None
        per_sample = {name: torch.cat(parts) for name, parts in self._parts.items()}
        values = {name: float(sample.mean()) for name, sample in per_sample.items()}
        if outputs is not None and targets is not None:
            values |= {name: scalar(name, self._metrics[name], outputs, targets) for name in self._whole_set}
        return Evaluation(
            samples=self._samples,
            non_finite=self._non_finite,
            metrics=self._metrics,
            values={name: values[name] for name in self._metrics},
            per_sample=per_sample,
            outputs=outputs,
            targets=targets,
            targets_digest=self._digest.hexdigest(),
        )

    def _measure(self, name: str, outputs: Tensor, targets: Tensor) -> None:
        result = _result(name, self._metrics[name], outputs, targets)
        if result.ndim == 0 and self._samples == 0:
            self._whole_set.add(name)
            del self._parts[name]
        elif result.shape != outputs.shape[:1]:
            raise DataError(
                f"metric '{name}' returned shape {tuple(result.shape)} for a batch of {len(outputs)} samples; "
                "expected one value per sample, or a scalar for every batch"
            )
        else:
            self._parts[name].append(result)


def scalar(name: str, metric: Metric, outputs: Tensor, targets: Tensor) -> float:
    """Return a metric of the whole set, in the metric's unit.

    Args:
        name: The metric's name, for the message.
        metric: The metric.
        outputs: Outputs of all samples.
        targets: Targets of all samples.

    Returns:
        Its value, which may be NaN.

    Raises:
        DataError: If it does not return a scalar.
    """
    result = _result(name, metric, outputs, targets)
    if result.ndim:
        raise DataError(
            f"metric '{name}' returned shape {tuple(result.shape)} for the whole set, expected a scalar; "
            "let it return one value per sample on every batch, or a scalar on every batch"
        )
    return float(result)


def _result(name: str, metric: Metric, outputs: Tensor, targets: Tensor) -> Tensor:
    result = metric(outputs, targets)
    try:
        # The type is given at once: as_tensor alone would round a Python float to float32.
        return torch.as_tensor(result, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"metric '{name}' returned a {type(result).__name__}, expected a tensor or a number") from error
