"""What the user knows about two networks that are not written alike: one value for all steps of the mapping."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from shrinkscope.errors import PairingError
from shrinkscope.weights.mapping.names import check_wildcards, wildcards

Side = Literal["dense", "compressed", "both"]
Layout = Literal["rows", "heads"]


class Rename(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    r"""A renaming of tensors.

    Attributes:
        pattern: Regular expression, searched in every name; all its matches are replaced.
        replacement: What a match becomes; ``\1`` stands for the first group.
        side: Whose names are changed: the compressed network's by default, the dense one's, or both.

    Raises:
        PairingError: If the pattern is not a regular expression, or the replacement does not fit it.
    """

    pattern: str
    replacement: str
    side: Side = "compressed"

    def __post_init__(self) -> None:
        try:
            re.compile(f"{self.pattern}|").sub(self.replacement, "")
        except (re.error, IndexError) as error:
            raise PairingError(
                f"rename {self.pattern!r} → {self.replacement!r} is not a regular expression and its replacement "
                f"({error}); put a backslash before characters meant literally, such as \\."
            ) from error

    @staticmethod
    def parse(text: str) -> "Rename":
        """A renaming written as PATTERN=REPLACEMENT, split at the last equals sign.

        Raises:
            PairingError: If there is no equals sign, or either part is wrong.
        """
        pattern, found, replacement = text.rpartition("=")
        if not found or not pattern:
            raise PairingError(f"rename {text!r}: expected PATTERN=REPLACEMENT, such as '^encoder\\.=model.encoder.'")
        return Rename(pattern=pattern, replacement=replacement)


class Fusion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several tensors of one network that are a single one in the other.

    Attributes:
        fused: Pattern of the single tensor's name; ``*`` is any text, the same in the parts.
        parts: Patterns of the parts' names in their order. A ``#`` in them is a number, counted from zero: the parts
            are then stacked along a new first dimension, all parts of number 0 first.
        layout: ``rows``: the parts' rows one after another. ``heads``: rows of each head's parts together, then the
            next head's; needs the number of heads.
        transposed: Whether the single tensor is stored with its last two dimensions exchanged; None to tell from the
            shapes, and a square matrix is then taken as it is.

    Raises:
        PairingError: If the patterns' wildcards differ.
    """

    fused: str
    parts: tuple[str, ...]
    layout: Layout = "rows"
    transposed: bool | None = None

    def __post_init__(self) -> None:
        check_wildcards("fusion", self.fused, self.parts)
        numbered = {wildcards(part).count("#") for part in self.parts}
        if not self.parts or "#" in self.fused or numbered not in ({0}, {1}):
            raise PairingError(f"fusion {self.fused!r}: give patterns of the parts with one # in each, or in none")

    @property
    def numbered(self) -> bool:
        """Whether the parts are numbered, as experts are."""
        return "#" in self.parts[0]


class Factors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two tensors whose product is a tensor of the other network.

    Attributes:
        left, right: Patterns of the names of U and V in W = U·diag(S)·V.
        product: Pattern of W's name.
        diagonal: Pattern of the name of S; may be absent from the network.

    Raises:
        PairingError: If the patterns' wildcards differ.
    """

    left: str
    right: str
    product: str
    diagonal: str | None = None

    def __post_init__(self) -> None:
        others = (self.right, self.product) + ((self.diagonal,) if self.diagonal is not None else ())
        check_wildcards("factors", self.left, others)


class Alignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When channels of two layers count as the same.

    Attributes:
        margin: How far the cosine of a match must be above the runner-up's for the match to count as certain.
        certainty: Least share of certain matches, in [0, 1], with which a layer is compared.
    """

    margin: float = 0.05
    certainty: float = 0.8


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that makes two networks comparable; what is not given is found, or not done.

    Attributes:
        rename: Renamings, applied in order.
        prefixes: Whether to look for prefixes that make the names match.
        fusions: Fusions to know besides the built-in ones; tried first.
        factors: Factorisations to know besides the built-in ones; tried first.
        adapter: Path of the adapter_config.json of the LoRA factors in the compressed network; by default the one that
            lies with them.
        heads: Number of attention heads, for fused tensors whose rows go head by head; read from config.json when it
            lies with the weights.
        kept: Layer → indices of the output channels that structured pruning kept, in the order of the pruned network;
            ``"name[1]"`` gives those of a tensor's dimension 1.
        alignment: When channels count as the same.
    """

    rename: tuple[Rename, ...] = ()
    prefixes: bool = True
    fusions: tuple[Fusion, ...] = ()
    factors: tuple[Factors, ...] = ()
    adapter: str | None = None
    heads: int | None = None
    kept: Mapping[str, tuple[int, ...]] = {}
    alignment: Alignment = Alignment()

    def merged(self, other: "Rules") -> "Rules":
        """These rules and others: lists one after another, single values from the other where it sets them."""
        return Rules(
            rename=self.rename + other.rename,
            prefixes=self.prefixes and other.prefixes,
            fusions=self.fusions + other.fusions,
            factors=self.factors + other.factors,
            adapter=self.adapter if other.adapter is None else other.adapter,
            heads=self.heads if other.heads is None else other.heads,
            kept=dict(self.kept) | dict(other.kept),
            alignment=self.alignment if other.alignment == Alignment() else other.alignment,
        )


def read_rules(path: str | os.PathLike[str]) -> Rules:
    """Rules from a TOML file whose tables are named as the fields of ``Rules``.

    Args:
        path: The file.

    Raises:
        PairingError: If it cannot be read, or says something unknown.
    """
    try:
        return msgspec.toml.decode(Path(path).read_bytes(), type=Rules)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PairingError(f"{path}: not a readable file of rules ({_reason(error)}); see docs/mapping.md") from error


def read_kept(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Kept channels from a JSON file: an object that maps a layer to the list of its kept indices.

    Args:
        path: The file.

    Raises:
        PairingError: If it cannot be read, or is not such an object.
    """
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, tuple[int, ...]])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PairingError(
            f'{path}: not a readable file of kept channels ({_reason(error)}); expected {{"conv1": [0, 2, 5], …}}'
        ) from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).splitlines()[0].rstrip(".")
