"""The page that says what studies found about the paper's claims: what was run, numbers, and answers from them."""

import json
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import pandas as pd

from shrinkscope.experiments.baselines import BASELINES
from shrinkscope.experiments.claims import Claims, Test
from shrinkscope.experiments.records import Run
from shrinkscope.report.answers import answers
from shrinkscope.report.format import number, percent
from shrinkscope.report.markdown import spread, table
from shrinkscope.report.reproduced import Reproduced, baseline_rows, dense_accuracy, reproduced, set_up
from shrinkscope.report.vocabulary import heading, term

PDS = ("pd_accuracy_test", "pd_loss_test")
SHOWN = (0, 1, 2, 3, 5, 10, 20)


def reproduction_page(runs: Sequence[Run], records: pd.DataFrame, before: str, pictures: Mapping[str, str]) -> str:
    """Write the page.

    Args:
        runs: The runs, in the order of the page.
        records: The long table of all of them.
        before: Markdown above the results: what is generally to be said about them.
        pictures: Markdown after a run's tables, by its study's name.

    Returns:
        Markdown; the same for the same records.
    """
    found = [reproduced(run, records.loc[records["run"] == run.run], PDS, SHOWN) for run in runs]
    parts = [before.rstrip(), "## What was run", _runs_table(found), "## Answers", answers(found)]
    for one in found:
        parts += [f"## {one.name}", *_study(one)]
        if one.name in pictures:
            parts.append(pictures[one.name].strip())
    return "\n\n".join(parts) + "\n"


def _runs_table(found: Sequence[Reproduced]) -> str:
    rows = [
        [f"`{one.name}`", *set_up(json.loads(one.run.config)), dense_accuracy(one.records), f"`{one.run.run}`"]
        for one in found
    ]
    columns = ("study", "network", "images: trained on, held out", "pruned", "epochs", "dense accuracy", "run")
    hardware = "; ".join(dict.fromkeys(one.run.hardware for one in found))
    versions: dict[str, str] = json.loads(found[0].run.versions)
    named = ", ".join(f"{name} {versions[name]}" for name in ("shrinkscope", "torch", "numpy") if name in versions)
    return table(columns, rows) + f"\n\nComputed on {hardware}, with {named}."


def _study(one: Reproduced) -> Iterator[str]:
    trials = one.records["trial"].nunique()
    kind = (
        "a 95 % bootstrap interval over the trials"
        if any(claim.concordance.lower is not None for claim in one.claims.concordance)
        else f"that of the lowest and the highest trial: {trials} are too few for an interval"
    )
    yield (
        f"Kendall's τ of each measure with PD between the methods at one level, within a trial, with {kind}. Before "
        f"fine-tuning is epoch 0, after it epoch {one.last}."
    )
    yield _main_table(one)
    yield "AP3 against AP2 on the same networks: difference in τ (interval over networks), and τ between the two."
    yield _tests_table(one.claims.tests, "AP3")
    if one.claims.effects:
        yield "What each ingredient changes: the first measure against the second."
        yield _tests_table(one.claims.effects, "ingredient")
    yield f"Where it holds: τ with {term(PDS[0]).label} after epoch {one.last}, by level and by method."
    yield _where_table(one)
    yield f"By epoch, τ with {term(PDS[0]).label} between methods:"
    yield _epochs_table(one)
    yield f"Pairs that AP and {term(PDS[0]).label} order alike, by the ratio of the two AP values, epoch {one.last}:"
    yield _contrast_table(one)
    yield "Failures that the paper's text concedes, looked for at the epochs of the table above:"
    yield _failures_table(one)


def _main_table(one: Reproduced) -> str:
    found = {(c.ap, c.pd, c.epoch): c.concordance for c in one.claims.concordance if _over(c, "methods")}
    aps = list(dict.fromkeys(key[0] for key in found))
    ends = [(pd_name, epoch) for pd_name in PDS for epoch in (0, one.last)]
    rows = [[term(ap).label, *(spread(found[ap, *end]) for end in ends)] for ap in aps]
    for name, cells in baseline_rows(one, ends).items():
        rows.append([f"*{BASELINES[name]}*", *map(spread, cells)])
    return table(("measure", *(f"{term(name).label}, epoch {epoch}" for name, epoch in ends)), rows)


def _over(claim: msgspec.Struct, compared: str) -> bool:
    return claim.compared == compared and claim.where == ""  # pyright: ignore[reportAttributeAccessIssue]


def _tests_table(tests: Sequence[Test], what: str) -> str:
    rows = []
    for test in tests:
        pair = test.over_cells
        name = (
            heading(test.first) if what == "AP3" else f"{test.question}: {heading(test.first)}, {heading(test.second)}"
        )
        rows.append(
            [
                name,
                term(test.pd).label,
                str(test.epoch),
                number(pair.first, 2),
                number(pair.second, 2),
                spread(pair),
                number(pair.shared, 2),
                f"{pair.signs.better} : {pair.signs.worse} ({pair.signs.tied} alike), p = {number(test.p_adjusted, 2)}",
            ]
        )
    other = "τ of AP2" if what == "AP3" else "τ without"
    return table((what, "PD", "epoch", "τ", other, "difference", "τ between", "trials × levels won : lost"), rows)


def _where_table(one: Reproduced) -> str:
    found = {
        (c.ap, c.compared, c.where): c.concordance
        for c in one.claims.concordance
        if c.where and c.epoch == one.last and c.pd == PDS[0]
    }
    places = list(dict.fromkeys(key[1:] for key in found))
    rows = [
        [heading(ap), *(number(found[ap, *place].tau, 2) for place in places)]
        for ap in dict.fromkeys(key[0] for key in found)
    ]
    names = [f"methods at {where}" if compared == "methods" else f"levels of {where}" for compared, where in places]
    return table(("measure", *names), rows)


def _epochs_table(one: Reproduced) -> str:
    found = {(c.ap, c.epoch): c.concordance for c in one.claims.concordance if _over(c, "methods") and c.pd == PDS[0]}
    epochs = sorted({key[1] for key in found})
    rows = [
        [heading(ap), *(number(found[ap, epoch].tau, 2) for epoch in epochs)]
        for ap in dict.fromkeys(key[0] for key in found)
    ]
    return table(("measure", *(f"epoch {epoch}" for epoch in epochs)), rows)


def _contrast_table(one: Reproduced) -> str:
    shown = [found for found in one.claims.contrasts if found.epoch == one.last and found.pd == PDS[0]]
    ratios = [f"{number(b.least, 2)} to {number(b.below, 2)}" for b in shown[0].bins]
    rows = [[heading(f.ap), *(f"{percent(b.concordant, 0)} of {b.pairs}" for b in f.bins)] for f in shown]
    return table(("measure", *ratios), rows)


def _failures_table(one: Reproduced) -> str:
    rows = [
        [
            failure.claim,
            heading(failure.ap),
            term(failure.pd).label,
            "n/a" if failure.found is None else "yes" if failure.found else "no",
            f"{failure.discordant} of {failure.pairs}",
        ]
        for failure in _conceded(one.claims)
    ]
    return table(("failure", "AP", "PD", "found", "pairs ordered differently"), rows)


def _conceded(found: Claims) -> Iterator:
    wanted = ("ap2", "ap3_student_t_sampled", "ap3_student_t_grouped", "ap3_predictive")
    present = {failure.ap for failure in found.failures}
    shown = [ap for ap in wanted if ap in present]
    if {"ap3_student_t_sampled", "ap3_student_t_grouped"} <= present:
        shown.remove("ap3_student_t_grouped")
    yield from (failure for failure in found.failures if failure.ap in shown)
