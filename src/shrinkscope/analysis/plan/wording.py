"""A plan in a few lines of plain text."""

from typing import TYPE_CHECKING

from shrinkscope.analysis.plan.parts import SYNTHETIC

if TYPE_CHECKING:
    from shrinkscope.analysis.plan.records import Plan

_NAMED = 3
_ALL = 8  # layers whose bits are named
_WITHIN = {
    "magnitude": ", the lowest magnitudes of each",
    "compensated": "; the weights that stay make up for them",
    "informed": ", the lowest |w|·‖x‖ of each",
}
_NOISE = 2  # standard errors


def plan_in_words(plan: "Plan") -> str:
    """What to remove where, what that is predicted to do, how sure that is, and what it took.

    Args:
        plan: The plan.
    """
    return "\n".join([_what(plan), _where(plan), *_damage(plan), *_rivals(plan), *_cost(plan), *plan.notes])


def done_in_words(plan: "Plan") -> str:
    """What carrying a plan out has done, in a sentence.

    Args:
        plan: The plan.
    """
    of = f"of {plan.weights:,} planned weights are"
    done = [f"{plan.removed:,} {of} zero ({100 * plan.sparsity:.1f} %)"] if plan.removed else []
    rounded = sum(row.weights for row in plan.rows if row.bits is not None)
    done += [f"{rounded:,} {of} rounded, in their own type"] if rounded else []
    ranked = sum(row.weights for row in plan.rows if row.rank is not None)
    done += [f"{ranked:,} {of} products of two factors, multiplied out"] if ranked else []
    return (", ".join(done) or f"0 {of} changed") + "."


def _what(plan: "Plan") -> str:
    settings = plan.settings
    if settings.method == "bits":
        return _bits(plan)
    if settings.method != "unstructured":
        return _choices(plan)
    asked = f" for size = {settings.size}" if settings.size is not None else ""
    asked = f" for flops = {settings.flops:g}" if settings.flops is not None else asked
    return (
        f"{plan.settings.allocation}: remove {plan.removed:,} of {plan.weights:,} weights "
        f"({100 * plan.sparsity:.1f} %) in {len(plan.rows)} layers{asked}{_WITHIN[plan.settings.within]}."
    )


def _bits(plan: "Plan") -> str:
    rounded = [row for row in plan.rows if row.bits is not None]
    weights = sum(row.weights for row in rounded)
    mean = sum((row.bits or 0) * row.weights for row in rounded) / max(weights, 1)
    whole = f", {len(plan.rows) - len(rounded)} left as they are" if len(rounded) < len(plan.rows) else ""
    return f"{plan.settings.allocation}: {mean:.2f} bits a weight in {len(rounded)} layers{whole}" + (
        f"; the network takes {plan.size:,} bytes." if plan.size is not None else "."
    )


def _choices(plan: "Plan") -> str:
    changed = [row for row in plan.rows if row.choice != "as it is"]
    whole = f", {len(plan.rows) - len(changed)} left as they are" if len(changed) < len(plan.rows) else ""
    taken = f"; the network takes {plan.size:,} bytes" if plan.size is not None else ""
    taken += f" and {plan.operations:,} operations a pass" if plan.operations is not None else ""
    return f"{plan.settings.allocation}: {plan.settings.method} in {len(changed)} layers{whole}{taken}."


def _where(plan: "Plan") -> str:
    if plan.groups:
        return (
            "Gone: "
            + "; ".join(f"{group.name} {group.removed} of {group.channels} channels" for group in plan.groups[:_ALL])
            + (f"; and {len(plan.groups) - _ALL} groups more." if len(plan.groups) > _ALL else ".")
        )
    if plan.settings.method not in ("bits", "unstructured"):
        return "; ".join(f"{row.layer} {row.choice}" for row in plan.rows[:_ALL]) + (
            f"; and {len(plan.rows) - _ALL} more." if len(plan.rows) > _ALL else "."
        )
    if plan.settings.method == "bits":
        return "; ".join(f"{row.layer} {row.bits or 'as it is'}" for row in plan.rows[:_ALL]) + (
            f"; and {len(plan.rows) - _ALL} more." if len(plan.rows) > _ALL else "."
        )
    rows = sorted(plan.rows, key=lambda row: row.level)
    mild = ", ".join(f"{row.layer} {100 * row.level:.0f} %" for row in rows[:_NAMED])
    harsh = ", ".join(f"{row.layer} {100 * row.level:.0f} %" for row in rows[max(_NAMED, len(rows) - _NAMED) :][::-1])
    return f"Least from {mild}" + (f"; most from {harsh}." if harsh else ".")


def _damage(plan: "Plan") -> list[str]:
    if plan.kl is None:
        return ["No inputs, so no damage is predicted."]
    after = ", batch norm's statistics re-estimated afterwards" if plan.settings.reestimate else ""
    lines = [f"Predicted joint KL: {_estimate(plan.kl.value, plan.kl.standard_error)} nats{after}."]
    if plan.disagreement is not None:
        share = plan.disagreement
        error = None if share.standard_error is None else 100 * share.standard_error
        judged = plan.settings.inputs - plan.settings.searched
        # Of no change seen no standard error can be told.
        often = f"{_estimate(100 * share.value, error)} % of" if share.value else f"none of the {judged}"
        lines.append(f"Predicted class changes for {often} inputs.")
    if plan.settings.source.startswith(SYNTHETIC):
        made = plan.settings.source.removeprefix(f"{SYNTHETIC}: ")
        lines.append(
            f"All of this is of inputs made from the network itself ({made}), not of data: it orders choices, up to "
            "middle sparsities, and does not say what is lost on real ones."
        )
    if plan.drop is not None and plan.drop.value is not None:
        drop = plan.drop
        lines.append(
            f"Predicted difference: {drop.value:.3g} {drop.unit}, {100 * drop.confidence:.0f} % interval "
            f"[{drop.lower:.3g}, {drop.upper:.3g}]."
        )
    return lines


def _rivals(plan: "Plan") -> list[str]:
    near = [
        rival.allocation for rival in plan.rivals if rival.excess.value < _NOISE * (rival.excess.standard_error or 0.0)
    ]
    if near:
        return [f"Not told apart from {', '.join(near)} by these inputs."]
    if not plan.rivals:
        return []
    best = min(plan.rivals, key=lambda rival: rival.kl.value)
    return [f"The best other allocation is {best.allocation}: {best.kl.value:.3g} nats."]


def _cost(plan: "Plan") -> list[str]:
    if not plan.forward_equivalents:
        return []
    return [f"Cost: {plan.forward_equivalents:,.0f} forward-equivalents (passes of the network over one input)."]


def _estimate(value: float, error: float | None) -> str:
    return f"{value:.3g}" if error is None else f"{value:.3g} ± {error:.2g}"
