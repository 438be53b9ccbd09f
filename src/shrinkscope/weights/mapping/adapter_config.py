"""The part of PEFT's adapter_config.json that decides what a LoRA adapter adds to its base."""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from shrinkscope.errors import PairingError

_Number = TypeVar("_Number", int, float)

_HARMLESS = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "target_modules", "exclude_modules", "lora_dropout", "bias", "modules_to_save"),
    *("layers_to_transform", "layers_pattern", "megatron_core", "loftq_config", "eva_config", "qalora_group_size"),
    *("runtime_config", "ensure_weight_tying", "init_lora_weights"),
}
"""Entries without effect on the merged weights, given the tensors that are stored."""

_REASONS = {
    "use_dora": "DoRA rescales every column by a learned magnitude",
    "alora_invocation_tokens": "an activated LoRA acts on some tokens only, so there is no one merged weight",
    "layer_replication": "it repeats layers that the base has once",
    "target_parameters": "it adapts parameters of experts, whose layout its names do not tell",
    "lora_bias": "it adds biases to the factors",
    "trainable_token_indices": "it replaces rows of the embedding",
    "use_qalora": "QA-LoRA pools the inputs before the factors",
}

_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Initialisations that leave the base as it was; the others (PiSSA, OLoRA, CorDA, LoftQ) subtract from it."""


class AdapterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A LoRA adapter: W = W₀ + scale·BA with scale = alpha/r, or alpha/√r for rank-stabilised LoRA.

    Attributes:
        r: Rank.
        lora_alpha: Numerator of the scale.
        use_rslora: Whether the scale is alpha/√r.
        fan_in_fan_out: Whether the base stores its matrices as (in, out).
        rank_pattern, alpha_pattern: Regular expressions for the end of a module's name → its own rank and alpha.
    """

    r: int
    lora_alpha: float
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: Mapping[str, int] = {}
    alpha_pattern: Mapping[str, float] = {}

    @staticmethod
    def of(entries: Mapping[str, Any], where: str) -> "AdapterConfig":
        """The configuration of a LoRA adapter from PEFT's JSON object.

        Args:
            entries: The object.
            where: Its place, for messages.

        Raises:
            PairingError: If the adapter is of another kind, or does something besides adding scale·BA.
        """
        kind = entries.get("peft_type", "LORA")
        if kind != "LORA":
            raise PairingError(
                f"{where}: an adapter of type {kind}, and only LORA is merged; merge it with PEFT before"
            )
        known = set(AdapterConfig.__struct_fields__)
        for name in sorted(set(entries) - known - _HARMLESS):
            if entries[name]:
                reason = _REASONS.get(name, "what it does to the weights is not known here")
                raise PairingError(f"{where}: the adapter sets {name}: {reason}; merge it with PEFT before")
        start = entries.get("init_lora_weights", True)
        if start not in _STARTS:
            raise PairingError(
                f"{where}: the adapter was started by {start!r}, which changes the base itself; save it with PEFT's "
                "path_initial_model_for_weight_conversion, or merge it before"
            )
        given = {name: entries[name] for name in known if entries.get(name) is not None}
        try:
            return msgspec.convert(given, AdapterConfig)
        except msgspec.ValidationError as error:
            raise PairingError(f"{where}: {str(error).splitlines()[0]}; expected PEFT's adapter_config.json") from error

    def rank(self, module: str) -> int:
        """The rank in a module."""
        return _own(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """What multiplies BA in a module."""
        rank = self.rank(module)
        return _own(self.alpha_pattern, module, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def _own(patterns: Mapping[str, _Number], module: str, otherwise: _Number) -> _Number:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise
