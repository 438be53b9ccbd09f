"""Networks and data sets by name."""

from shrinkscope.experiments.zoo.data import load_data, load_inputs
from shrinkscope.experiments.zoo.networks import NETWORKS, load_network

__all__ = ["NETWORKS", "load_data", "load_inputs", "load_network"]
