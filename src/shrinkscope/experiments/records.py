"""The rows of a study: which cell of the grid, which epoch, which layer, which metric, and its value."""

import msgspec

NETWORK = ""
"""Layer of the rows that describe the network as a whole."""

DENSE = "dense"
"""Method of the cell that trains the network before compression."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work: a dense network, or one of its prunings with its fine-tuning.

    Attributes:
        trial: Number of the dense network, from 1.
        scope: ``last`` or ``all``; ``all`` for a dense network.
        method: ``lowest``, ``highest``, ``random``, or ``dense``.
        level: Fraction of weights removed; 0 for a dense network.
    """

    trial: int
    scope: str = "all"
    method: str = DENSE
    level: float = 0.0

    @property
    def dense(self) -> bool:
        """Whether this is the network before compression."""
        return self.method == DENSE

    def __str__(self) -> str:
        if self.dense:
            return f"trial {self.trial}, dense"
        where = "last layer" if self.scope == "last" else "all layers"
        return f"trial {self.trial}, {where}, {self.method} {100 * self.level:g} %"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a cell.

    Attributes:
        epoch: Epoch of fine-tuning; 0 is just pruned, not yet fine-tuned.
        layer: Name of a tensor, or ``""`` for the network as a whole (sums over layers for AP2 and the AP3s).
        metric: What was measured.
        value: The number in ``unit``; None when it could not be measured.
        unit: Its unit.
        status: ``exact``, ``bound`` or ``estimate``.
        standard_error: Of an estimate, in the same unit; None when there is none.
        reason: Why there is no value.
    """

    epoch: int
    layer: str
    metric: str
    value: float | None
    unit: str
    status: str
    standard_error: float | None = None
    reason: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a study.

    Attributes:
        run: Its key: equal for equal configuration and versions, so that the same command resumes it.
        config_hash: Identity of the configuration.
        config: The configuration as canonical JSON.
        versions: Versions of the packages that the numbers depend on, as JSON.
        seed: Seed of the study.
        hardware: Machine that began it.
        started: When it began, UTC, ISO 8601.
    """

    run: str
    config_hash: str
    config: str
    versions: str
    seed: int
    hardware: str
    started: str
