"""Fusions and factorisations known without being told: how common networks write them."""

from shrinkscope.weights.mapping.rules import Factors, Fusion

_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("Wq", "Wk", "Wv"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
)
_FUSED_PROJECTIONS = ("qkv_proj", "Wqkv", "qkv", "to_qkv", "in_proj", "c_attn")
_GATES = (("gate_proj", "up_proj"), ("w1", "w3"), ("gate", "up"))
_FUSED_GATES = ("gate_up_proj", "w13", "gate_up")
_EXPERTS = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
_FUSED_EXPERTS = (("gate_up_proj", "down_proj"), ("w13", "w2"), ("w13_weight", "w2_weight"))


def _attention() -> list[Fusion]:
    found = []
    for names in _PROJECTIONS:
        parts = tuple(f"*.{name}.*" for name in names)
        found += [Fusion(fused=f"*.{fused}.*", parts=parts) for fused in _FUSED_PROJECTIONS]
        # GPT-NeoX and BLOOM: the rows of one head's query, key and value lie together.
        found.append(Fusion(fused="*.query_key_value.*", parts=parts, layout="heads"))
        # torch.nn.MultiheadAttention has no module for its packed projections.
        found += [
            Fusion(fused=f"*.in_proj_{kind}", parts=tuple(f"*.{name}.{kind}" for name in names))
            for kind in ("weight", "bias")
        ]
    separate = tuple(f"*.{name}_proj_weight" for name in "qkv")
    return [*found, Fusion(fused="*.in_proj_weight", parts=separate)]


def _gates() -> list[Fusion]:
    pairs = [(fused, names) for fused in _FUSED_GATES for names in _GATES]
    return [Fusion(fused=f"*.{fused}.*", parts=tuple(f"*.{name}.*" for name in names)) for fused, names in pairs]


def _experts() -> list[Fusion]:
    found = []
    for gate, up, down in _EXPERTS:
        for suffix in (".weight", ".bias"):
            both = tuple(f"*.experts.#.{name}{suffix}" for name in (gate, up))
            last = (f"*.experts.#.{down}{suffix}",)
            end = "_bias" if suffix == ".bias" else ""
            for fused, fused_down in _FUSED_EXPERTS:
                found.append(Fusion(fused=f"*.experts.{fused}{end}", parts=both))
                found.append(Fusion(fused=f"*.experts.{fused_down}{end}", parts=last))
        found += [Fusion(fused=f"*.experts.{name}", parts=(f"*.experts.#.{name}.weight",)) for name in (gate, up)]
    return found


FUSIONS: tuple[Fusion, ...] = (*_attention(), *_gates(), *_experts())
"""Query, key and value in one; gate and up in one; the experts of a mixture in one tensor."""

FACTORS: tuple[Factors, ...] = (
    Factors(left="*.U", right="*.V", product="*.weight", diagonal="*.S"),
    Factors(left="*.u", right="*.v", product="*.weight", diagonal="*.s"),
    Factors(left="*.U.weight", right="*.V.weight", product="*.weight", diagonal="*.S"),
    Factors(left="*_U", right="*_V", product="*", diagonal="*_S"),
    Factors(left="*_u", right="*_v", product="*", diagonal="*_s"),
    Factors(left="*_U", right="*_V", product="*.weight", diagonal="*_S"),
    Factors(left="*_u", right="*_v", product="*.weight", diagonal="*_s"),
    Factors(left="*_U.weight", right="*_V.weight", product="*.weight"),
    Factors(left="*_u.weight", right="*_v.weight", product="*.weight"),
    # SVD-LLM: q_u_proj after q_v_proj.
    Factors(left="*_u_proj.weight", right="*_v_proj.weight", product="*_proj.weight"),
    # ASVD: the input goes through BLinear first.
    Factors(left="*.ALinear.weight", right="*.BLinear.weight", product="*.weight"),
    # nn.Sequential: module 0 acts first, so it stands on the right.
    Factors(left="*.1.weight", right="*.0.weight", product="*.weight"),
)
"""U and V, optionally with S between them, and nn.Sequential of two layers."""

FACTOR_BIASES: tuple[tuple[str, str], ...] = (
    ("*.1.bias", "*.bias"),
    ("*.U.bias", "*.bias"),
    ("*_u.bias", "*.bias"),
    ("*_U.bias", "*.bias"),
    ("*_u_proj.bias", "*_proj.bias"),
    ("*.ALinear.bias", "*.bias"),
)
"""Where the bias of a factorised layer is, and what the plain network calls it."""
