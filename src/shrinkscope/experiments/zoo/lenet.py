"""LeNet-300-100: the fully connected network of the classic pruning papers, for 28 × 28 images."""

from torch import Tensor, nn


class LeNet300(nn.Module):
    """784 → 300 → 100 → 10 with ReLU; layers ``fc1``, ``fc2``, ``fc3``."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (batch, 10), of images of any shape with 784 pixels each."""
        hidden = self.fc1(images.flatten(1)).relu()
        return self.fc3(self.fc2(hidden).relu())
