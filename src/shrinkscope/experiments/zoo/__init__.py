"""Networks and data sets by name."""

from shrinkscope.experiments.zoo.data import load_data
from shrinkscope.experiments.zoo.networks import NETWORKS, load_network

__all__ = ["NETWORKS", "load_data", "load_network"]
