"""A plan: how much of each layer to remove, and what that is predicted to cost."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from torch import Tensor, nn

from shrinkscope.analysis.plan.carrying import carried_out, kept_by
from shrinkscope.analysis.plan.channel_mask import without_channels
from shrinkscope.analysis.plan.document import toml_text
from shrinkscope.analysis.plan.method_names import STRUCTURED, UNSTRUCTURED, as_methods
from shrinkscope.analysis.plan.narrowing import narrowed, narrowed_tensors
from shrinkscope.analysis.plan.parts import (
    DENSE,
    PlanGroup,
    PlanPoint,
    PlanRow,
    PlanSettings,
    PlanVector,
    Rival,
    Verdict,
)
from shrinkscope.analysis.plan.pruning import planned, refuse_blind, refuse_mask
from shrinkscope.analysis.plan.ranges import numbers_in
from shrinkscope.analysis.plan.readable import with_levels, without_levels
from shrinkscope.analysis.plan.wording import done_in_words, plan_in_words
from shrinkscope.analysis.prediction import Prediction
from shrinkscope.compression import Mask, compensated_to_counts, prune, write_weights
from shrinkscope.errors import CompressionError, OutputError, StoreError
from shrinkscope.files import json_text, write_text
from shrinkscope.latent import Precisions
from shrinkscope.quantity import Quantity


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
        size: Bytes of the network as planned; None in a plan of how many weights go.
        operations: Floating-point operations of a pass over one input, where they are known and change.
        groups: Which channels go together and how many of them do, in a plan of channels.
        vectors: Biases and weights of batch norm whose entries go with them.
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
    operations: int | None = None
    groups: tuple[PlanGroup, ...] = ()
    vectors: tuple[PlanVector, ...] = ()

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
        """The mask that keeps the largest magnitudes of each layer, or of each M weights in a row, or whole channels.

        A plan of channels masks biases and batch norm, too: they would put something out where weights are zero.

        Args:
            model: The network that the plan is for, or its weights by name.

        Raises:
            CompressionError: If a layer is missing or has another number of weights, or the plan does more than remove
                weights, or they do not go by magnitude.
        """
        refuse_mask(self.rows, self.settings)
        if self.settings.method == STRUCTURED:
            return self._without_channels(model)
        return kept_by(self._planned(model), {row.layer: row for row in self.rows})

    def compressed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights as each row says: pruned, of smaller rank, rounded; in their own shapes and types.

        Args:
            weights: Layer → dense weight; others than the plan's come back as they are.

        Raises:
            CompressionError: If a layer is missing, has another number of weights, or cannot be compressed so, or the
                plan needs to know the inputs.
        """
        refuse_blind(self.settings)
        found = self._planned(weights)
        if self.settings.method == STRUCTURED:
            return self._without_channels(weights).applied_to(weights)
        return {**weights, **{row.layer: carried_out(row.layer, found[row.layer], row) for row in self.rows}}

    def apply(self, model: nn.Module, *, precisions: Precisions | None = None, damping: float | None = None) -> Mask:
        """Do to a network what the plan says, in place.

        Args:
            model: The network that the plan is for.
            precisions: With the input moments of the dense network, ``input_moments(model, inputs).precisions()``,
                those weights go that the others can make up for, and the others do, as in ``CompensatedPruning``; a
                plan that was made so needs them. Without, the lowest magnitudes go and nothing moves. The predictions
                of a plan are for the way that it was made for.
            damping: As for ``CompensatedPruning``; the plan's, or 0.01, when None.

        Returns:
            The mask that was applied: exactly ``removed`` weights are zero; of a layer that loses none, or has a
            smaller rank, it keeps everything.

        Raises:
            CompressionError: If the plan is for another network, or a layer has no Σ⁻¹. The model is unchanged.
        """
        if self.settings.method != UNSTRUCTURED and precisions is not None:
            raise CompressionError(
                f"precisions are for weights that go one by one; this plan is one of {self.settings.method}: "
                "leave them out"
            )
        weights = self._planned(model)
        if self.settings.method == STRUCTURED:
            return prune(model, self._without_channels(model))
        if precisions is None:
            new = self.compressed(weights)
            mask = kept_by(weights, {row.layer: row for row in self.rows})
            write_weights(model, {row.layer: new[row.layer] for row in self.rows if row.choice != DENSE})
            return mask
        if damping is None:
            damping = 0.01 if self.settings.damping is None else self.settings.damping
        counts = {row.layer: row.removed for row in self.rows}
        mask, moved = compensated_to_counts(weights, counts, precisions, damping=damping)
        write_weights(model, moved)
        return mask

    def narrowed_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of a network without the channels that a plan of channels removes, as ``narrowed`` has them.

        Args:
            tensors: Parameters and buffers by name.

        Raises:
            CompressionError: If the plan is none of channels, or is for another network.
        """
        self._check_channels()
        self._planned(tensors)
        return narrowed_tensors(tensors, self.rows, self.vectors)

    def narrowed(self, model: nn.Module) -> nn.Module:
        """A copy of a network that is physically smaller: without the channels that a plan of channels removes.

        It gives what the network gives that ``apply`` has set to zero.

        Args:
            model: The network that the plan is for; left as it is. Code with numbers of channels written into it
                (shortcuts padded to so many) does not run with fewer; what ``apply`` makes of it does.

        Raises:
            CompressionError: If the plan is none of channels, or is for another network.
        """
        self._check_channels()
        self._planned(model)
        return narrowed(model, self.rows, self.vectors)

    def _check_channels(self) -> None:
        if self.settings.method != STRUCTURED:
            raise CompressionError(
                f"the plan is one of {self.settings.method}: only plans of channels, method='structured', make layers "
                "narrower"
            )

    def _without_channels(self, model: nn.Module | Mapping[str, Tensor]) -> Mask:
        tensors = dict(model.named_parameters()) if isinstance(model, nn.Module) else model
        return without_channels({**tensors, **self._planned(model)}, self.rows, self.vectors)

    def _planned(self, model: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
        return planned(model, {row.layer: row.weights for row in self.rows})

    @property
    def done(self) -> str:
        """What carrying the plan out has done, in a sentence."""
        return done_in_words(self)

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
            as_methods(found.settings.method)
            for text in [row.channels for row in found.rows] + [one.channels for one in found.vectors]:
                numbers_in(text)
        except StoreError as error:
            raise StoreError(f"the plan in {path} contradicts itself: {error}") from error
        except (OSError, msgspec.MsgspecError, ValueError, CompressionError) as error:
            raise StoreError(f"cannot read a plan from {path}: {str(error).splitlines()[0]}") from error
        wrong = next((row for row in found.rows if not 0 <= row.removed <= row.weights), None)
        if wrong is not None or not found.rows:
            what = "has no rows" if wrong is None else f"removes {wrong.removed} of {wrong.weights} in {wrong.layer}"
            raise StoreError(f"the plan in {path} {what}; expected rows that remove between 0 and all weights")
        return found
