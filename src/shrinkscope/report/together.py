"""Whether an AP3 adds to AP2 where methods and levels both differ: all networks of a trial held against each other."""

from collections.abc import Iterator, Sequence

from shrinkscope.experiments.pooled import Pooled, pooled
from shrinkscope.report.format import number
from shrinkscope.report.markdown import spread, table
from shrinkscope.report.reproduced import Reproduced
from shrinkscope.report.vocabulary import heading, term

PREDICTIVE = "ap3_predictive"
SAMPLED, GROUPED, ROTATED = "ap3_student_t_sampled", "ap3_student_t_grouped", "ap3_gaussian_rotated"
PAPERS = (SAMPLED, GROUPED, ROTATED)
"""The AP3s that the paper computes: Student-t as sampled and exact, and the non-diagonal Gaussian."""

_SHOWN = (ROTATED, GROUPED, SAMPLED, PREDICTIVE)
_QUESTION = "And over methods and levels together?"


def together(found: Sequence[Reproduced]) -> Iterator[str]:
    """The section of the page: the answer, the studies together, and each by itself.

    Args:
        found: The studies.
    """
    question, answer = advantages(found)
    yield f"### {question}"
    yield answer
    yield (
        "All studies together: τ over all pairs of networks of a trial, and its difference from that of AP2 in pairs, "
        "with 95 % bootstrap intervals that resample trials, and that resample whole studies, whose trials share data "
        "and pre-trained layers. The sign test counts trials."
    )
    yield _pooled_table(_pooled(found))
    yield (
        "Each study: τ over all pairs of networks of a trial, and by how much that of the predictive latent is larger "
        "than that of AP2, with a 95 % bootstrap interval over networks and, in round brackets, the lowest and the "
        "highest trial."
    )
    yield _studies_table(found)


def advantages(found: Sequence[Reproduced]) -> tuple[str, str]:
    """Say for each AP3 on which PD it orders the networks of all studies better than AP2, or worse.

    Args:
        found: The studies.

    Returns:
        The question and the answer.
    """
    everything = _pooled(found)
    said = [_advantage(ap, [one for one in everything if one.first == ap]) for ap in _SHOWN]
    told = [sentence for sentence in said if sentence]
    if not told:
        return _QUESTION, "Not measured: no study recorded AP2 beside one of these AP3s."
    predictive = [one for one in everything if one.first == PREDICTIVE]
    return _QUESTION, " ".join(([_verdict(predictive)] if predictive else []) + told)


def _verdict(found: Sequence[Pooled]) -> str:
    better, worse = _outside(found)
    name = term(PREDICTIVE).label
    if worse:
        return f"**{name} does not add to AP2 dependably.**"
    if len(better) == len(found):
        beyond = (
            "" if all(map(_firm, found)) else " in these studies, which are too few to tell whether it would in others"
        )
        return f"**{name} adds to AP2{beyond}.**"
    return f"**{name} adds to AP2 for some PDs.**" if better else f"**{name} is not told apart from AP2.**"


def _outside(found: Sequence[Pooled]) -> tuple[list[Pooled], list[Pooled]]:
    """Those whose interval over trials lies above 0, and those whose lies below."""
    pairs = [(one, one.over_trials) for one in found]
    better = [one for one, pair in pairs if pair.lower is not None and pair.lower > 0]
    return better, [one for one, pair in pairs if pair.upper is not None and pair.upper < 0]


def _advantage(ap: str, found: Sequence[Pooled]) -> str:
    if not found:
        return ""
    better, worse = _outside(found)
    level = [one for one in found if one not in better and one not in worse]
    kinds = (("better than AP2 on", better), ("worse than AP2 on", worse), ("not told apart from AP2 on", level))
    return f"{term(ap).label}: " + "; ".join(f"{how} {_named(those)}" for how, those in kinds if those) + "."


def _named(found: Sequence[Pooled]) -> str:
    return " and ".join(f"{term(one.pd).label} ({_told(one)})" for one in found)


def _told(one: Pooled) -> str:
    trials, studies = one.over_trials, one.over_studies
    if trials.lower is None:
        return f"{spread(trials)}, {trials.reason}"
    firm = _firm(one)
    inside = trials.lower <= 0 <= (trials.upper or 0.0)
    also = "" if inside or studies.lower is None else ", also" if firm else ", not"
    whole = f"{also} over whole studies" if also else ""
    return f"{spread(trials)} over {trials.units} trials{whole}"


def _firm(one: Pooled) -> bool:
    """Whether the interval over whole studies leaves 0 out, too."""
    pair = one.over_studies
    return pair.lower is not None and pair.upper is not None and (pair.lower > 0 or pair.upper < 0)


def _pooled(found: Sequence[Reproduced]) -> list[Pooled]:
    tables = [cases for one in found for cases in one.cases()]
    pds = dict.fromkeys(test.pd for one in found for test in one.claims.together)
    made = [pooled(tables, ap, "ap2", name) for ap in _SHOWN for name in pds]
    return [one for one in made if one is not None]


def _pooled_table(found: Sequence[Pooled]) -> str:
    rows = [
        [
            term(one.first).label,
            term(one.pd).label,
            str(one.studies),
            number(one.over_trials.first, 2),
            number(one.over_trials.second, 2),
            spread(one.over_trials),
            spread(one.over_studies),
            f"{one.over_trials.signs.better} : {one.over_trials.signs.worse}, p = {number(one.over_trials.signs.p, 2)}",
        ]
        for one in found
    ]
    columns = (
        "AP3",
        "PD",
        "studies",
        "τ",
        "τ of AP2",
        "difference, trials",
        "difference, studies",
        "trials won : lost",
    )
    return table(columns, rows)


def _studies_table(found: Sequence[Reproduced]) -> str:
    rows = []
    for one in found:
        last = [c for c in one.claims.concordance if (c.compared, c.epoch) == ("all", one.last)]
        tests = {(t.pd, t.scope): t for t in one.claims.together if (t.first, t.epoch) == (PREDICTIVE, one.last)}
        for pd_name, scope in dict.fromkeys((claim.pd, claim.scope) for claim in last):
            taus = {c.ap: c.concordance.tau for c in last if (c.pd, c.scope) == (pd_name, scope)}
            test = tests.get((pd_name, scope))
            difference = "n/a" if test is None else spread(test.over_cells)
            if test is not None and test.over_trials.least is not None:
                difference += f" ({number(test.over_trials.least, 2)} to {number(test.over_trials.most, 2)})"
            shown = (number(taus.get(ap), 2) for ap in ("ap2", *_SHOWN))
            rows.append([f"`{one.name}`", term(pd_name).label, *shown, difference])
    columns = ("study", "PD", "AP2", *map(heading, _SHOWN), f"{heading(PREDICTIVE)} − AP2")
    return table(columns, rows)
