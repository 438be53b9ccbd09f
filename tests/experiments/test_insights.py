"""What the demo says about its own APs is computed from the records, and true where the truth is known."""

import itertools
import re

import pandas as pd
import pytest
import torch

from shrinkscope import compare
from shrinkscope.experiments.insights import insights


def records(latents: list[str], side: int = 80, noise: float = 0.02) -> pd.DataFrame:
    """Records of a layer of side² weights, perturbed with random signs: a little, as fine weights are."""
    generator = torch.Generator().manual_seed(3)
    denses = [torch.randn(side, side, generator=generator, dtype=torch.float64) for _ in range(2)]
    rows = []
    for trial, method, level in itertools.product((1, 2), ("lowest", "random"), (0.1, 0.5)):
        dense = denses[trial - 1]
        change = noise * level * torch.randn(side, side, generator=generator, dtype=torch.float64)
        compared = compare({"w": dense}, {"w": dense + change}, latents=latents)
        for layer, found in (("w", compared.rows[0]), ("", compared.total)):
            values = {"ap2": found.ap2} | {name: quantity.value for name, quantity in found.divergences.items()}
            rows += [
                {"trial": trial, "scope": "last", "method": method, "level": level, "epoch": 0, "layer": layer}
                | {"metric": metric, "value": value}
                for metric, value in values.items()
            ]
    return pd.DataFrame(rows)


def test_grouping_shrinks_by_the_square_of_the_group_length():
    found = next(text for text in insights(records(["student_t_grouped"])) if text.startswith("Averaging"))
    match = re.search(r"by a factor of: w (\S+)\.$", found)
    assert match is not None
    # 6,400 weights make 100 groups of 64. A mean of 100 squared normals has relative deviation √(2/100), and the median
    # of eight of them about half of it: four deviations are 28 %.
    assert float(match[1]) == pytest.approx(64**2, rel=0.28)


def test_one_scale_orders_as_ap2():
    found = next(text for text in insights(records(["gaussian", "student_t"])) if text.startswith("For Σ"))
    assert "AP3 Gaussian +1.000 and AP3 Student-t +1.000" in found


def test_values_below_the_sampling_noise_are_counted():
    quiet = records(["student_t_grouped"], noise=1e-3)
    grouped = quiet[(quiet["metric"] == "ap3_student_t_grouped") & (quiet["layer"] != "")]["value"]
    assert grouped.max() < 3e-5  # nine times two over 600,000
    assert any(f"{len(grouped)} of the {len(grouped)} grouped values" in text for text in insights(quiet))


def test_what_was_not_recorded_is_not_spoken_of():
    assert insights(records(["uniform"])) == []


def followed(bound: float | None = 8.0, scope: str = "last", status: str = "bound") -> pd.DataFrame:
    """Four networks over two epochs, with numbers that can be checked in the head."""
    rows = []
    for place, (method, level) in enumerate(itertools.product(("lowest", "random"), (0.1, 0.5))):
        ap3 = 10.0 * (place + 1)
        values = {
            "ap2": (ap3 - 1, ap3),
            "ap3_gaussian": (ap3 - 1, ap3),
            "epsilon_2_7_gaussian": (1.0, 0.0),
            # Of the last network alone it falls.
            "epsilon_3_6_gaussian": (ap3 + (5 if place == 3 else -5), ap3),
            "bound_3_6_gaussian": (bound, bound),
            "pd_loss_train": (4.0 if place else 16.0, 2.0),
        }
        rows += [
            {
                "trial": 1,
                "scope": scope,
                "status": status,
                "method": method,
                "level": level,
                "epoch": epoch,
                "layer": "",
            }
            | {"metric": metric, "value": pair[epoch]}
            for metric, pair in values.items()
            for epoch in (0, 1)
        ]
    return pd.DataFrame(rows)


def test_the_two_meanings_of_approximately_ap3_are_told_with_their_numbers():
    found = next(text for text in insights(followed()) if text.startswith("“Approximately"))
    assert "(AP3 Gaussian): after the last of 1 epochs ε of Definition 2.7 is 0 in 4 of 4 networks" in found
    assert "from a median of 1 nats just after pruning" in found
    assert "ε of Theorem 3.6 is AP3 itself in 4 of 4" in found
    assert "10 to 40 nats, median 25" in found
    assert found.endswith("over fine-tuning it fell in 1 of 4 networks.")


def test_a_bound_is_told_with_how_often_it_held_and_how_far_above_it_lies():
    found = next(text for text in insights(followed()) if text.startswith("The corrected bound"))
    # Ratios: 8/16 once, 8/4 thrice, 8/2 four times.
    assert "held at 7 of 8 epochs of the 4 networks in which the last layer alone was trained" in found
    assert found.endswith("in median 3 times the measured difference (0 to 4 times).")


def test_an_estimate_is_told_apart_from_a_bound():
    both = pd.concat([followed(), followed(bound=80.0, scope="all", status="estimate")])
    found = next(text for text in insights(both) if text.startswith("The corrected bound"))
    certified, looked_for = found.split("; ")
    assert "the last layer alone was trained, where it is certified, and is in median 3 times" in certified
    assert "at 8 of 8 epochs of the 4 networks in which all layers were trained" in looked_for
    assert "certifies nothing, and is in median 30 times the measured difference (5 to 40 times)." in looked_for


def test_without_a_bound_nothing_is_said_of_it():
    assert not [text for text in insights(followed(bound=None)) if text.startswith("The corrected bound")]
