"""Which cells of a study are carried out together on cached features."""

import functools

from shrinkscope.experiments.architectures import head_of
from shrinkscope.experiments.data import Images
from shrinkscope.experiments.heads.locate import FeaturesError
from shrinkscope.experiments.heads.trial import head_name
from shrinkscope.experiments.networks import new_network
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.study import Bench


def goes_together(bench: Bench, cell: Cell) -> bool:
    """Whether a cell is carried out on cached features, with the others of its kind.

    Args:
        bench: The study and its data.
        cell: The cell.

    Returns:
        True for dense networks whose last layer alone is trained, or nothing, and for cells that prune and train the
        last layer, if the study says ``features``, or ``auto`` and the data are images and the network ends in the
        linear layer that is pruned.

    Raises:
        FeaturesError: If the study says ``features`` and the network does not end in that layer.
        DataError: If the data cannot be read.
    """
    study = bench.study
    if study.path == "whole" or (study.path == "auto" and not isinstance(study.data, Images)):
        return False
    alone = study.training is None or study.trained == "last" if cell.dense else cell.scope == "last"
    if not alone or (not cell.dense and study.finetune != "scope"):
        return False
    reason = _obstacle(bench)
    if reason is not None and study.path == "features":
        raise FeaturesError(reason)
    return reason is None


@functools.lru_cache(maxsize=4)
def _obstacle(bench: Bench) -> str | None:
    """Why the last layer that is pruned is not what the network puts out; None if it is."""
    model = new_network(bench.study.network, 0, bench.classes).to(bench.device)
    try:
        found = head_name(bench, model)
    except FeaturesError as error:
        return str(error)
    pruned = bench.study.last or f"{head_of(model)}.weight"
    if pruned != f"{found}.weight":
        return f"{pruned} is pruned, but the network ends in {found}; path = 'whole' trains such a network"
    return None
