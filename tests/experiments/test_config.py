"""Studies as values: what a file may say, what is refused, and the identity."""

import hashlib
import json

import msgspec
import pytest

from shrinkscope.errors import DataError, LatentError
from shrinkscope.experiments.config import ConfigError, Study, Training, encode, identity, load_study
from shrinkscope.latent import StudentT

MINIMAL = """
name = "tiny"
[training]
epochs = 3
[finetuning]
epochs = 2
learning_rate = 0.05
"""


def study(**changes: object) -> Study:
    plain = {"name": "tiny", "training": {"epochs": 3}, "finetuning": {"epochs": 2, "learning_rate": 0.05}}
    return msgspec.convert(plain | changes, Study)


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_decodes_into_the_study_that_it_describes(tmp_path):
    assert load_study(write(tmp_path, MINIMAL)) == study()


def test_every_field_can_be_said_in_a_file(tmp_path):
    text = """
    name = "all of it"
    network = "digits"
    seed = 7
    trials = 2
    methods = ["random", "lowest"]
    levels = [0.25, 0.5]
    scopes = ["all", "last"]
    finetune = "network"
    dense_reference = "last"
    random_masks = "fixed"
    minimum_accuracy = 0.9
    curvature_samples = 99
    latents = ["gaussian", {kind = "student_t", name = "heavy", df = 3.0}]
    trained = "last"
    weights = "somewhere/weights.npz"
    head = "new"
    structure = "channels"
    last = "head.weight"
    highest = "overwritten"
    released_gaussian = true
    iterations = false
    evaluated_samples = 64
    predictive_samples = 32
    path = "whole"
    views = 3
    computation = {precision = "bfloat16", channels_last = true, compile = true}
    [data]
    kind = "digits"
    test_size = 100
    seed = 3
    [training]
    epochs = 4
    batch_size = 32
    learning_rate = 0.1
    momentum = 0.5
    weight_decay = 0.001
    schedule = "constant"
    [finetuning]
    epochs = 1
    """
    loaded = load_study(write(tmp_path, text))
    assert loaded.latents == ("gaussian", StudentT(name="heavy", df=3.0))
    assert loaded.data.test_size == 100
    assert loaded.training.schedule == "constant"
    assert set(msgspec.toml.decode(text)) == set(Study.__struct_fields__)  # nothing left out above


def test_equal_studies_have_one_identity_and_any_change_another():
    assert identity(study()) == identity(study(trials=3, levels=[0.1, 0.3, 0.5, 0.8]))
    changed = [
        study(seed=2),
        study(levels=[0.1]),
        study(training={"epochs": 4}),
        study(data={"kind": "digits", "seed": 1}),
    ]
    assert len({identity(one) for one in [study(), *changed]}) == 5


def test_the_identity_is_the_hash_of_every_field_in_canonical_json():
    training = {"batch_size": 128, "momentum": 0.9, "weight_decay": 0.0, "schedule": "cosine"}
    every = {
        "name": "tiny",
        "training": training | {"epochs": 3, "learning_rate": 0.01},
        "finetuning": training | {"epochs": 2, "learning_rate": 0.05},
        "network": "digits",
        "data": {"kind": "digits", "test_size": 360, "seed": 0},
        "seed": 1,
        "trials": 3,
        "methods": ["lowest", "highest", "random"],
        "levels": [0.1, 0.3, 0.5, 0.8],
        "scopes": ["last"],
        "finetune": "scope",
        "dense_reference": "best",
        "random_masks": "trial",
        "minimum_accuracy": 0.0,
        "latents": ["gaussian", "gaussian_rotated", "student_t", "student_t_grouped"],
        "curvature_samples": 256,
        "trained": "network",
        "weights": None,
        "head": "keep",
        "structure": "weights",
        "last": None,
        "highest": "magnitude",
        "released_gaussian": False,
        "iterations": True,
        "evaluated_samples": None,
        "predictive_samples": 0,
        "path": "auto",
        "views": 1,
        "computation": {"precision": "float32", "channels_last": False, "compile": False},
    }
    canonical = json.dumps(every, sort_keys=True, separators=(",", ":"))
    assert encode(study()) == canonical
    assert identity(study()) == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials = 0; expected at least 1"),
        ({"minimum_accuracy": 97}, r"minimum_accuracy = 97.*; expected 0 to 1"),
        ({"curvature_samples": -1}, "curvature_samples = -1; expected 0 or more"),
        ({"levels": []}, "levels is empty; expected at least one"),
        ({"methods": ["lowest", "lowest"]}, "expected each once"),
        ({"levels": [0.1, 0.0]}, r"level 0.0; expected a fraction of weights to remove"),
        ({"levels": [30.0]}, r"level 30.0; expected a fraction of weights to remove"),
        ({"views": 0}, "views = 0; expected at least 1"),
        ({"evaluated_samples": 0}, "evaluated_samples = 0; expected at least 1"),
        ({"predictive_samples": 1}, "predictive_samples = 1; expected 0, or 2 and more"),
        ({"training": None}, r"no training: expected a table \[training\], or weights to use as they are"),
        ({"training": None, "weights": "w.npz", "head": "new"}, r"no training: expected a table"),
        ({"path": "features", "scopes": ["all"]}, "path = 'features' trains the last layer alone"),
        ({"path": "features", "finetune": "network"}, "path = 'features' trains the last layer alone"),
        ({"training": {"epochs": 0}}, "epochs = 0; expected at least 1"),
        ({"training": {"epochs": 1, "batch_size": 0}}, "batch_size = 0; expected at least 1"),
        ({"training": {"epochs": 1, "learning_rate": 0.0}}, r"learning_rate = 0.0; expected a positive number"),
        ({"training": {"epochs": 1, "momentum": 1.0}}, r"momentum = 1.0; expected 0 up to, not including, 1"),
        ({"training": {"epochs": 1, "weight_decay": -1.0}}, r"weight_decay = -1.0; expected 0 or more"),
    ],
)
def test_a_value_out_of_range_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        study(**changes)


def test_a_typo_is_answered_with_the_fields_that_exist(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown field `trails`; the fields are name, finetuning, .*; did you mean trials\?$"
    ):
        load_study(write(tmp_path, "trails = 3\n" + MINIMAL))
    with pytest.raises(
        ConfigError, match=r"unknown field `epcohs`.*; the fields are epochs, batch_size.*; did you mean epochs\?$"
    ):
        load_study(write(tmp_path, MINIMAL + "epcohs = 3\n"))
    with pytest.raises(ConfigError, match=r"unknown field `size`.*; the fields are test_size, seed"):
        load_study(write(tmp_path, MINIMAL + '[data]\nkind = "digits"\nsize = 3\n'))


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("[data]\nkind = 'cifar'\nclases = 10\n", "root, transform, train_samples, test_samples, classes, download"),
        ("[data]\nkind = 'arrays'\ntrain = 'a.npz'\ntets = 'b.npz'\n", "root, .* train, test"),
        ("[data]\nkind = 'image_folder'\n[data.transform]\nside = 3\n", "size, augmentation, mean, deviation"),
        ("[computation]\nprecison = 'float32'\n", "precision, channels_last, compile"),
    ],
)
def test_a_typo_in_a_table_is_answered_with_its_fields(tmp_path, line, fields):
    with pytest.raises(ConfigError, match=f"unknown field .*; the fields are {fields}"):
        load_study(write(tmp_path, MINIMAL + line))


def test_the_identity_has_no_place_of_files():
    images = {"kind": "tiny_imagenet", "root": "/somewhere"}
    moved = images | {"root": "/elsewhere"}
    one, other = study(data=images, weights="/a/w.npz"), study(data=moved, weights="/b/w.npz")
    assert identity(one) == identity(other)
    assert "/" not in encode(one)
    assert identity(one) != identity(study(data=images, weights="/a/v.npz"))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"size": 0}, "size = 0; expected at least one pixel"),
        ({"augmentation": "resized_crop"}, "needs a size to scale its crops to"),
        ({"deviation": [1.0, 0.0, 1.0]}, "expected three positive numbers"),
    ],
)
def test_an_impossible_transform_is_refused(transform, message):
    with pytest.raises(DataError, match=message):
        study(data={"kind": "cifar", "transform": transform})


@pytest.mark.parametrize("name", ["train_samples", "test_samples"])
def test_no_samples_are_refused(name):
    with pytest.raises(DataError, match=f"{name} = 0; expected at least 1"):
        study(data={"kind": "cifar", name: 0})


def test_a_wrong_type_names_its_place(tmp_path):
    with pytest.raises(ConfigError, match=r"study.toml: Expected `int`, got `str` - at `\$.trials`"):
        load_study(write(tmp_path, 'trials = "three"\n' + MINIMAL))


def test_a_value_out_of_range_names_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"study.toml: trials = 0"):
        load_study(write(tmp_path, "trials = 0\n" + MINIMAL))


def test_a_file_that_is_not_toml_or_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="is not TOML"):
        load_study(write(tmp_path, "name = \n"))
    with pytest.raises(ConfigError, match="cannot read .*: No such file"):
        load_study(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_study(tmp_path / "binary.toml")


def test_unknown_latents_and_impossible_splits_are_refused():
    with pytest.raises(LatentError, match="unknown latent 'gausian'"):
        study(latents=["gausian"])
    with pytest.raises(DataError, match="test_size = 3; expected 10 to 1787"):
        study(data={"kind": "digits", "test_size": 3})


def test_a_study_is_a_value():
    assert hash(study()) == hash(study())
    with pytest.raises(AttributeError):
        study().trials = 4  # type: ignore[misc]
    assert Training(epochs=1) == Training(epochs=1)
