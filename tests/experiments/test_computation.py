"""Mixed precision, layout and compilation: that each takes effect in training, and that the results stay sane."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from shrinkscope.compression import MagnitudePruning, mask_drift, prune
from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.data import Arrays, Transform
from shrinkscope.experiments.records import Cell
from shrinkscope.experiments.settings import Computation
from shrinkscope.experiments.study import Bench
from shrinkscope.experiments.train import train

SETTINGS = Training(epochs=2, batch_size=16, learning_rate=0.1, weight_decay=1e-3)
CHANNELS_LAST = torch.channels_last


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    targets = torch.arange(48) % 3
    return torch.randn(48, 3, 8, 8, generator=generator(5)) + targets[:, None, None, None], targets


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
        )


def watched(computation: Computation) -> tuple[nn.Sequential, list[torch.Tensor], list[torch.Tensor]]:
    """A trained network, and what its convolution put out in training and when it was evaluated."""
    model, training, evaluated = network(), [], []
    mask = prune(model, MagnitudePruning(level=0.5))
    handle = model[0].register_forward_hook(
        lambda module, _, out: (training if module.training else evaluated).append(out)
    )

    def evaluate(_: int) -> None:
        model.eval()
        model(data()[0])

    train(model, data(), SETTINGS, generator(), mask=mask, computation=computation, after_epoch=evaluate)
    handle.remove()
    assert not mask_drift(model, mask).drifted
    assert len(training) == 6
    assert len(evaluated) == 2
    return model, training, evaluated


def changes(model: nn.Module) -> torch.Tensor:
    before = network().state_dict()
    moved = [(t - before[n]).flatten() for n, t in model.state_dict().items() if t.is_floating_point()]
    return torch.cat(moved)


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return watched(Computation())[0]


def test_bfloat16_steps_are_in_bfloat16_and_everything_kept_is_in_float32(plain):
    model, training, evaluated = watched(Computation(precision="bfloat16"))
    assert {out.dtype for out in training} == {torch.bfloat16}
    assert {out.dtype for out in evaluated} == {torch.float32}
    assert {t.dtype for t in model.state_dict().values() if t.is_floating_point()} == {torch.float32}
    exact, found = changes(plain), changes(model)
    # Eight bits: products are wrong by up to 2⁻⁸ each, sums of them by less; six steps stay well within 5 %. And
    # that there is a difference at all shows that it was not computed in float32.
    assert 1e-5 < float((found - exact).norm() / exact.norm()) < 0.05


def test_channels_last_is_how_images_and_filters_lie_and_no_number_changes(plain):
    model, training, _ = watched(Computation(channels_last=True))
    assert all(out.is_contiguous(memory_format=CHANNELS_LAST) for out in training)
    assert model[0].weight.is_contiguous(memory_format=CHANNELS_LAST)
    _, contiguous, _ = watched(Computation())
    assert not any(out.is_contiguous(memory_format=CHANNELS_LAST) for out in contiguous)
    # Sums of 27 terms in another order: float32 rounding, in each of six steps.
    torch.testing.assert_close(changes(model), changes(plain), rtol=1e-3, atol=1e-6)


_COMPILED = """
    import functools, json, torch
    from torch._dynamo.utils import counters
    # Traced forwards and backwards as ever; writing C++ of the graphs is torch's matter and takes half a minute.
    torch.compile = functools.partial(torch.compile, backend="aot_eager")
    from shrinkscope.compression import MagnitudePruning, mask_drift, prune
    from shrinkscope.experiments.config import Training
    from shrinkscope.experiments.settings import Computation
    from shrinkscope.experiments.train import train
    torch.manual_seed(3)
    inputs, targets = torch.randn(48, 6), torch.arange(48) % 3
    start = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    trained = []
    for computation in (Computation(), Computation(compile=True)):
        model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        model.load_state_dict(start.state_dict())
        mask = prune(model, MagnitudePruning(level=0.5))
        frames = counters["stats"]["unique_graphs"]
        settings = Training(epochs=2, batch_size=16, learning_rate=0.1)
        train(model, (inputs, targets), settings, torch.Generator().manual_seed(0), mask=mask, computation=computation)
        trained.append(model.state_dict())
        graphs = counters["stats"]["unique_graphs"] - frames
        drifted = mask_drift(model, mask).drifted
        moved = not torch.equal(trained[-1]["0.weight"], start.state_dict()["0.weight"])
        print(json.dumps({"graphs": graphs, "drifted": bool(drifted), "moved": moved, "names": list(trained[-1])}))
    apart = max(float((trained[0][name] - trained[1][name]).abs().max()) for name in trained[0])
    print(json.dumps(apart))
"""


def test_a_compiled_network_is_trained_alike():
    # In a process of its own: compiling turns off the checks of torch.distributions for the process that does.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(_COMPILED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, compiled, apart = map(json.loads, done.stdout.splitlines())
    assert plain == {"graphs": 0, "drifted": False, "moved": True, "names": compiled["names"]}
    assert compiled["graphs"] > 0
    assert (compiled["drifted"], compiled["moved"]) == (False, True)
    # Operations taken apart round otherwise: float32, six steps.
    assert apart < 1e-5


def test_a_study_with_them_writes_ordinary_networks_and_records(tmp_path):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 64)
    pixels = (draw.integers(0, 128, (64, 16, 16, 3)) + 40 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=labels)
    images = Arrays(root=str(tmp_path), train="images.npz", test="images.npz", transform=Transform(augmentation="flip"))
    study = Study(
        name="mixed",
        network="resnet20",
        data=images,
        training=Training(epochs=1, batch_size=32, learning_rate=0.05),
        finetuning=Training(epochs=1, batch_size=32, learning_rate=0.05),
        latents=("gaussian",),
        scopes=("all",),
        curvature_samples=0,
        computation=Computation(precision="bfloat16", channels_last=True),
    )
    bench = Bench(study, tmp_path / "networks")
    cell = Cell(trial=1, scope="all", method="lowest", level=0.5)
    bench.carry_out(Cell(trial=1))
    records = bench.carry_out(cell)
    assert all(record.value is None or np.isfinite(record.value) for record in records)
    assert {record.epoch for record in records if record.metric == "pd_loss_test"} == {0, 1}
    written = load_file(bench.network_path(cell))
    assert {tensor.dtype for tensor in written.values() if tensor.is_floating_point()} == {torch.float32}
    assert all(tensor.is_contiguous() for tensor in written.values())
