"""Two processes under torchrun train one network: the numbers are those of one process, up to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import torch
from torch import distributed as group

from shrinkscope.experiments import distributed
from shrinkscope.experiments.config import Study
from shrinkscope.experiments.networks import load_network_file
from shrinkscope.experiments.plan import plan_study
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.store import Store
from shrinkscope.experiments.sweep import carry_out

NETWORK = """
import torch
from torch import nn

def plain(classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, classes))
"""
# 1,437 samples in batches of 96 leave a last batch of 93: shares of 47 and 46.
TRAINING = "epochs = 2\nbatch_size = 96\nlearning_rate = 0.1\nweight_decay = 1e-3\n"
STUDY = f"""
name = "shared"
network = "plain_network:plain"
trials = 1
methods = ["lowest"]
levels = [0.5]
scopes = ["all"]
latents = ["gaussian", "student_t_grouped"]
curvature_samples = 0
[training]
{TRAINING}
[finetuning]
{TRAINING}
"""
KEYS = ["trial", "scope", "method", "level", "epoch", "layer", "metric"]
CELL = "trial-1/all-lowest-0.5"


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """A network without batch norms, whose statistics are those of the share of each process."""
    (tmp_path / "plain_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    return msgspec.toml.decode(STUDY, type=Study)


def results(study: Study, folder: Path) -> tuple[pd.DataFrame, dict[str, torch.Tensor]]:
    plan = plan_study(study, folder, only=CELL)
    assert plan.left == ()
    with Store(plan.store, create=False) as store:
        table = store.records(plan.run.run).set_index(KEYS)
    return table, load_network_file(
        plan.networks / "trial-1" / "all-lowest-0.5.safetensors", study.network
    ).state_dict()


@pytest.mark.skipif(not group.is_gloo_available(), reason="gloo is not built in")
def test_two_processes_train_one_network_as_one_does(study, tmp_path):
    assert carry_out([plan_study(study, tmp_path / "one", only=CELL)], workers=1, stop=True) == []
    file, out = tmp_path / "shared.toml", tmp_path / "two"
    file.write_text(STUDY)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    verb = ["-m", "shrinkscope", "run", str(file), "--out", str(out), "--only", CELL, "--device", "cpu", "--json"]
    done = subprocess.run([*launch, *verb], env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)  # one process speaks
    assert (said["studies"][0]["computed"], said["failures"]) == (2, [])
    (table, weights), (again, same) = results(study, tmp_path / "one"), results(study, out)
    assert list(again.index) == list(table.index)
    assert (again["unit"] == table["unit"]).all()
    # Sums of gradients in two parts: float32 rounding, 1e-7 of a weight, in each of some sixty steps.
    for name, tensor in weights.items():
        torch.testing.assert_close(same[name], tensor, rtol=1e-4, atol=1e-6)
        assert not torch.equal(tensor, torch.zeros_like(tensor))
    assert again["value"].tolist() == pytest.approx(table["value"].tolist(), rel=1e-3, abs=1e-5, nan_ok=True)


def test_alone_nothing_is_shared_or_waited_for(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    numbers = torch.arange(5)
    with distributed.processes("cpu"):
        assert (distributed.rank(), distributed.size()) == (0, 1)
        assert torch.equal(distributed.share(numbers), numbers)
        distributed.add_up([numbers])
        distributed.wait()
    assert torch.equal(numbers, torch.arange(5))


def test_shares_of_all_processes_are_the_batch(monkeypatch):
    batch = torch.randperm(93, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(distributed, "size", lambda: 4)
    shares = []
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(batch))
    assert torch.equal(torch.cat(shares).sort().values, torch.arange(93))
    assert {len(share) for share in shares} == {23, 24}


def test_a_failure_ends_all_processes(study, tmp_path, monkeypatch):
    """The others would wait for the one that failed: nothing is collected, the error ends this process."""
    strict = msgspec.structs.replace(study, minimum_accuracy=1.0)
    monkeypatch.setattr("shrinkscope.experiments.sweep.distributed.size", lambda: 2)
    monkeypatch.setattr("shrinkscope.experiments.train.distributed.add_up", lambda tensors: None)
    monkeypatch.setattr("shrinkscope.experiments.distributed.same_buffers", lambda model: None)
    monkeypatch.setattr("shrinkscope.experiments.distributed.wait", lambda: None)
    with pytest.raises(
        StudyError, match="the dense network of trial 1 has .* % accuracy on held-out data, below the 100"
    ):
        carry_out([plan_study(strict, tmp_path, only=CELL)], workers=1)
