"""Answers to the two questions about AP3, in words that the numbers of the studies choose."""

from collections.abc import Iterator, Sequence

from shrinkscope.experiments.claims import Test
from shrinkscope.report.format import number
from shrinkscope.report.markdown import interval, table
from shrinkscope.report.reproduced import Reproduced
from shrinkscope.report.vocabulary import heading, term

PREDICTIVE = "ap3_predictive"
_SAMPLED, _GROUPED, _ROTATED = "ap3_student_t_sampled", "ap3_student_t_grouped", "ap3_gaussian_rotated"
PAPERS = (_SAMPLED, _GROUPED, _ROTATED)
"""The AP3s that the paper computes: Student-t as sampled and exact, and the non-diagonal Gaussian."""


def answers(found: Sequence[Reproduced]) -> str:
    """Answer whether AP3 as in the paper, and the predictive latent, order networks better than AP2 does.

    Args:
        found: The studies.

    Returns:
        Markdown: a sentence for each question, and the comparisons that it counts.
    """
    parts = []
    for question, measures in (
        ("Does AP3 as in the paper add information to AP2?", PAPERS),
        ("Does the predictive latent?", (PREDICTIVE,)),
    ):
        tests = [(one, test) for one in found for test in _asked(one, measures)]
        parts += [f"### {question}", _verdict([test for _, test in tests], measures), _table(tests)]
    parts += list(_together(found)) + list(_noise(found))
    return "\n\n".join(parts)


def _asked(one: Reproduced, measures: Sequence[str]) -> Iterator[Test]:
    """The comparisons with AP2 after fine-tuning, where the paper makes them."""
    yield from (test for test in one.claims.tests if test.first in measures and test.epoch == one.last)


def _verdict(tests: Sequence[Test], measures: Sequence[str]) -> str:
    measurable = [test.over_cells for test in tests if test.over_cells.measurable]
    if not measurable:
        return f"Not measured: no study recorded {' or '.join(term(name).label for name in measures)}."
    better = sum(pair.lower is not None and pair.lower > 0 for pair in measurable)
    worse = sum(pair.upper is not None and pair.upper < 0 for pair in measurable)
    alike = sum(pair.shared == 1 for pair in measurable)
    significant = [test for test in tests if test.p_adjusted < 0.05]
    wins = sum(test.over_cells.signs.better > test.over_cells.signs.worse for test in significant)
    if better > len(measurable) / 2 and worse == 0:
        said = "**Yes.**"
    elif better == 0:
        said = "**No.**" if worse == 0 else "**No; it loses some.**"
    elif better > worse:
        said = "**In some studies, not in all.**"
    else:
        said = "**Not dependably.**"
    undecided = len(measurable) - better - worse
    return (
        f"Between the methods at one level, the paper's comparison: {said} Of {len(measurable)} comparisons with AP2 "
        f"after fine-tuning (study × measure × PD), the interval of the difference in τ lies above 0 in {better}, "
        f"below 0 in {worse}, and contains it in {undecided}; in {alike} both order all pairs alike (τ between them "
        f"1). The sign test over trials × levels stays below 0.05 after Holm's step in {len(significant)}, "
        f"{wins} of them in its favour."
    )


def _table(tests: Sequence[tuple[Reproduced, Test]]) -> str:
    rows = [
        [
            f"`{one.name}`",
            heading(test.first),
            term(test.pd).label,
            number(test.over_cells.first, 2),
            number(test.over_cells.second, 2),
            interval(test.over_cells.difference, test.over_cells.lower, test.over_cells.upper),
            number(test.over_cells.shared, 2),
        ]
        for one, test in tests
    ]
    return table(("study", "AP3", "PD", "τ of AP3", "τ of AP2", "difference", "τ between them"), rows)


def _together(found: Sequence[Reproduced]) -> Iterator[str]:
    """All networks of a trial held against each other, where methods and levels both differ."""
    yield "### And over methods and levels together?"
    yield "τ over all pairs of networks of a trial, after fine-tuning:"
    shown = ("ap2", _ROTATED, _GROUPED, _SAMPLED, PREDICTIVE)
    rows: list[list[str]] = []
    counts = {ap: [0, 0, 0] for ap in shown[1:]}
    for one in found:
        last = [c for c in one.claims.concordance if (c.compared, c.epoch) == ("all", one.last)]
        for pd_name in dict.fromkeys(claim.pd for claim in last):
            taus = {claim.ap: claim.concordance.tau for claim in last if claim.pd == pd_name}
            rows.append([f"`{one.name}`", term(pd_name).label, *(number(taus.get(ap), 2) for ap in shown)])
            for ap, count in counts.items():
                tau, base = taus.get(ap), taus.get("ap2")
                if tau is not None and base is not None:
                    count[0 if tau > base else 1 if tau < base else 2] += 1
    said = (f"{term(ap).label} {more} and {less}" for ap, (more, less, _) in counts.items() if more + less)
    yield f"Rows in which τ is larger and in which it is smaller than that of AP2: {'; '.join(said) or 'none'}."
    yield table(("study", "PD", *map(heading, shown)), rows)


def _noise(found: Sequence[Reproduced]) -> Iterator[str]:
    """How noisy the paper's estimate is, beside its value."""
    sampled = [(one, one.records.loc[one.records["metric"] == _SAMPLED]) for one in found]
    sampled = [(one, rows.loc[rows["value"] > 0]) for one, rows in sampled if len(rows)]
    if not sampled:
        return
    yield "### What does sampling add?"
    yield (
        "Noise. The table has the standard error of the sampled Student-t as a share of its value, in the median over "
        "networks and epochs and at worst, as run here and with as many repeats as the paper has (100, which divide it "
        "by √100 against one)."
    )
    rows = []
    for one, found_rows in sampled:
        share = found_rows["standard_error"] / found_rows["value"]
        once = float(share.median()), float(share.max())
        rows.append(
            [f"`{one.name}`", *(number(value, 2) for value in once), *(number(value / 10, 2) for value in once)]
        )
    yield table(("study", "median", "worst", "median, 100 repeats", "worst, 100 repeats"), rows)
