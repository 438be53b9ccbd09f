"""How PEFT names the tensors of an adapter, and which tensor of the base each belongs to."""

import re

FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<kind>|embedding_)(?P<side>[AB])(?:\.(?!weight$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
"""A factor of a module: A or B, of a linear layer, a convolution or an embedding."""

ODD = re.compile(r"(?P<module>.+)\.lora_(magnitude_vector|variant|B(\.[^.]+)?\.bias).*")
"""What other adapters than plain LoRA keep beside their factors."""

_SAVED = re.compile(r"\.(modules_to_save|original_module)(\.[^.]+(?=\.))?\.")


def plain_name(name: str) -> str:
    """The name of the base's tensor that a tensor of an adapter changes, replaces or is.

    Args:
        name: A name of an adapter, or any other, which comes back as it is.
    """
    found = FACTOR.fullmatch(name) or ODD.fullmatch(name)
    if found is not None:
        return f"{found['module']}.weight"
    return _SAVED.sub(".", name).replace(".base_layer.", ".")
