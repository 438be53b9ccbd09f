"""What the cases of one network do, measured: losses on the judge's images, and predictions on the rungs' inputs."""

import copy
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import torch
from leaderboard_cases import Case
from leaderboard_networks import Subject, links
from leaderboard_weights import believed, from_weights
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from shrinkscope.compression import Mask, compress
from shrinkscope.experiments.config import Training
from shrinkscope.experiments.train import train
from shrinkscope.weights import compressible

REFIT_BATCH, FEW = 128, 64
TUNING, TUNED_ON = Training(epochs=1, batch_size=64, learning_rate=0.01), 1280
TEMPERATURE = 2.0
DISTANCES = ("kl", "reversed", "jensen_shannon", "tv", "tempered")

Record = dict[str, Any]


class Bench:
    """A network with everything held that its cases have in common.

    Activations of the dense network are kept before every link of the chain, so that a case runs only the links from
    the first changed one on.

    Args:
        subject: The network, and what is put through it.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.dense = subject.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = copy.deepcopy(self.dense)
        self.chain = links(self.model)
        self.sizes = {name: weight.numel() for name, weight in compressible(self.dense).items()}
        self._state = copy.deepcopy(self.dense.state_dict())
        self._first = _first_links(self.model, self.chain)
        sets = {"judge": subject.judge[0], **subject.inputs}
        with torch.inference_mode():
            self._held = {key: prefixes(self.chain, batched(part, subject.batch)) for key, part in sets.items()}
            self._before = {key: torch.cat(held[-1]) for key, held in self._held.items()}
            assert torch.allclose(self.dense(sets["judge"][:4]), self._before["judge"][:4], atol=1e-3)
            self._losses = losses(self._before["judge"], subject.judge[1])
        self.accuracy = accuracy(self._before["judge"], subject.judge[1])
        self._norms = [[m for m in link.modules() if isinstance(m, _BatchNorm)] for link in self.chain]
        if subject.refit is not None:
            self._prepare_refit(subject.refit)
        self._latents = believed(self.dense, subject.informed)

    def record(self, case: Case, *, refit: bool = True) -> Record:
        """Measure a case and its rungs.

        Args:
            case: The case.
            refit: Whether to measure it after batch norm re-estimation, too.
        """
        clock = [time.perf_counter()]
        self._write(case)
        start = min(self._first[name] for name in case.settings)
        clock.append(time.perf_counter())
        with torch.inference_mode():
            after = self._outputs("judge", start)
            clock.append(time.perf_counter())
            found = {key: distances(self._before[key], self._outputs(key, start)) for key in self.subject.inputs}
            clock.append(time.perf_counter())
            found["judge"] = distances(self._before["judge"], after)
        drop = self.accuracy - accuracy(after, self.subject.judge[1])
        begun = time.perf_counter()
        rungs = from_weights(self.dense, self.model, list(case.settings), self.sizes, self._latents)
        rung_seconds = time.perf_counter() - begun
        record: Record = {
            "number": case.number,
            "family": case.family,
            "losses": (losses(after, self.subject.judge[1]) - self._losses).float(),
            "drop": drop,
            "distances": {key: values.mean(dim=1) if key == "judge" else values for key, values in found.items()},
            "weights": rungs,
            "seconds": {"judge": clock[2] - clock[1], "inputs": clock[3] - clock[2], "weights": rung_seconds},
        }
        if refit and self.subject.refit is not None:
            record["refit"] = self._refitted(start)
        self.model.load_state_dict(self._state)
        return record

    def judged_again(self, case: Case, images: Sequence[Tensor], labels: Tensor, before: Tensor) -> Record:
        """The change of the losses on other images.

        Args:
            case: The case.
            images: In batches.
            labels: Theirs.
            before: Losses of the dense network there.
        """
        self._write(case)
        after = self.run(images)
        self.model.load_state_dict(self._state)
        return {"number": case.number, "more": (losses(after, labels) - before).float()}

    def refit_predicted(self, case: Case, *, judged: bool = False) -> Record:
        """The mean KL of the predictions on the first unlabelled inputs after re-estimating batch norm from them alone.

        Args:
            case: The case.
            judged: Whether to measure the change of the losses after re-estimation, too.
        """
        found: Record = {"number": case.number}
        few = batched(self.subject.inputs["real"][:FEW], FEW)
        self._write(case)
        with torch.inference_mode():
            for norm in self._training(0):
                norm.train()
            self.run(few)
            self._all_evaluating()
            apart = distances(self._before["real"][:FEW], self.run(few))
        found["kl_refit"] = float(apart[0].double().mean())
        if judged:
            found["refit"] = self._refitted(min(self._first[name] for name in case.settings))
        self.model.load_state_dict(self._state)
        return found

    def tuned(self, case: Case) -> Record:
        """The change of the losses after brief training, removed weights held at zero.

        Args:
            case: A case of pruning alone.
        """
        assert self.subject.training is not None
        inputs, targets = self.subject.training
        network = copy.deepcopy(self.dense)
        masks = [compress(network, method, generator=_drawing(case)) for method in case.settings.values()]
        mask = Mask({name: kept for one in masks if one is not None for name, kept in one.items()})
        chosen = torch.randperm(len(targets), generator=_drawing(case))[:TUNED_ON]
        # Fewer images are trained on in as many steps.
        tuning = msgspec.structs.replace(TUNING, batch_size=TUNING.batch_size * len(chosen) // TUNED_ON)
        train(network, (inputs[chosen], targets[chosen]), tuning, _drawing(case), mask=mask)
        images, labels = (part[self.subject.later] for part in self.subject.judge)
        with torch.inference_mode():
            after = torch.cat([network(part) for part in batched(images, self.subject.batch)])
        change = losses(after, labels) - self._losses[self.subject.later]
        return {"number": case.number, "tuned": change.float()}

    def run(self, images: Sequence[Tensor]) -> Tensor:
        """Outputs of the network as it is now."""
        with torch.inference_mode():
            return torch.cat([through(self.chain, part) for part in images])

    def _write(self, case: Case) -> None:
        for method in case.settings.values():
            compress(self.model, method, generator=_drawing(case))

    def _outputs(self, key: str, start: int) -> Tensor:
        return torch.cat([through(self.chain[start:], part) for part in self._held[key][start]])

    def _prepare_refit(self, inputs: Tensor) -> None:
        """Re-estimate the dense network likewise, and hold what its links see in doing so."""
        for norm in (norm for norms in self._norms for norm in norms):
            norm.momentum = None  # a cumulative average instead of a moving one
        parts = batched(inputs, REFIT_BATCH)
        with torch.inference_mode():
            for norm in self._training(0):
                norm.train()
            self._held["refit"] = prefixes(self.chain, parts)
            self._all_evaluating()
            self._held["judge refit"] = prefixes(self.chain, batched(self.subject.judge[0], self.subject.batch))
        self._refit_buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        self.model.load_state_dict(self._state)

    def _refitted(self, start: int) -> Tensor:
        with torch.inference_mode():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(self._refit_buffers[name])
            for norm in self._training(start):
                norm.train()
            self._outputs("refit", start)
            self._all_evaluating()
            after = self._outputs("judge refit", start)
        return (losses(after, self.subject.judge[1]) - self._losses).float()

    def _training(self, start: int) -> Iterator[_BatchNorm]:
        for norm in (norm for norms in self._norms[start:] for norm in norms):
            norm.reset_running_stats()
            yield norm

    def _all_evaluating(self) -> None:
        for norm in (norm for norms in self._norms for norm in norms):
            norm.eval()


def batched(inputs: Tensor, size: int) -> list[Tensor]:
    """Inputs in batches, images with their channels last, as the processor reads them fastest."""
    images = inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
    return list(images.split(size))


def through(chain: Sequence[nn.Module], features: Tensor) -> Tensor:
    for link in chain:
        features = link(features)
    return features


def prefixes(chain: Sequence[nn.Module], parts: list[Tensor]) -> list[list[Tensor]]:
    """What each link sees of each batch, and last what comes out."""
    held = [parts]
    for link in chain:
        held.append([link(part) for part in held[-1]])
    return held


def losses(outputs: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(outputs.double(), labels, reduction="none")


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    return (outputs.argmax(dim=1) == labels).double().mean().item()


def distances(dense: Tensor, compressed: Tensor) -> Tensor:
    """``DISTANCES`` of the predictions p and q, shape (5, inputs).

    KL(p‖q), KL(q‖p), Jensen-Shannon, total variation, and the change of the cross-entropy under the dense prediction at
    a higher temperature, which is less sure of itself, as labels are.
    """
    log_p, log_q = dense.double().log_softmax(dim=1), compressed.double().log_softmax(dim=1)
    p, q = log_p.exp(), log_q.exp()
    middle = ((p + q) / 2).clamp_min(1e-300).log()
    kl, reversed_kl = (p * (log_p - log_q)).sum(1), (q * (log_q - log_p)).sum(1)
    jensen_shannon = ((p * (log_p - middle)).sum(1) + (q * (log_q - middle)).sum(1)) / 2
    softer = (dense.double() / TEMPERATURE).softmax(dim=1)
    tempered = (softer * (log_p - log_q)).sum(1)
    return torch.stack([kl, reversed_kl, jensen_shannon, (p - q).abs().sum(1) / 2, tempered]).float()


def _first_links(model: nn.Module, chain: Sequence[nn.Module]) -> dict[str, int]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: index for index, link in enumerate(chain) for p in link.parameters()}


def _drawing(case: Case) -> torch.Generator:
    return torch.Generator().manual_seed(case.number)
