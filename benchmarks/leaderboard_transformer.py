"""A small vision transformer for the images of MNIST, trained here in about a minute, the same for every run."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

PATCH, WIDTH, DEPTH, HEADS, CLASSES = 7, 64, 4, 4, 10
EPOCHS, BATCH, RATE, DECAY, SHIFT = 8, 64, 2e-3, 0.05, 2


class Patches(nn.Module):
    """Patches of 7 × 7 pixels, projected, with a learned vector for each place: (batch, 16, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(PATCH * PATCH, WIDTH)
        self.place = nn.Parameter(torch.zeros((28 // PATCH) ** 2, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        """Tokens of images (batch, 1, 28, 28)."""
        patches = nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
        return self.project(patches) + self.place


class Block(nn.Module):
    """Attention and a perceptron, each after a layer norm and added to its input; every projection a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.mix = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.widen, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the next block."""
        seen = self.before(tokens)
        heads = [layer(seen).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)]
        attended = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        tokens = tokens + self.mix(attended)
        return tokens + self.narrow(nn.functional.gelu(self.widen(self.between(tokens))))


class Classify(nn.Module):
    """Class scores from the mean token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Class scores, shape (batch, 10)."""
        return self.linear(self.norm(tokens).mean(dim=1))


def trained_transformer(samples: tuple[Tensor, Tensor]) -> nn.Sequential:
    """The transformer, trained by AdamW on images shifted by up to two pixels.

    Args:
        samples: Standardised images (n, 1, 28, 28) and labels.

    Returns:
        Patches, four blocks and the classifier, in evaluation mode.
    """
    images, labels = samples
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(Patches(), *(Block() for _ in range(DEPTH)), Classify())
    draws = torch.Generator().manual_seed(0)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}])
    steps, step = EPOCHS * math.ceil(len(labels) / BATCH), 0
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(labels), generator=draws).split(BATCH):
            rate = RATE * min(1.0, (step + 1) / 200) * (1 + math.cos(math.pi * step / steps)) / 2
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            cross_entropy(network(_shifted(images[chosen], draws)), labels[chosen]).backward()
            optimiser.step()
            step += 1
    return network.eval()


def _shifted(images: Tensor, draws: torch.Generator) -> Tensor:
    """Each image moved by whole pixels, the background coming in."""
    background = float(images.min())
    wide = nn.functional.pad(images, (SHIFT,) * 4, value=background)
    moves = torch.randint(0, 2 * SHIFT + 1, (len(images), 2), generator=draws)
    rows = moves[:, :1] + torch.arange(28)
    columns = moves[:, 1:] + torch.arange(28)
    picks = torch.arange(len(images))[:, None, None]
    return wide[picks, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
