"""Answers to the two questions about AP3, in words that the numbers of the studies choose."""

from collections.abc import Iterator, Sequence

from shrinkscope.experiments.claims import Test
from shrinkscope.report.format import number
from shrinkscope.report.markdown import spread, table
from shrinkscope.report.reproduced import Reproduced
from shrinkscope.report.together import PAPERS, PREDICTIVE, SAMPLED, advantages, together
from shrinkscope.report.vocabulary import heading, term

QUESTIONS = (
    ("Does AP3 as in the paper add information to AP2?", PAPERS),
    ("Does the predictive latent?", (PREDICTIVE,)),
)


def answers(found: Sequence[Reproduced]) -> str:
    """Answer whether AP3 as in the paper, and the predictive latent, order networks better than AP2 does.

    Args:
        found: The studies.

    Returns:
        Markdown: a sentence for each question, and the comparisons that it counts.
    """
    parts = []
    for question, measures in QUESTIONS:
        tests = [(one, test) for one in found for test in _asked(one, measures)]
        parts += [f"### {question}", _verdict([test for _, test in tests], measures), _table(tests)]
    parts += list(together(found)) + list(_noise(found))
    return "\n\n".join(parts)


def conclusions(found: Sequence[Reproduced]) -> list[tuple[str, str]]:
    """The same answers without their tables.

    Args:
        found: The studies.

    Returns:
        Questions and what the numbers say to them, as plain text.
    """
    said = [
        (question, _verdict([test for one in found for test in _asked(one, measures)], measures))
        for question, measures in QUESTIONS
    ]
    said.append(advantages(found))
    return [(question, answer.replace("**", "")) for question, answer in said]


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
            spread(test.over_cells),
            number(test.over_cells.shared, 2),
        ]
        for one, test in tests
    ]
    return table(("study", "AP3", "PD", "τ of AP3", "τ of AP2", "difference", "τ between them"), rows)


def _noise(found: Sequence[Reproduced]) -> Iterator[str]:
    """How noisy the paper's estimate is, beside its value."""
    sampled = [(one, one.records.loc[one.records["metric"] == SAMPLED]) for one in found]
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
