"""What a scan returns: a row a candidate, what it cost, and how it was set up."""

import msgspec

from shrinkscope.performance import Kind, PerformanceDifference
from shrinkscope.quantity import Quantity
from shrinkscope.weights import Role


class ScanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate: one layer compressed by one method at one level, everything else left as it is.

    Attributes:
        layer: Name of its weight.
        role: What it does in the network.
        shape: Shape of the weight.
        parameters: Number of its elements.
        method: Name of the method.
        level: Its level: the fraction removed, or the bits, rank or share of it that are kept.
        description: The method at this level in words.
        changed: Elements whose values differ; None where the candidate could not be made.
        sparsity: Fraction of zeros in the layer afterwards.
        ap2: ‖Δ‖² in squared weight units; None where the candidate could not be made or changes nothing.
        relative_ap2: ‖Δ‖²/‖ω‖².
        divergences: Column → AP3 of the layer, where it is defined.
        predictive_kl: Mean of KL(p‖q) over the inputs, p the dense network's prediction and q the candidate's, in nats;
            for language models in nats per token.
        total_variation: Mean of TV(p, q).
        disagreement: Share of the inputs, or positions, whose argmax differs; None for regression.
        measured: Metric → measured difference (candidate − dense), the samples paired; empty without data.
        collapsed: Whether the predictions agree with the dense ones no more than by chance; None without predictions.
        forward_equivalents: What it took, in passes of the whole network over all inputs, without the prefix.
        seconds: What it took, when it was measured.
        measurable: Whether everything asked for was measured.
        reason: Why not, or what to know about the number; None when there is nothing to say.
    """

    layer: str
    role: Role
    shape: tuple[int, ...]
    parameters: int
    method: str
    level: float
    description: str
    changed: int | None = None
    sparsity: float | None = None
    ap2: float | None = None
    relative_ap2: float | None = None
    divergences: dict[str, Quantity] = {}
    predictive_kl: Quantity | None = None
    total_variation: Quantity | None = None
    disagreement: Quantity | None = None
    measured: dict[str, PerformanceDifference] = {}
    collapsed: bool | None = None
    forward_equivalents: float = 0.0
    seconds: float = 0.0
    measurable: bool = True
    reason: str | None = None


class ScanCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan took.

    Attributes:
        candidates: Number of rows.
        forwards: Candidates that were put through the network, now or in an earlier scan with the same cache.
        from_cache: Rows that were read from the cache.
        not_run: Candidates that were left out because a milder level had collapsed already.
        forward_equivalents: Passes of the whole network over all inputs that this call took; one pass of k layers of n
            counts the share of multiply-adds that these layers have.
        seconds: Wall-clock time of this call.
        prefix_cached: Whether a candidate cost only the layers from its own on.
        reason: Why not.
        batched: Candidates that went through the layers after their own together with others, in one pass.
        apart: Why candidates of this network cannot go together, where that was tried.
        held: Most bytes of activations that were held between candidates.
        memory: How many were allowed.
    """

    candidates: int
    forwards: int
    from_cache: int
    not_run: int
    forward_equivalents: float
    seconds: float
    prefix_cached: bool
    reason: str | None
    batched: int
    apart: str | None
    held: int
    memory: int


class ScanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a scan was set up: enough to do it again.

    Attributes:
        model: Class of the network.
        methods: Method → its levels.
        layers: The selection of layers as a JSON text.
        latents: The latent distributions as JSON texts.
        inputs: Number of inputs that predictions were compared on; 0 without.
        samples: Number of labelled samples; 0 without.
        metrics: Names of the measured metrics.
        kind: What the outputs predict: classes, tokens or regression; None where no predictions were compared.
        scale: Standard deviation of a regression's prediction.
        padding: Token id that marks positions that do not count.
        seed: Of methods that draw.
        early_stop: Whether harsher levels of a collapsed layer were left out.
        rule: When a layer counts as collapsed, in words.
        version: Version of shrinkscope.
    """

    model: str
    methods: dict[str, tuple[float, ...]]
    layers: str
    latents: tuple[str, ...]
    inputs: int
    samples: int
    metrics: tuple[str, ...]
    kind: Kind | None
    scale: float | None
    padding: int | None
    seed: int
    early_stop: bool
    rule: str
    version: str
