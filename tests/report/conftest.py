"""Records as the demo writes them, made up: two scopes, three methods, four levels, three trials, 20 epochs."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from msgspec.structs import replace

from shrinkscope.analysis import Comparison, Explanation, compare, explain
from shrinkscope.report.figures import Picture, demo_figures

LAYERS = {"conv1.weight": 144, "conv2.weight": 4608, "conv3.weight": 9216, "head.weight": 640}
METHODS = {"lowest": 3.0, "random": 1.0, "highest": 0.35}  # exponent: how little of the norm a level removes
LEVELS = (0.1, 0.3, 0.5, 0.8)
EPOCHS = 20
NATS = ("ap3_gaussian", "ap3_student_t", "ap3_student_t_grouped", "ap3_gaussian_rotated")


def _layer_metrics(parameters: int, share: float, noise: float) -> dict[str, float]:
    ap2 = share * 0.01 * parameters * noise
    delta2 = share * parameters
    return {
        "ap2": ap2,
        "relative_ap2": share,
        "ap3_gaussian": delta2 / 2,
        "ap3_student_t": 0.5 * (4 + parameters) * np.log1p(delta2 / (4 + parameters)),
        "ap3_student_t_grouped": 0.5 * 104 * np.log1p(ap2 / 104),
        "ap3_gaussian_rotated": 3.1 * ap2 * noise,
        "sparsity": 0.0,
    }


def _network_metrics(share: float, epoch: int, scope: str, rng: np.random.Generator) -> dict[str, float]:
    recovery = np.exp(-epoch / (2.0 if scope == "all" else 1.2))
    harm = (2.0 if scope == "all" else 0.8) * share**1.3 * (recovery + 0.02)
    loss = {"train": 0.01 + harm, "test": 0.08 + harm + abs(rng.normal(0, 0.004))}
    right = {"train": round(1437 * (1 - 0.9 * (1 - np.exp(-harm)))), "test": round(360 * 0.98 * np.exp(-0.9 * harm))}
    metrics = {f"loss_{split}": value for split, value in loss.items()}
    metrics |= {"accuracy_train": right["train"] / 1437, "accuracy_test": right["test"] / 360}
    metrics |= {"pd_loss_train": abs(loss["train"] - 0.01), "pd_loss_test": abs(loss["test"] - 0.082)}
    metrics |= {"pd_accuracy_train": abs(metrics["accuracy_train"] - 1.0)}
    metrics |= {"pd_accuracy_test": abs(right["test"] - 353) / 360}
    return metrics


def _iteration_metrics(share: float, epoch: int, scope: str) -> dict[str, float]:
    """ε that falls to an exact zero, ε that rises to AP3, and a bound where only the last layer is trained."""
    left = (1 - epoch / EPOCHS) ** 2
    metrics = {}
    for name, ap3 in (("gaussian", 320 * share), ("student_t_grouped", 0.3 * share)):
        metrics[f"epsilon_2_7_{name}"] = 0.1 * ap3 * left
        metrics[f"epsilon_3_6_{name}"] = ap3 * (1 - 0.4 * left)
        bounded = scope == "last" and name == "gaussian"
        metrics[f"bound_3_6_{name}"] = 200 * share * (1 + left) if bounded else np.nan
    return metrics


def _configuration(trial: int, scope: str, method: str, level: float, rng: np.random.Generator) -> list[dict]:
    rows = []
    for epoch in range(EPOCHS + 1):
        total: dict[str, float] = {}
        for index, (layer, parameters) in enumerate(LAYERS.items()):
            touched = scope == "all" or layer == "head.weight"
            moved = (1 + 0.02 * epoch) * (1 + 0.1 * index)
            share = min(1.0, level ** METHODS[method] * moved) if touched else 0.0
            metrics = _layer_metrics(parameters, share, 1 + 0.05 * rng.normal())
            metrics["sparsity"] = level if touched else 0.0
            rows += [{"epoch": epoch, "layer": layer, "metric": name, "value": v} for name, v in metrics.items()]
            for name in ("ap2", *NATS):
                total[name] = total.get(name, 0.0) + metrics[name]
        total["relative_ap2"] = total["ap2"] / 146.08
        total["sparsity"] = level if scope == "all" else level * 640 / 14608
        total |= _network_metrics(level ** METHODS[method], epoch, scope, rng)
        total |= _iteration_metrics(level ** METHODS[method], epoch, scope)
        rows += [{"epoch": epoch, "layer": "", "metric": name, "value": v} for name, v in total.items()]
    common = {"run": f"run{trial}", "trial": trial, "scope": scope, "method": method, "level": level}
    return [common | row for row in rows]


def _dense(trial: int) -> list[dict]:
    common = {"run": f"run{trial}", "trial": trial, "scope": "all", "method": "dense", "level": 0.0, "epoch": 0}
    values = {"loss_train": 0.01, "loss_test": 0.082, "accuracy_train": 1.0, "accuracy_test": 353 / 360}
    return [common | {"layer": "", "metric": name, "value": value} for name, value in values.items()]


@pytest.fixture(scope="session")
def records() -> pd.DataFrame:
    """A complete study of a small network; the same numbers every time."""
    rng = np.random.default_rng(2024)
    rows: list[dict] = []
    for trial in (1, 2, 3):
        rows += _dense(trial)
        for scope in ("last", "all"):
            for method in METHODS:
                for level in LEVELS:
                    rows += _configuration(trial, scope, method, level, rng)
    table = pd.DataFrame(rows)
    estimated = table["metric"].str.contains("loss|accuracy")
    table["status"] = np.where(estimated, "estimate", "exact")
    table["unit"] = "nats"
    table.loc[table["metric"].isin(["ap2"]), "unit"] = "weight²"
    table["standard_error"] = np.where(estimated, 0.05 * table["value"], np.nan)
    return table


EVIL = "evil[red]<script>alert(1)</script>\x1b[31m&\"'.weight"


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """Two networks that differ in every way that a comparison reports."""
    generator = torch.Generator().manual_seed(5)

    def weights(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    dense = {f"block{index}.weight": weights(8, 5) for index in range(6)}
    compressed = {name: value * (value.abs() > 0.2 * index) for index, (name, value) in enumerate(dense.items())}
    dense["evil.weight"], compressed["evil.weight"] = torch.ones(3, 4), torch.full((3, 4), 0.5)
    dense["zero.weight"], compressed["zero.weight"] = torch.zeros(4, 4), torch.ones(4, 4)
    dense["broken.weight"], compressed["broken.weight"] = torch.ones(4), torch.full((4,), torch.nan)
    dense["bn.steps"], compressed["bn.steps"] = torch.tensor([3]), torch.tensor([4])
    dense["gone.weight"] = torch.ones(2, 2)
    compressed["new.weight"] = torch.ones(2, 2)
    # Weights with such names are refused, but records of them may come from elsewhere.
    return _called(compare(dense, compressed), "evil.weight", EVIL)


def _called(comparison: Comparison, old: str, new: str) -> Comparison:
    rows = tuple(replace(row, layer=new) if row.layer == old else row for row in comparison.rows)
    return replace(comparison, rows=rows)


@pytest.fixture(scope="session")
def explanation() -> Explanation:
    """A linear classifier before and after losing half of its weights, on 60 samples."""
    generator = torch.Generator().manual_seed(6)
    dense = torch.nn.Linear(6, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        pruned.weight.mul_(pruned.weight.abs() > pruned.weight.abs().median())
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        targets = dense(inputs).argmax(dim=1)
    return explain(dense, pruned, data={"test": (inputs, targets)}, resamples=200)


@pytest.fixture(scope="session")
def pictures(records: pd.DataFrame) -> dict[str, Picture]:
    """Every figure of the study, drawn once."""
    return demo_figures(records, data="a made-up study")
