"""Plans in Lightning, run by its Trainer on handwritten digits."""

import importlib
import os
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="the library is in the extra `lightning`")

import lightning.pytorch as pl
from torch.utils.data import DataLoader, TensorDataset

from shrinkscope.analysis.plan import plan
from shrinkscope.errors import CompressionError, IntegrationError
from shrinkscope.experiments.digits import DigitsNet, load_digits_split
from shrinkscope.integrations.lightning import PlanCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning advises on workers, loggers and sizes

EPOCHS, BATCH, BATCHES = 2, 64, 10


class Digits(pl.LightningModule):
    def __init__(self, optimizers: int = 1, folder: Path | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = DigitsNet()
        self.folder = folder
        self.seen: list[list[int]] = []
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch, index):
        inputs, targets = batch
        loss = torch.nn.functional.cross_entropy(self.net(inputs), targets)
        if not self.automatic_optimization:
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
                self.seen.append(self.zeros())
                optimizer.zero_grad()
        return loss

    def on_train_end(self):
        if self.folder is not None:
            torch.save((self.seen, self.net.state_dict()), self.folder / f"{self.global_rank}.pt")

    def on_train_batch_start(self, batch, index):
        self.seen.append(self.zeros())

    def zeros(self) -> list[int]:
        return [int((weight == 0).sum()) for weight in (self.net.conv1.weight, self.net.conv2.weight)]

    def configure_optimizers(self):
        weights = [parameter for name, parameter in self.net.named_parameters()]
        if self.automatic_optimization:
            return torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=1e-3)
        return [torch.optim.SGD(part, lr=0.1, momentum=0.9) for part in (weights[:3], weights[3:])]


def trainer(folder, callback, epochs=EPOCHS, **options) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_train_batches=BATCHES,
        **options,
    )


@pytest.fixture(scope="module")
def digits() -> DataLoader:
    split = load_digits_split()
    return DataLoader(TensorDataset(split.x_train, split.y_train), batch_size=BATCH)


@pytest.fixture(scope="module")
def made():
    return plan(Digits().net, sparsity=0.7, allocation="uniform", keep=["head.weight"])


def test_masked_weights_stay_zero_through_fit_and_the_sparsity_is_as_planned(digits, made, tmp_path):
    module = Digits()
    expected = made.mask(module.net)
    dense = module.net.conv1.weight.detach().clone()
    fit = trainer(tmp_path, PlanCallback(made, network="net"), gradient_clip_val=1.0)
    fit.fit(module, digits)
    planned = [row.removed for row in made.rows]
    assert module.seen == [planned] * (EPOCHS * BATCHES)
    assert module.zeros() == planned
    for name, kept in expected.items():
        assert bool((module.net.get_parameter(name)[~kept] == 0).all())
    kept = expected["conv1.weight"]
    assert not torch.equal(module.net.conv1.weight[kept], dense[kept])  # it has been trained
    assert float(fit.callback_metrics["plan_sparsity"]) == pytest.approx(made.sparsity, abs=1e-6)  # float32
    optimizer = fit.optimizers[0]
    assert not optimizer._optimizer_step_post_hooks
    file = torch.load(fit.checkpoint_callback.best_model_path, weights_only=True)
    assert file["state_dict"].keys() == Digits().state_dict().keys()
    assert [int((file["state_dict"][f"net.{row.layer}"] == 0).sum()) for row in made.rows] == planned


def test_levels_grow_and_an_interrupted_fit_resumes_to_the_same_weights(digits, made, tmp_path):
    settings = {"network": "net", "steps": 15, "every": 4}
    whole = Digits()
    trainer(tmp_path / "whole", PlanCallback(made, **settings)).fit(whole, digits)
    reached = [round(row.removed * (1 - (1 - 12 / 15) ** 3)) for row in made.rows]
    assert whole.seen[0] == [0, 0]
    assert whole.seen[14] == reached
    assert whole.zeros() == whole.seen[15] == [row.removed for row in made.rows]
    first = trainer(tmp_path / "first", PlanCallback(made, **settings), epochs=1)
    first.fit(Digits(), digits)
    callback, resumed = PlanCallback(made, **settings), Digits()
    trainer(tmp_path / "second", callback).fit(resumed, digits, ckpt_path=first.checkpoint_callback.best_model_path)
    assert callback.masks.taken == EPOCHS * BATCHES
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, resumed.get_parameter(name)), name


def test_several_optimisers_are_followed_and_one_counts(digits, made, tmp_path):
    module, callback = Digits(optimizers=2), PlanCallback(made, network="net")
    trainer(tmp_path, callback, epochs=1, enable_checkpointing=False).fit(module, digits)
    assert module.seen == [[row.removed for row in made.rows]] * (3 * BATCHES)
    assert callback.masks.taken == BATCHES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="two processes are forked")
def test_two_processes_keep_the_same_masks(digits, made, tmp_path):
    callback = PlanCallback(made, network="net", steps=4, every=2)
    trainer(tmp_path, callback, devices=2, strategy="ddp_fork").fit(Digits(folder=tmp_path), digits)
    (seen, first), (other, second) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    planned = [row.removed for row in made.rows]
    assert seen == other
    assert seen[0] == [0, 0]
    assert seen[4:] == [planned] * (len(seen) - 4)
    for row in made.rows:
        assert torch.equal(first[row.layer], second[row.layer])
        assert int((first[row.layer] == 0).sum()) == row.removed


def test_what_does_not_fit_is_named(digits, made, tmp_path, monkeypatch):
    with pytest.raises(CompressionError, match=r"conv1.weight, which is not there; the layers are net.conv1.weight"):
        trainer(tmp_path, PlanCallback(made)).fit(Digits(), digits)
    assert PlanCallback(made).state_dict() == {}
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(
        IntegrationError, match=r"lightning cannot be imported .*; pip install 'shrinkscope\[lightning\]'"
    ):
        importlib.reload(sys.modules["shrinkscope.integrations.lightning"])
