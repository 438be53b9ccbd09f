import pytest
import torch
from torch import nn

from references.curvature import dense_hessian
from shrinkscope.curvature import hessian, last_layer_hessian, trace
from shrinkscope.curvature import trace as function
from shrinkscope.errors import CurvatureError


def exact(network, data, curvature):
    return float(dense_hessian(network, nn.functional.cross_entropy, *data, list(curvature.shapes)).trace())


def test_it_is_exact_for_few_weights(mlp, classes):
    curvature = hessian(mlp, classes, layers="2")
    found = trace(curvature, probes=18)
    assert found.trace.value == pytest.approx(exact(mlp, classes, curvature), rel=1e-10)
    assert (found.probes, found.probe_error, found.dimension) == (0, 0.0, 18)
    assert found.trace.standard_error == found.data_error > 0


def test_it_is_exact_for_the_last_layer(conv, images):
    curvature = last_layer_hessian(conv, images)
    found = trace(curvature)
    conv.eval()
    assert found.trace.value == pytest.approx(exact(conv, images, curvature), rel=1e-10)
    each = torch.tensor([exact(conv, (x[None], y[None]), curvature) for x, y in zip(*images, strict=True)])
    assert found.data_error == pytest.approx(float(each.std()) / 20**0.5, rel=1e-6)


def test_probes_estimate_it_within_their_error(mlp, classes):
    curvature = hessian(mlp, classes)
    truth = exact(mlp, classes, curvature)
    found = [trace(curvature, probes=8, generator=torch.Generator().manual_seed(seed)) for seed in range(40)]
    values = torch.tensor([one.trace.value for one in found], dtype=torch.float64)
    # Four standard errors of 40 runs, fixed generators.
    assert float(values.mean()) == pytest.approx(truth, abs=4 * float(values.std()) / 40**0.5)
    stated = float(torch.tensor([one.probe_error for one in found]).square().mean()) ** 0.5
    # The deviation of 40 values is known to 11 %, that of 40 × 7 degrees of freedom to 4 %: four of both together.
    assert stated == pytest.approx(float(values.std()), rel=0.5)
    joined = (found[0].probe_error ** 2 + found[0].data_error ** 2) ** 0.5
    assert found[0].trace.standard_error == pytest.approx(joined, rel=1e-12)


def test_probes_are_held_a_few_at_a_time(mlp, classes, monkeypatch):
    import sys

    curvature, seen = hessian(mlp, classes), []
    whole = trace(curvature, probes=9)
    # The module, which the function of the same name hides.
    monkeypatch.setattr(sys.modules[function.__module__], "_CHUNK", 4 * 43)
    pieces = trace(curvature, probes=9, progress=seen.append)
    assert seen == [4, 8, 9]
    assert pieces.trace.value == pytest.approx(whole.trace.value, rel=1e-12)
    assert pieces.probe_error == pytest.approx(whole.probe_error, rel=1e-9)
    with monkeypatch.context():
        assert trace(curvature, probes=43).trace.value == pytest.approx(exact(mlp, classes, curvature), rel=1e-10)


def test_one_sample_has_no_error_over_samples(mlp, classes):
    found = trace(hessian(mlp, (classes[0][:1], classes[1][:1])), probes=4)
    assert found.data_error is None
    assert found.trace.standard_error == found.probe_error


def test_one_probe_is_refused(mlp, classes):
    with pytest.raises(CurvatureError, match="probes = 1; expected at least 2, for a standard error"):
        trace(hessian(mlp, classes), probes=1)


def test_the_memory_of_the_probes_is_foreseen(mlp, classes):
    curvature = hessian(mlp, classes, batch_size=1, memory_limit=8000)
    with pytest.raises(
        CurvatureError, match=r"the trace of the Hessian of .* with 30 directions at a time needs about"
    ):
        trace(curvature, probes=30)
