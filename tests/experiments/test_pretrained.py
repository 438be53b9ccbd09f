"""Weights from elsewhere: what fits is taken as it is, what does not is named."""

import pytest
import torch
from torch import nn

from shrinkscope.errors import WeightsError
from shrinkscope.experiments import architectures, pretrained
from shrinkscope.experiments.architectures import architecture, head_of
from shrinkscope.experiments.networks import new_network, starting_network
from shrinkscope.experiments.pretrained import load_pretrained, weights_digest
from shrinkscope.weights import save_tensors


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3))


def saved(path, network: str, classes: int | None = None, seed: int = 1) -> dict[str, torch.Tensor]:
    state = new_network(network, seed, classes).state_dict()
    save_tensors(path, state)
    return state


def test_a_head_is_made_for_the_classes_and_others_stay():
    plain, fitted = new_network("resnet20", 1), new_network("resnet20", 1, 7)
    assert head_of(fitted) == "linear"
    assert fitted.state_dict()["linear.weight"].shape == (7, 64)
    assert torch.equal(plain.state_dict()["layer3.0.conv1.weight"], fitted.state_dict()["layer3.0.conv1.weight"])
    assert new_network("resnet20", 1, 10).state_dict()["linear.bias"].equal(plain.state_dict()["linear.bias"])


def test_a_network_without_a_linear_head_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(architectures, "load_network", lambda name: convolutional())
    with pytest.raises(WeightsError, match="mine:net ends in 0, a Conv2d; expected a linear layer"):
        architecture("mine:net", 5)


@pytest.mark.parametrize(
    ("name", "head"),
    [("alexnet", "classifier.6"), ("resnet50", "fc"), ("vgg16", "classifier.6"), ("vit_b_16", "heads.head")],
)
def test_torchvisions_networks_end_where_they_should(name, head):
    pytest.importorskip("torchvision")
    with torch.device("meta"):  # no weights are drawn
        model = architecture(f"torchvision:{name}", 13)
    assert head_of(model) == head
    assert model.get_parameter(f"{head}.weight").shape[0] == 13


def test_unknown_names_are_answered(monkeypatch):
    pytest.importorskip("torchvision")
    with pytest.raises(WeightsError, match="torchvision has no network 'resnet51'"):
        architecture("torchvision:resnet51")
    model = nn.Linear(2, 2)
    with pytest.raises(
        WeightsError, match=r"no weights 'IMAGENET' of resnet18, and there is no such file; it has IMAG"
    ):
        load_pretrained(model, "torchvision:resnet18", "IMAGENET", keep_head=True)


def test_a_download_that_fails_is_one_line(monkeypatch):
    models = pytest.importorskip("torchvision.models")

    def unreachable(*_: object, **settings: object) -> None:
        assert settings["weights_only"] is True  # nothing of a file may be run
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    assert models.list_models()
    with pytest.raises(
        WeightsError, match=r"cannot download IMAGENET1K_V1 of resnet18: Name or service.*--weights FILE"
    ):
        load_pretrained(nn.Linear(2, 2), "torchvision:resnet18", "IMAGENET1K_V1", keep_head=False)


@pytest.mark.parametrize("library", ["torchvision_models", "transformers_module"])
def test_a_library_that_is_missing_is_named(library, monkeypatch):
    module = {"torchvision_models": "torchvision", "transformers_module": "transformers"}[library]
    monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setitem(__import__("sys").modules, "torchvision.models", None)
    with pytest.raises(WeightsError, match=rf"{module} cannot be imported .*install"):
        getattr(architectures, library)()


def test_weights_of_the_same_classes_are_taken_whole(tmp_path):
    state = saved(tmp_path / "w.safetensors", "resnet20", 7)
    model = starting_network("resnet20", 2, 7, weights=str(tmp_path / "w.safetensors"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_new_head_is_the_seeds_and_the_rest_the_weights(tmp_path):
    state = saved(tmp_path / "w.safetensors", "resnet20")
    path = str(tmp_path / "w.safetensors")
    one = starting_network("resnet20", 2, 10, weights=path, keep_head=False).state_dict()
    assert not torch.equal(one["linear.weight"], state["linear.weight"])
    assert all(torch.equal(one[name], state[name]) for name in state if not name.startswith("linear"))
    other = starting_network("resnet20", 3, 10, weights=path, keep_head=False).state_dict()
    assert not torch.equal(one["linear.weight"], other["linear.weight"])
    # Of other classes, too: then the head of the file cannot fit.
    assert (
        starting_network("resnet20", 2, 5, weights=path, keep_head=False).get_parameter("linear.weight").shape[0] == 5
    )


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = str(tmp_path / "w.safetensors")
    saved(tmp_path / "w.safetensors", "resnet20")
    with pytest.raises(
        WeightsError, match=r"linear.weight has 10 classes in the weights and 7 in the data; head = 'new'"
    ):
        starting_network("resnet20", 2, 7, weights=path)
    with pytest.raises(
        WeightsError, match=r"than resnet32: \d+ of \d+ tensors are there; layer1.3.conv1.weight is miss"
    ):
        starting_network("resnet32", 2, 10, weights=path)
    with pytest.raises(
        WeightsError, match=r"another architecture than digits: .*conv1.weight has shape \(16, 3, 3, 3\)"
    ):
        starting_network("digits", 2, weights=path)
    with pytest.raises(WeightsError, match=r"than lenet300: 0 of 4 tensors are there; fc1.weight is missing and bn1"):
        starting_network("lenet300", 2, weights=path, keep_head=False)
    with pytest.raises(WeightsError, match="none.npz: no such file"):
        starting_network("resnet20", 2, weights=str(tmp_path / "none.npz"))


def test_weights_are_known_by_their_content_or_their_name(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        saved(tmp_path / f"{name}.safetensors", "digits", seed=seed)
    a, b, c = (weights_digest(str(tmp_path / f"{name}.safetensors")) for name in "abc")
    assert a == b != c
    assert weights_digest("IMAGENET1K_V1") == "IMAGENET1K_V1"
    with pytest.raises(
        WeightsError, match="^none.npz: no such file; give --weights FILE, or the folder that holds it$"
    ):
        weights_digest("none.npz")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert weights_digest(str(tmp_path / "folder")) == a


@pytest.fixture
def vit(tmp_path):
    """A Vision Transformer of 16 dimensions in a folder, as transformers saves it."""
    library = pytest.importorskip("transformers")
    config = library.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    config.num_labels = 5
    model = library.AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(tmp_path / "vit")
    return tmp_path / "vit", model


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_transformer_from_a_folder_gives_its_own_scores(vit):
    folder, model = vit
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    network = starting_network(f"transformers:{folder}", 1, 5, weights=str(folder))
    with torch.no_grad():
        assert torch.equal(network(images), model(pixel_values=images).logits)
    file = starting_network(f"transformers:{folder}", 1, 5, weights=str(folder / "model.safetensors"))
    with torch.no_grad():
        assert torch.equal(file(images), model(pixel_values=images).logits)
    fresh = starting_network(f"transformers:{folder}", 1, 9, weights=str(folder), keep_head=False)
    assert fresh(images).shape == (2, 9)
    assert head_of(fresh) == "network.classifier"
    with pytest.raises(WeightsError, match=r"classifier.weight has 5 classes in the weights and 9 in the data"):
        starting_network(f"transformers:{folder}", 1, 9, weights=str(folder))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_transformer_that_is_not_here_is_one_line(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"transformers has no network .*empty' here .*config.json"):
        architecture(f"transformers:{tmp_path / 'empty'}")
    with pytest.raises(WeightsError, match=r"cannot load .*empty: .*config.json and model.safetensors"):
        pretrained._of_transformers(str(tmp_path / "empty"))
