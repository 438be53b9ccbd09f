"""Compression: pruning, quantisation and low rank as values that compute masks or weights, and their application."""

from shrinkscope.compression.apply import apply_mask, compress, hold, prune, release, write_weights
from shrinkscope.compression.compensated import CompensatedPruning, compensate, compensated_path, compensated_to_counts
from shrinkscope.compression.count import nearest_count
from shrinkscope.compression.drift import LayerDrift, MaskDrift, mask_drift
from shrinkscope.compression.informed import InformedPruning
from shrinkscope.compression.low_rank import Factors, LowRank
from shrinkscope.compression.magnitude import MagnitudePruning
from shrinkscope.compression.mask import Mask, load_mask, save_mask
from shrinkscope.compression.methods import CompressionMethod, InformedMethod, PruningMethod
from shrinkscope.compression.pattern import PatternPruning
from shrinkscope.compression.quantise import UniformQuantisation
from shrinkscope.compression.random_pruning import RandomPruning
from shrinkscope.compression.scope import Scope
from shrinkscope.compression.structured import StructuredPruning

__all__ = [
    "CompensatedPruning",
    "CompressionMethod",
    "Factors",
    "InformedMethod",
    "InformedPruning",
    "LayerDrift",
    "LowRank",
    "MagnitudePruning",
    "Mask",
    "MaskDrift",
    "PatternPruning",
    "PruningMethod",
    "RandomPruning",
    "Scope",
    "StructuredPruning",
    "UniformQuantisation",
    "apply_mask",
    "compensate",
    "compensated_path",
    "compensated_to_counts",
    "compress",
    "hold",
    "load_mask",
    "mask_drift",
    "nearest_count",
    "prune",
    "release",
    "save_mask",
    "write_weights",
]
