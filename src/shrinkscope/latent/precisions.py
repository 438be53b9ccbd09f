"""Σ⁻¹ of every layer by name, and why other layers have none."""

from collections.abc import Iterator, Mapping

from shrinkscope.errors import LatentError
from shrinkscope.latent.precision import Precision


class Precisions(Mapping[str, Precision]):
    """Σ⁻¹ of each layer by the name of its weight, and why other layers have none.

    Args:
        name: Ending of the latents' columns, for example ``"input"``.
        layers: Name of a weight → its precision; a tied weight under each of its names.
        absent: Name of a tensor → why it has none.
        description: What Σ⁻¹ is, in words, for records.
    """

    def __init__(self, name: str, layers: Mapping[str, Precision], absent: Mapping[str, str], description: str) -> None:
        self.name, self.description = name, description
        self._layers, self._absent = dict(layers), dict(absent)

    def __getitem__(self, layer: str) -> Precision:
        return self._layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"Precisions({self.name!r}, {self.description}, {len(self)} layers)"

    def of(self, layer: str, dim: int) -> Precision:
        """The precision of a layer.

        Args:
            layer: Name of its weight.
            dim: Its number of weights.

        Raises:
            LatentError: If there is none, or it is that of a layer of another size; the message is the reason.
        """
        if layer not in self._layers:
            raise LatentError(self._absent.get(layer, f"no Σ⁻¹ was gathered for {layer}"))
        found = self._layers[layer]
        if found.dim != dim:
            raise LatentError(f"Σ⁻¹ of {layer} is for {found.dim} weights and the layer has {dim}; gather it anew")
        return found
