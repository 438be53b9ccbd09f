"""A plan: how much of each layer to remove, and what that is predicted to cost."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from shrinkscope.analysis.plan.document import toml_text
from shrinkscope.analysis.plan.pruning import mask_of, planned
from shrinkscope.analysis.plan.readable import with_levels, without_levels
from shrinkscope.analysis.plan.wording import plan_in_words
from shrinkscope.analysis.prediction import Prediction
from shrinkscope.compression import Mask, compensated_to_counts, prune, write_weights
from shrinkscope.compression.rung_path import quantised
from shrinkscope.errors import CompressionError, OutputError, StoreError
from shrinkscope.files import json_text, write_text
from shrinkscope.latent import Precisions
from shrinkscope.quantity import Quantity

Verdict = Literal["reached", "infeasible", "unpredicted"]
Within = Literal["magnitude", "compensated"]
Method = Literal["unstructured", "bits"]


class PlanRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One layer of a plan.

    Attributes:
        layer: Name of its weight.
        weights: Number of weights.
        removed: Number of them to remove; 0 in a plan of bits.
        bits: Bits that each weight gets, with a step for each output channel; None leaves them as they are.
        cost_alone: Predicted KL in nats when this layer alone is pruned so; None without inputs.
        share: Share of the damage: what the joint KL falls by when this layer is left dense, over the sum of that
            of all layers; None without inputs or damage.
        lower: Lower end of the levels between which the joint KL moves by less than its standard error, to first order,
            the other layers as planned: what may as well be chosen.
        upper: Upper end.
    """

    layer: str
    weights: int
    removed: int
    bits: int | None = None
    cost_alone: float | None = None
    share: float | None = None
    lower: float | None = None
    upper: float | None = None

    @property
    def level(self) -> float:
        """Fraction removed."""
        return self.removed / self.weights if self.weights else 0.0

    @property
    def kept(self) -> int:
        """Number of weights that stay."""
        return self.weights - self.removed


class PlanPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One point of the trade-off between size and damage.

    Attributes:
        sparsity: Fraction of all planned weights removed; 0 in a plan of bits.
        size: Bytes of the network; None but in a plan of bits.
        kl: Predicted joint KL in nats.
        disagreement: Share of inputs whose predicted class changes; None for regression.
    """

    sparsity: float
    size: int | None = None
    kl: Quantity
    disagreement: Quantity | None = None


class Rival(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Another allocation of the same size.

    Attributes:
        allocation: Its name.
        kl: Its joint KL in nats, on the same inputs.
        excess: By how much that is more than the plan's, with the standard error of the difference over the inputs.
    """

    allocation: str
    kl: Quantity
    excess: Quantity


class PlanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a plan was asked for.

    Attributes:
        allocation: Name of the allocation.
        sparsity: Fraction asked for; None where a drop was.
        max_drop: Largest predicted drop asked for.
        size: Bytes asked for.
        flops: Floating-point operations of a pass over one input asked for, a share of them below 1.
        keep: Globs of layers that were left alone.
        inputs: Number of inputs that predictions were compared on, those searched on included.
        searched: Number of inputs that were searched on; the others judge.
        source: Where the inputs are from.
        seed: Of random moves and synthetic inputs.
        budget: Most passes of the network over one input that the search may take.
        within: Which weights of a layer go: ``magnitude`` removes the lowest and leaves the others as they are, with
            ``compensated`` the others make up for what goes.
        damping: Of the input moments then; None otherwise.
        method: What is chosen for each layer: ``unstructured`` how many weights go, ``bits`` how many bits they get.
    """

    allocation: str
    sparsity: float | None = None
    max_drop: float | None = None
    size: int | str | None = None
    flops: float | None = None
    keep: tuple[str, ...] = ()
    inputs: int = 0
    searched: int = 0
    source: str = "none"
    seed: int = 0
    budget: float = 0.0
    within: Within = "magnitude"
    damping: float | None = None
    method: Method = "unstructured"


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much of each layer to remove, and what that is predicted to do.

    Attributes:
        rows: A row a layer, in the order of registration.
        settings: What was asked for.
        start: Allocation that the search began from; None without a search.
        kl: Predicted joint KL in nats, over the inputs that were not searched on; None without inputs.
        disagreement: Share of these inputs whose predicted class changes: no accuracy on them falls by more.
        drop: Predicted difference, where a calibration was given.
        curve: The trade-off around the choice: the same plan, harsher and milder.
        rivals: The other allocations at the same size.
        forward_equivalents: What choosing took, in passes of the network over one input.
        verdict: Whether the target was reached; ``unpredicted`` without inputs.
        notes: What else to know, a sentence each.
        size: Bytes of the network as planned; None but in a plan of bits.
    """

    rows: tuple[PlanRow, ...]
    settings: PlanSettings
    start: str | None = None
    kl: Quantity | None = None
    disagreement: Quantity | None = None
    drop: Prediction | None = None
    curve: tuple[PlanPoint, ...] = ()
    rivals: tuple[Rival, ...] = ()
    forward_equivalents: float = 0.0
    verdict: Verdict = "unpredicted"
    notes: tuple[str, ...] = ()
    size: int | None = None

    @property
    def weights(self) -> int:
        """Number of planned weights."""
        return sum(row.weights for row in self.rows)

    @property
    def removed(self) -> int:
        """Number of weights to remove."""
        return sum(row.removed for row in self.rows)

    @property
    def sparsity(self) -> float:
        """Fraction of the planned weights to remove."""
        return self.removed / self.weights if self.weights else 0.0

    def levels(self) -> dict[str, float]:
        """Layer → fraction to remove."""
        return {row.layer: row.level for row in self.rows}

    def mask(self, model: nn.Module | Mapping[str, Tensor]) -> Mask:
        """The mask that keeps the largest magnitudes of each layer; equal ones go in the order of their indices.

        Args:
            model: The network that the plan is for, or its weights by name.

        Raises:
            CompressionError: If a layer is missing or has another number of weights, or the plan was made for weights
                that make up for what goes, or is one of bits.
        """
        if self.settings.method == "bits":
            raise CompressionError(
                "a plan of bits removes nothing, so it has no mask: made.apply(model) rounds the weights"
            )
        if self.settings.within == "compensated":
            raise CompressionError(
                "this plan is for weights that make up for those that go: give input moments, "
                "made.apply(model, precisions=input_moments(model, inputs).precisions()), or prune --compensate"
            )
        return mask_of(model, {row.layer: (row.removed, row.weights) for row in self.rows})

    def quantised(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights rounded to the bits of each row, with a step for each output channel, in their own type.

        Args:
            weights: Layer → dense weight; others than the plan's come back as they are.

        Raises:
            CompressionError: If a layer is missing, has another number of weights, or cannot be quantised.
        """
        found = planned(weights, {row.layer: row.weights for row in self.rows})
        new = {row.layer: quantised(row.layer, found[row.layer], row.bits) for row in self.rows if row.bits is not None}
        return {**weights, **new}

    def apply(self, model: nn.Module, *, precisions: Precisions | None = None, damping: float | None = None) -> Mask:
        """Set so many weights of a network to zero as the plan says, or round them to its bits, in place.

        Args:
            model: The network that the plan is for.
            precisions: With the input moments of the dense network, ``input_moments(model, inputs).precisions()``,
                those weights go that the others can make up for, and the others do, as in ``CompensatedPruning``; a
                plan that was made so needs them. Without, the lowest magnitudes go and nothing moves. The predictions
                of a plan are for the way that it was made for.
            damping: As for ``CompensatedPruning``; the plan's, or 0.01, when None.

        Returns:
            The mask that was applied: exactly ``removed`` weights are zero. One that keeps everything with bits.

        Raises:
            CompressionError: If the plan is for another network, or a layer has no Σ⁻¹. The model is unchanged.
        """
        if self.settings.method == "bits":
            if precisions is not None:
                raise CompressionError(
                    "precisions are for weights that go; a plan of bits removes none: leave them out"
                )
            rounded = self.quantised(planned(model, {row.layer: row.weights for row in self.rows}))
            write_weights(model, rounded)
            return Mask({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in rounded.items()})
        if precisions is None:
            return prune(model, self.mask(model))
        if damping is None:
            damping = 0.01 if self.settings.damping is None else self.settings.damping
        weights = planned(model, {row.layer: row.weights for row in self.rows})
        counts = {row.layer: row.removed for row in self.rows}
        mask, moved = compensated_to_counts(weights, counts, precisions, damping=damping)
        write_weights(model, moved)
        return mask

    def summary(self) -> str:
        """The plan in a few lines of plain text."""
        return plan_in_words(self)

    def to_json(self) -> str:
        """The plan as JSON, with the level of each row."""
        return json_text(with_levels(msgspec.to_builtins(self), self.rows))

    def to_toml(self) -> str:
        """The plan as TOML, with the level of each row."""
        return toml_text(with_levels(msgspec.to_builtins(self), self.rows))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a .toml or .json file, all or nothing.

        Args:
            path: The file.

        Raises:
            OutputError: If the suffix is another, or the file cannot be written.
        """
        writers = {".toml": self.to_toml, ".json": lambda: self.to_json() + "\n"}
        write = writers.get(Path(path).suffix.lower())
        if write is None:
            raise OutputError(f"cannot write {path}: unknown suffix; expected .toml or .json")
        write_text(path, write())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """Read a plan that ``save`` wrote, or that was written by hand.

        Args:
            path: A .toml or .json file.

        Raises:
            StoreError: If the file is missing, or no plan, or a row's ``kept`` or ``level`` contradicts ``removed``.
        """
        decode = msgspec.toml.decode if Path(path).suffix.lower() == ".toml" else msgspec.json.decode
        try:
            found = msgspec.convert(without_levels(decode(Path(path).read_bytes())), cls)
        except StoreError as error:
            raise StoreError(f"the plan in {path} contradicts itself: {error}") from error
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise StoreError(f"cannot read a plan from {path}: {str(error).splitlines()[0]}") from error
        wrong = next((row for row in found.rows if not 0 <= row.removed <= row.weights), None)
        if wrong is not None or not found.rows:
            what = "has no rows" if wrong is None else f"removes {wrong.removed} of {wrong.weights} in {wrong.layer}"
            raise StoreError(f"the plan in {path} {what}; expected rows that remove between 0 and all weights")
        return found
