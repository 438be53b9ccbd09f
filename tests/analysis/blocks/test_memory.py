"""One block is in memory: counted while it runs, and with the process forbidden to take more."""

import subprocess
import sys

import pytest
import torch

from shrinkscope.analysis.blocks import plan_blocks, prune_blocks
from shrinkscope.analysis.blocks.network import BlockNetwork
from shrinkscope.analysis.plan import Plan, PlanRow, PlanSettings
from tiny_checkpoints import saved, token_ids


def half(folder) -> Plan:
    network = BlockNetwork(folder)
    sizes = [(name, layer.weight.numel()) for n in range(network.depth) for name, layer in network.layers(n).items()]
    rows = tuple(PlanRow(layer=name, weights=size, removed=size // 2) for name, size in sizes)
    return Plan(rows=rows, settings=PlanSettings(allocation="uniform"))


def test_no_more_than_one_block_has_weights_when_it_runs(tmp_path, monkeypatch):
    whole, ids = saved(tmp_path / "net", num_hidden_layers=4), token_ids(4)
    block = sum(parameter.numel() for parameter in whole.model.layers[0].parameters())
    found, own = set(), BlockNetwork.run

    def counting(self, number, module, hidden):
        found.add(sum(p.numel() for p in self.model.parameters() if not p.is_meta))
        return own(self, number, module, hidden)

    monkeypatch.setattr(BlockNetwork, "run", counting)
    prune_blocks(tmp_path / "net", half(tmp_path / "net"), ids, tmp_path / "out")
    plan_blocks(tmp_path / "net", ids, sparsity=0.5, rounds=1, draws=1)
    assert found == {block}


LIMITED = """
import resource, sys
from pathlib import Path
import torch, transformers
from transformers import LlamaForCausalLM
from shrinkscope.analysis.blocks import perplexity, prune_blocks
from shrinkscope.analysis.plan import Plan

folder, more = Path(sys.argv[1]), int(sys.argv[2])
ids = torch.randint(31, (4, 16), generator=torch.Generator().manual_seed(0))
plan = Plan.load(folder / "plan.json")
# Once without a limit, so that what libraries load late is there.
prune_blocks(folder / "small", Plan.load(folder / "small.json"), ids, folder / "warm", within="informed")
LlamaForCausalLM.from_pretrained(folder / "small")(ids)
lines = Path("/proc/self/status").read_text().splitlines()
now = 1024 * int(next(line for line in lines if line.startswith("VmData")).split()[1])
resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))
prune_blocks(folder / "net", plan, ids, folder / "out", within="informed")
print(len(perplexity(folder / "out", ids).losses))
try:
    network = LlamaForCausalLM.from_pretrained(folder / "net")
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
except (MemoryError, RuntimeError) as error:
    print("whole:", "memory" in str(error).lower())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process has from /proc")
def test_a_process_that_may_not_hold_the_checkpoint_prunes_it(tmp_path):
    shape = {"hidden_size": 192, "intermediate_size": 528, "dtype": torch.float32}
    whole = saved(tmp_path / "net", num_hidden_layers=20, shards="2MB", **shape)
    saved(tmp_path / "small", num_hidden_layers=1, **shape)
    for name, file in (("net", "plan.json"), ("small", "small.json")):
        half(tmp_path / name).save(tmp_path / file)
    size = sum(4 * parameter.numel() for parameter in whole.parameters())
    assert size > 30e6
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(size // 2)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["4", "whole: True"]
