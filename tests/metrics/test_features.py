"""Feature nets: the shipped weights, files of weights, the Inception adapter, what images they take."""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from distmatch.errors import BadInput
from distmatch.metrics.features.classifiers import CLASSIFIERS, SHIPPED, cifar10_classifier, load_classifier
from distmatch.metrics.features.nets import FeatureNet, feature_net, image_features, image_logits
from distmatch.random import seeded

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "classifiers"


def scikit_digits():
    """1,797 digits of 8×8 from another source, in the middle of 28×28, and their labels."""
    found = load_digits()
    small = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    large = F.interpolate(small, size=(20, 20), mode="bicubic", align_corners=False).clamp(0, 1)
    return F.pad(large, (4, 4, 4, 4)), torch.tensor(found.target)


def test_the_shipped_weights_are_those_whose_error_was_measured():
    about = json.loads((RESULTS / "mnist.json").read_text())
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() == about["sha256"]
    assert SHIPPED.stat().st_size == about["bytes"] <= 2_000_000
    assert about["accuracy"] >= 0.993
    assert about["n"] == 10_000
    assert about["standard_error"] == pytest.approx(
        (about["accuracy"] * (1 - about["accuracy"]) / 10_000) ** 0.5
    )
    net = feature_net("mnist")
    assert net.digest == about["sha256"]
    assert str(net) == f"mnist classifier {about['sha256'][:12]}"


def test_the_shipped_net_reads_digits_of_another_source():
    images, labels = scikit_digits()
    right = (image_logits(feature_net("mnist"), images).argmax(1) == labels).double().mean()
    assert right > 0.9


def test_logits_are_of_the_features_and_do_not_depend_on_the_batch():
    images, _ = scikit_digits()
    net, shares = feature_net("mnist"), []
    features = image_features(net, images[:30], batch_size=7, progress=shares.append)
    assert features.shape == (30, 128)
    assert torch.allclose(features, image_features(net, images[:30]), atol=1e-5)
    head = load_classifier()[1].head
    assert torch.allclose(head(features), image_logits(net, images[:30]), atol=1e-4)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_loading_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    feature_net("mnist")
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize("name", list(CLASSIFIERS))
def test_a_file_of_weights_says_which_net_it_is(name, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = CLASSIFIERS[name]().eval()
    state = {k: v.half() for k, v in made.state_dict().items() if v.is_floating_point()}
    save_file(state, tmp_path / "w.safetensors")
    net = feature_net(tmp_path / "w.safetensors")
    assert net.name == f"{name} classifier"
    x = torch.rand(3, *made.shape, generator=seeded(1))
    assert image_logits(net, x).shape == (3, 10)
    expected = made.half().float()(x).detach()
    assert torch.allclose(image_logits(net, x), expected, atol=1e-4)


def test_the_cifar_net_has_thirteen_convolutions():
    widths = [m.out_channels for m in cifar10_classifier().modules() if isinstance(m, nn.Conv2d)]
    assert widths == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def test_files_that_are_not_weights_are_named(tmp_path):
    wrong = tmp_path / "w.safetensors"
    with pytest.raises(BadInput, match=r"w\.safetensors cannot be read"):
        feature_net(wrong)
    wrong.write_bytes(b"something else")
    with pytest.raises(BadInput, match="is not a safetensors file"):
        feature_net(wrong)
    save_file({"a": torch.zeros(1)}, wrong)
    with pytest.raises(BadInput, match="does not hold the weights of a known classifier"):
        feature_net(wrong)


def test_any_callable_serves():
    net = FeatureNet("mean", lambda x: x.mean((2, 3)), digest="abc")
    assert image_features(net, torch.ones(4, 3, 5, 5)).equal(torch.ones(4, 3))
    assert str(net) == "mean abc"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 3, 32, 32), "takes images of 1×28×28; these are 3×32×32"),
        (torch.full((2, 1, 28, 28), 255.0), r"in \[0, 1\]"),
        (torch.zeros(2, 1, 28, 28) - 1, r"in \[0, 1\]"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), r"in \[0, 1\]"),
        (torch.full((2, 1, 28, 28), float("nan")), "NaN"),
        (torch.zeros(2, 28, 28), "shape"),
    ],
)
def test_says_what_is_wrong_with_images(images, words):
    with pytest.raises(BadInput, match=words):
        image_features(feature_net("mnist"), images)


def test_inception_is_asked_for_bytes_and_gives_what_torch_fidelity_would(monkeypatch):
    asked = {}

    class Extractor(nn.Module):
        def __init__(self, name, features_list):
            super().__init__()
            asked["features"] = features_list
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            asked["x"] = x
            return x.double().flatten(1)[:, :2048].float(), x.double().mean((2, 3)).float()

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    net = feature_net("inception")
    stored = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    features = image_features(net, stored.float() / 255)
    assert asked["features"] == ["2048", "logits_unbiased"]
    assert asked["x"].dtype == torch.uint8
    assert asked["x"].equal(stored.expand(1, 3, 16, 16))  # every byte comes back
    assert features.equal(stored.expand(1, 3, 16, 16).float().flatten(1))
    assert image_logits(net, stored.float() / 255).tolist() == [[127.5] * 3]
    assert len(net.digest) == 64
    with pytest.raises(BadInput, match="one channel or three"):
        image_features(net, torch.zeros(1, 2, 4, 4))


def test_inception_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(BadInput, match=r"pip install 'distmatch\[fidelity\]'"):
        feature_net("inception")
