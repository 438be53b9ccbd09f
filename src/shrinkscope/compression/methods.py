"""All methods as tagged unions, so that a configuration file decodes into them by its ``kind``."""

from shrinkscope.compression.compensated import CompensatedPruning
from shrinkscope.compression.informed import InformedPruning
from shrinkscope.compression.low_rank import LowRank
from shrinkscope.compression.magnitude import MagnitudePruning
from shrinkscope.compression.quantise import UniformQuantisation
from shrinkscope.compression.random_pruning import RandomPruning
from shrinkscope.compression.structured import StructuredPruning

PruningMethod = MagnitudePruning | RandomPruning | StructuredPruning
"""Methods that decide by a mask."""

CompressionMethod = MagnitudePruning | RandomPruning | StructuredPruning | UniformQuantisation | LowRank
"""Every method: ``msgspec.convert({"kind": "magnitude", "level": 0.3}, CompressionMethod)`` builds one."""

InformedMethod = InformedPruning | CompensatedPruning
"""Prunings that hold a Σ⁻¹ gathered from data; no configuration file can say that."""
