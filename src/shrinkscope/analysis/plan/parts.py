"""What a plan is made of: its rows, the points of its trade-off, its rivals, and what it was asked for."""

from typing import Literal

import msgspec

from shrinkscope.analysis.plan.ranges import numbers_in
from shrinkscope.quantity import Quantity

Verdict = Literal["reached", "infeasible", "unpredicted"]
DENSE = "as it is"
SYNTHETIC = "synthetic"  # what the source of inputs begins with that were made
Within = Literal["magnitude", "compensated", "informed"]


class PlanRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One layer of a plan.

    Attributes:
        layer: Name of its weight.
        weights: Number of weights.
        removed: Number of them to remove; 0 in a plan of bits.
        bits: Bits that each weight gets, with a step for each output channel; None leaves them as they are.
        pattern: N:M, such as ``"2:4"``: of every M weights in a row the N largest stay; None without one.
        rank: Rank of the layer's matrix, stored as two factors; None leaves it whole.
        width: Number of output channels, in a plan of channels.
        channels: Those of them that go, such as ``"0,3,5-8"``, with all that reads them; empty where none do.
        inputs: Columns of inputs that go with the channels of others, likewise.
        cost_alone: Predicted KL in nats when this layer alone is pruned so; None without inputs.
        share: Share of the damage: what the joint KL falls by when this layer is left dense, over the sum of that
            of all layers; None without inputs or damage.
        lower: Lower end of the levels between which the joint KL moves by less than its standard error, to first order,
            the other layers as planned: what may as well be chosen.
        upper: Upper end.
        near: Other choices for this layer that move the joint KL by less than its standard error, the others as
            planned: what may as well be chosen.
    """

    layer: str
    weights: int
    removed: int
    bits: int | None = None
    pattern: str | None = None
    rank: int | None = None
    width: int | None = None
    channels: str = ""
    inputs: str = ""
    cost_alone: float | None = None
    share: float | None = None
    lower: float | None = None
    upper: float | None = None
    near: tuple[str, ...] = ()

    @property
    def level(self) -> float:
        """Fraction removed."""
        return self.removed / self.weights if self.weights else 0.0

    @property
    def kept(self) -> int:
        """Number of weights that stay."""
        return self.weights - self.removed

    @property
    def choice(self) -> str:
        """What is done to the layer, in words: ``"2:4 and 4 bits"``, ``"rank 12"``; ``"as it is"`` if nothing."""
        if self.width is not None:
            return self._narrowed
        pruned = self.pattern or (f"{100 * self.level:.0f} % removed" if self.removed else None)
        ranked = None if self.rank is None else f"rank {self.rank}"
        rounded = None if self.bits is None else f"{self.bits} bits"
        return " and ".join(part for part in (pruned, ranked, rounded) if part) or DENSE

    @property
    def _narrowed(self) -> str:
        gone = len(numbers_in(self.channels))
        parts = [f"{gone} of {self.width} channels"] if gone else []
        parts += [f"{len(numbers_in(self.inputs))} inputs"] if self.inputs else []
        return " and ".join(parts) or DENSE


class PlanGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Channels that several layers share, of which some go.

    Attributes:
        name: The first layer that makes them.
        layers: All layers that make them.
        channels: How many there are.
        removed: How many of them go.
        cost_alone: Predicted KL in nats when these alone go.
        share: Share of the damage: what the joint KL falls by when none of them goes, over the sum of that of all
            groups; None without damage.
        near: Other numbers that move the joint KL by less than its standard error, the others as planned.
    """

    name: str
    layers: tuple[str, ...]
    channels: int
    removed: int
    cost_alone: float | None = None
    share: float | None = None
    near: tuple[str, ...] = ()


class PlanVector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bias, or a weight or bias of batch norm, of which the entries of removed channels go.

    Attributes:
        name: Of the parameter.
        channels: The entries that go, such as ``"0,3,5-8"``.
    """

    name: str
    channels: str


class PlanPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One point of the trade-off between size and damage.

    Attributes:
        sparsity: Fraction of all planned weights removed; 0 in a plan of bits.
        size: Bytes of the network; None in a plan of how many weights go.
        operations: Floating-point operations of a pass over one input, where they are known and change.
        kl: Predicted joint KL in nats.
        disagreement: Share of inputs whose predicted class changes; None for regression.
    """

    sparsity: float
    size: int | None = None
    operations: int | None = None
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
            ``compensated`` the others make up for what goes, ``informed`` removes the lowest |w|·‖x‖.
        damping: Of the input moments then; None otherwise.
        reestimate: Whether predictions are for batch norm's statistics estimated anew after pruning.
        method: What is chosen for each layer: ``unstructured`` how many weights go, ``bits`` how many bits they get,
            and so on, or several with commas between them: one for each layer.
        bits: Mean bits a weight asked for.
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
    reestimate: bool = False
    method: str = "unstructured"
    bits: float | None = None
