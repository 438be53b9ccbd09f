"""What a folder of Hugging Face holds: its architecture, as a network without weights, and where its blocks are."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shrinkscope.errors import WeightsError

LANGUAGE_MODELS = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
"""Predict the next token: they have a perplexity."""

ENCODERS = ("BertModel",)
"""Give a vector for each token."""


def skeleton(folder: Path) -> nn.Module:
    """The network that a folder's config.json describes, without weights: its parameters are on the device ``meta``.

    What is computed from the configuration alone, such as rotary angles, is there.

    Args:
        folder: A folder in the layout of Hugging Face.

    Returns:
        The network in evaluation mode; nothing of it needs gradients.

    Raises:
        WeightsError: If there is no configuration, the architecture is none of those supported, the weights are packed,
            or transformers is not installed.
    """
    config = _config(folder)
    architecture = _architecture(folder, config)
    library = _transformers()
    try:
        settings = library.AutoConfig.from_pretrained(folder)
        settings.use_cache = False  # a block must not remember the sequences before
        with torch.device("meta"):
            network = getattr(library, architecture)(settings)
    except Exception as error:  # transformers raises many kinds for one fault: the configuration is not usable
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{folder / 'config.json'}: no usable configuration of {architecture} ({reason})") from error
    for module in list(network.modules()):
        if module._non_persistent_buffers_set:
            fresh = type(module)(settings)
            for name in module._non_persistent_buffers_set:
                setattr(module, name, getattr(fresh, name))
    return network.eval().requires_grad_(False)


def block_list(network: nn.Module) -> tuple[str, nn.ModuleList]:
    """The blocks of a network: its longest list of modules, with its name.

    Args:
        network: The network.

    Raises:
        WeightsError: If there is none.
    """
    lists = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists or not len(max(lists, key=lambda found: len(found[1]))[1]):
        raise WeightsError(f"{type(network).__name__} has no list of blocks to go through; check num_hidden_layers")
    return max(lists, key=lambda found: len(found[1]))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; expected a folder in the layout of Hugging Face") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable configuration ({error}); fetch it again") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{path}: holds a {type(found).__name__}; expected a configuration; fetch it again")
    return found


def _architecture(folder: Path, config: dict[str, Any]) -> str:
    name = str((config.get("architectures") or [""])[0])
    supported = (*LANGUAGE_MODELS, *ENCODERS)
    if name not in supported:
        found = name or f"model_type {config.get('model_type')!r} without architectures"
        raise WeightsError(
            f"{folder} holds a {found}; what goes through block by block is {', '.join(supported)}: "
            "prune others whole, with --network"
        )
    if "quantization_config" in config:
        raise WeightsError(f"{folder} holds packed weights (quantization_config); give the dense network")
    return name


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise WeightsError(f"transformers cannot be imported ({error}); install shrinkscope[llm]") from error
    return transformers
