"""Where ω comes from: modules, state dicts and files; pairing of two networks; selection of layers; sums over pairs."""

from shrinkscope.weights.groups import GroupSums
from shrinkscope.weights.moments import PairMoments
from shrinkscope.weights.pairing import Mismatch, Pairing, TensorPair, pair
from shrinkscope.weights.remote.path import RemotePath
from shrinkscope.weights.role import COMPRESSIBLE, ROLES, Role
from shrinkscope.weights.runnable import runnable
from shrinkscope.weights.saving import save_tensors
from shrinkscope.weights.selection import LayerSelection, LayersLike
from shrinkscope.weights.source import WeightsLike, compressible, open_weights
from shrinkscope.weights.summary import PairSummary, summarise
from shrinkscope.weights.view import CHUNK, TensorView, Weights

__all__ = [
    "CHUNK",
    "COMPRESSIBLE",
    "ROLES",
    "GroupSums",
    "LayerSelection",
    "LayersLike",
    "Mismatch",
    "PairMoments",
    "PairSummary",
    "Pairing",
    "RemotePath",
    "Role",
    "TensorPair",
    "TensorView",
    "Weights",
    "WeightsLike",
    "compressible",
    "open_weights",
    "pair",
    "runnable",
    "save_tensors",
    "summarise",
]
