"""Studies whose last layers are trained on cached features: run by the same call, with the same records."""

import msgspec
import pytest

from shrinkscope.experiments.config import Study, Training
from shrinkscope.experiments.runner import Outcome, Progress, run_study
from shrinkscope.experiments.settings import StudyError
from shrinkscope.experiments.store import Store

STUDY = Study(
    name="aside",
    training=Training(epochs=1, learning_rate=0.1),
    finetuning=Training(epochs=2, learning_rate=0.05),
    trials=2,
    methods=("lowest", "random"),
    levels=(0.5,),
    latents=("gaussian",),
)
KEYS = ["trial", "scope", "method", "level", "epoch", "layer", "metric"]


def table(outcome: Outcome):
    with Store(outcome.store, create=False) as store:
        return store.records(outcome.run).set_index(KEYS)


@pytest.mark.parametrize("trained", ["network", "last"])
def test_records_and_progress_are_those_of_the_way_through_the_network(tmp_path, trained):
    told: list[Progress] = []
    features = msgspec.structs.replace(STUDY, path="features", trained=trained)
    fast = run_study(features, tmp_path / "fast", workers=1, progress=told.append)
    slow = run_study(msgspec.structs.replace(features, path="whole"), tmp_path / "slow", workers=1)
    assert [progress.done for progress in told if progress.stage is None] == list(range(7))
    stages = [progress.stage for progress in told if progress.stage is not None]
    assert all(0 < stage.done <= stage.total and stage.remaining >= 0 for stage in stages)
    # 1,437 training digits and 360 others in blocks of 32, as images that small are; two epochs of 4 heads.
    features_told = [stage.done for stage in stages if stage.what == "features of images"]
    expected_told = [*range(32, 1437, 32), 1437, *range(32, 360, 32), 360]
    assert features_told[: len(expected_told)] == expected_told
    assert [(stage.done, stage.total) for stage in stages if stage.what == "epochs of 4 last layers"] == [
        (1, 2),
        (2, 2),
    ]
    assert len(list(fast.networks.rglob("*.safetensors"))) == 6
    found, expected = table(fast), table(slow)
    assert sorted(found.index) == sorted(expected.index)
    expected = expected.loc[found.index]
    for column in ("unit", "status"):
        assert (found[column] == expected[column]).all()
    # Some twenty float32 steps; a difference of nearly equal losses loses digits.
    assert found["value"].tolist() == pytest.approx(expected["value"].tolist(), rel=1e-4, abs=1e-5, nan_ok=True)
    again = run_study(features, tmp_path / "fast", workers=1)
    assert again.resumed == again.cells == 6


def test_a_failure_of_one_is_told_and_nothing_is_recorded(tmp_path):
    study = msgspec.structs.replace(STUDY, path="features", trained="last", minimum_accuracy=1.0)
    with pytest.raises(StudyError, match="the dense network of trial 1 has"):
        run_study(study, tmp_path, workers=1)


def test_a_network_whose_cells_were_lost_is_done_again(tmp_path):
    study = msgspec.structs.replace(STUDY, path="features")
    first = run_study(study, tmp_path, workers=1)
    before = table(first)
    lost = next(path for path in first.networks.rglob("*.safetensors") if "random" in path.name)
    content = lost.read_bytes()
    lost.unlink()
    again = run_study(study, tmp_path, workers=1)
    assert again.resumed == 5
    assert len(lost.read_bytes()) == len(content)
    # One head alone is another matrix product, which may round otherwise.
    values = table(again).loc[before.index]["value"].tolist()
    assert values == pytest.approx(before["value"].tolist(), rel=1e-4, abs=1e-5, nan_ok=True)
