"""The records of fine-tuning as a path towards ω̃*: both ε of the theory at each epoch, and the bound that follows."""

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from shrinkscope.analysis.measure import measure
from shrinkscope.analysis.records import LayerRecord
from shrinkscope.errors import LatentError, TheoryError
from shrinkscope.experiments.config import LatentChoice
from shrinkscope.experiments.fixed_statistics import State
from shrinkscope.experiments.iteration_bounds import (
    Followed,
    SmoothLoss,
    bound_on_loss,
    path_lengths,
    unprojected_distance,
)
from shrinkscope.experiments.records import NETWORK, Record
from shrinkscope.latent import resolve_latents
from shrinkscope.quantity import Status
from shrinkscope.theory.definition_2_7 import approximate_ap3
from shrinkscope.weights import (
    COMPRESSIBLE,
    LayerSelection,
    PairMoments,
    TensorPair,
    Weights,
    open_weights,
    pair,
    summarise,
)

DEFINITION, THEOREM, BOUND = "epsilon_2_7_", "epsilon_3_6_", "bound_3_6_"
"""Beginnings of the metrics: ε_t of Definition 2.7, ε_t of Theorem 3.6, its bound on PD in training loss."""

Key = tuple[int, str, str]
Recorded = Mapping[Key, Record]


def tracked(latents: Sequence[LatentChoice]) -> list[Followed]:
    """The latents whose divergences are followed over the epochs: those that have an exact Kullback–Leibler divergence.

    A sampled one is left out, because a difference of two estimates is noise where it is small; so is a Wasserstein
    distance, of which the theory does not speak.

    Args:
        latents: Those of a study.
    """
    chosen = resolve_latents(latents)
    return [latent for latent in chosen if isinstance(latent, Followed)]


def iteration_records(
    dense: Weights,
    path: Sequence[State],
    recorded: Sequence[Record],
    latents: Sequence[LatentChoice],
    loss: SmoothLoss | str,
) -> list[Record]:
    """Both ε_t of each epoch, latent and trained layer, and Theorem 3.6's bound on the difference in training loss.

    With ω̃* the weights after the last epoch: |KL(P_ω*‖P_ω̃*) − KL(P_ω*‖P_ω̃ᵗ)| of Definition 2.7, and
    |KL(P_ω*‖P_ω̃*) − KL(P_ω̃*‖P_ω̃ᵗ)| of Theorem 3.6, all between laws of one scale, which is that of ω*.

    Args:
        dense: The dense network.
        path: The trained tensors after each epoch, 0 (just pruned) to the last: parameters alone.
        recorded: The records of these epochs; KL(P_ω*‖P_ω̃ᵗ) is read from them.
        latents: Latent distributions of the study.
        loss: Constants of the training loss in what is trained, or why there are none.

    Returns:
        ε in nats (exact) for each trained layer and the network, and the bound in nats for the network; what is
        undefined has no value and a reason.

    Source: paper, Definition 2.7 and Theorem 3.6, which are two quantities (math.md, section 4).
    """
    chosen = tracked(latents)
    known = {(record.epoch, record.layer, record.metric): record for record in recorded}
    later = list(_sparse_to_iterate(dense, path, chosen))
    records = [
        record
        for epoch, rows in enumerate(later)
        for layer in (*rows, NETWORK)
        for latent in chosen
        for record in _epsilons(epoch, layer, latent, known, len(path) - 1, _later(rows, layer, latent))
    ]
    found = {(record.epoch, record.layer, record.metric): record for record in records}
    return records + list(_bounds(dense, path, chosen, found, later, loss))


def _sparse_to_iterate(
    dense: Weights, path: Sequence[State], latents: Sequence[Followed]
) -> Iterator[dict[str, LayerRecord]]:
    """The comparisons of ω̃* with ω̃ᵗ, layer by layer, for each epoch t."""
    names = _trained(dense, path)
    final = open_weights(path[-1])
    scaled = {name: _at_scale(tensors, latents) for name, tensors in _pairs(dense, final, names).items()}
    for state in path:
        pairs = _pairs(final, open_weights(state), names)
        yield {name: measure(tensors, scaled[name])[0] for name, tensors in pairs.items()}


def _trained(dense: Weights, path: Sequence[State]) -> list[str]:
    """The trained tensors that latents are put over, in the order of the network."""
    return [name for name, view in dense.items() if name in path[-1] and view.role in COMPRESSIBLE]


def _pairs(first: Weights, second: Weights, names: Sequence[str]) -> dict[str, TensorPair]:
    pairs = pair(first, second, LayerSelection()).pairs
    return {tensors.dense.name: tensors for tensors in pairs if tensors.dense.name in names}


def _at_scale(tensors: TensorPair, latents: Sequence[Followed]) -> list[Followed]:
    moments = summarise(tensors).moments
    found = []
    for latent in latents:
        try:
            found.append(latent.at_scale_of(moments))
        except LatentError:  # the record of its AP3 says why
            continue
    return found


def _later(rows: Mapping[str, LayerRecord], layer: str, latent: Followed) -> float | str:
    """KL(P_ω̃*‖P_ω̃ᵗ) of a layer, or of the network: the sum over its trained layers; or why there is none."""
    chosen = rows.values() if layer == NETWORK else (rows[layer],)
    found = [row.divergences.get(latent.column) for row in chosen]
    total = math.fsum(quantity.value for quantity in found if quantity is not None)
    if None in found or not math.isfinite(total):
        return "; ".join(f"{row.layer}: {row.reason}" for row in chosen if row.reason) or "not finite"
    return total


def _epsilons(
    epoch: int, layer: str, latent: Followed, known: Recorded, last: int, later: float | str
) -> Iterator[Record]:
    first, second = known[last, layer, latent.column], known[epoch, layer, latent.column]
    names = [prefix + latent.name for prefix in (DEFINITION, THEOREM)]
    if first.value is None or second.value is None or isinstance(later, str):
        reason = first.reason or second.reason or str(later)
        for name in names:
            yield Record(epoch=epoch, layer=layer, metric=name, value=None, unit="nats", status="exact", reason=reason)
        return
    found = approximate_ap3(dense_to_sparse=first.value, dense_to_iterate=second.value, sparse_to_iterate=later)
    for name, epsilon in zip(names, (found.definition, found.theorem), strict=True):
        yield Record(
            epoch=epoch, layer=layer, metric=name, value=epsilon.value, unit=epsilon.unit, status=epsilon.status
        )


def _bounds(
    dense: Weights,
    path: Sequence[State],
    latents: Sequence[Followed],
    epsilons: Recorded,
    later: Sequence[dict[str, LayerRecord]],
    loss: SmoothLoss | str,
) -> Iterator[Record]:
    if isinstance(loss, str):
        for epoch in range(len(path)):
            yield from (_bound(epoch, latent, loss, "bound") for latent in latents)
        return
    last = path[-1]
    pairs = _pairs(dense, open_weights(last), _trained(dense, path))
    moments = [summarise(tensors).moments for tensors in pairs.values()]
    moved = unprojected_distance(dense, last, pairs)
    status = "bound" if loss.certified else "estimate"
    for epoch, length in enumerate(path_lengths(path)):
        for latent in latents:
            epsilon = epsilons[epoch, NETWORK, THEOREM + latent.name]
            rest = _later(later[epoch], NETWORK, latent)
            yield _bound(epoch, latent, _value(latent, moments, loss, epsilon, rest, length + moved), status)


def _value(
    latent: Followed, moments: list[PairMoments], loss: SmoothLoss, epsilon: Record, later: float | str, length: float
) -> float | str:
    if epsilon.value is None or isinstance(later, str):
        return str(epsilon.reason)
    try:
        return bound_on_loss(latent, moments, loss, epsilon=epsilon.value, later=later, length=length).value
    except (LatentError, TheoryError) as error:
        return str(error)


def _bound(epoch: int, latent: Followed, found: float | str, status: Status) -> Record:
    record = Record(epoch=epoch, layer=NETWORK, metric=BOUND + latent.name, value=None, unit="nats", status=status)
    changes = {"reason": found} if isinstance(found, str) else {"value": found}
    return msgspec.structs.replace(record, **changes)
