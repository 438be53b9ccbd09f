"""The share of changed classes that a plan under max_drop predicts, held against fresh images of a trained network."""

import copy
import math
from pathlib import Path

import pytest

from shrinkscope.analysis.plan import plan
from shrinkscope.experiments.zoo import load_inputs, load_network
from shrinkscope.performance import predictive_divergence
from shrinkscope.weights import runnable

DATA = Path(__file__).parents[3] / "../shared/data"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="needs LeNet's weights and MNIST in ../shared/data")


@pytest.mark.parametrize("method", ["unstructured", "bits"])
def test_the_predicted_share_of_changed_classes_is_that_of_fresh_images(method):
    network = runnable(str(DATA / "weights/lenet300_rjoe_dense.npz"), load_network("lenet300")).eval()
    images = load_inputs(str(DATA / "mnist_t10k"))
    # The halves of the file differ in difficulty, so both samples go through all of it; no image is in both.
    looked, fresh = images[::20], images[1::4]
    made = plan(network, max_drop=0.04, inputs=looked, method=method, allocation="additive")
    assert made.verdict == "reached"
    assert made.disagreement.value <= 0.04
    compressed = copy.deepcopy(network)
    made.apply(compressed)
    share = predictive_divergence(network, compressed, fresh).disagreement
    error = math.hypot(made.disagreement.standard_error, share.standard_error)
    # Two shares of independent images: beyond three standard errors in 0.3 % of draws of the images, a little more on
    # the upper side, because the bisection ends where the judging half happens to be within.
    assert abs(share.value - made.disagreement.value) < 3 * error
    assert share.value > 0.0  # something was at stake
