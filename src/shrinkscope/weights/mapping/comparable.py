"""Two networks that are not written alike made comparable, every decision noted."""

from shrinkscope.weights.mapping.adapters import merge_adapter
from shrinkscope.weights.mapping.align import align
from shrinkscope.weights.mapping.beside import heads_beside
from shrinkscope.weights.mapping.factorised import multiply
from shrinkscope.weights.mapping.fusing import fuse
from shrinkscope.weights.mapping.known import FACTORS, FUSIONS
from shrinkscope.weights.mapping.renaming import by_prefix, by_rules
from shrinkscope.weights.mapping.rules import Rules
from shrinkscope.weights.mapping.step import Note, Step
from shrinkscope.weights.view import Weights


def comparable(dense: Weights, compressed: Weights, rules: Rules | None = None) -> Step:
    """Bring the compressed network into the dense one's form: its names, its tensors, its shapes.

    Nothing is read for it but the layers whose channels have to be matched; the tensors that come back compute what
    they hold window by window.

    Args:
        dense: The network before.
        compressed: The network after.
        rules: What the user knows; everything else is found.

    Returns:
        Both networks, a note for every decision that was made, and the reason for each tensor that was left in another
        shape. The dense network is changed only where it is itself factorised and the other is not, or by a rule.

    Raises:
        PairingError: If a rule fits nothing, names can be matched in two ways, or an adapter cannot be merged.
    """
    rules = rules if rules is not None else Rules()
    notes: list[Note] = []
    step = by_rules(dense, compressed, rules.rename)
    notes += step.notes
    if rules.prefixes:
        step = by_prefix(step.dense, step.compressed)
        notes += step.notes
    step = merge_adapter(step.dense, step.compressed, rules.adapter)
    notes += step.notes
    # Names that both networks have need neither be split nor multiplied; most pairs are done here.
    if set(step.dense) != set(step.compressed):
        heads = rules.heads if rules.heads is not None else heads_beside(dense.place, compressed.place)
        step = multiply(step.dense, step.compressed, (*rules.factors, *FACTORS))
        notes += step.notes
        step = fuse(step.dense, step.compressed, (*rules.fusions, *FUSIONS), heads)
        notes += step.notes
    step = align(step.dense, step.compressed, rules.kept, rules.alignment)
    return Step(dense=step.dense, compressed=step.compressed, notes=(*notes, *step.notes), reasons=step.reasons)
