"""The CIFAR ResNet equals a forward pass written from the state dict alone, and is a checkpoint like any other."""

import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification

import hf_leep
from examples.paper import cifar_resnet
from examples.paper.sources import as_checkpoint, names_of
from hf_leep.errors import CandidateError, UserError

TINY = {"depth": 8, "widths": [4, 6, 8]}


@pytest.fixture(scope="module", autouse=True)
def registered():
    cifar_resnet.register()


@pytest.fixture
def tiny():
    """A plain state dict's folder content: (description, weights) of a network with random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = cifar_resnet.CifarResNetForImageClassification(cifar_resnet.CifarResNetConfig(**TINY, num_labels=5))
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "running_var", "bias")):
                tensor.uniform_(0.5, 1.5)
    weights = {
        key.removeprefix("resnet.").replace("classifier.", "linear."): tensor
        for key, tensor in model.state_dict().items()
    }
    said = {"architecture": "CifarResNet", "shortcut": "A", **TINY, "num_channels": 3, "image_size": 32}
    said |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "id2label": {str(i): f"c{i}" for i in range(5)}}
    return said, weights


def write(folder, said, weights):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(said))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    return folder


def forward(weights, x, stages=3):
    """The network in functions, from the paper: no module of ours."""

    def normalised(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (weights[f"{name}.{key}"][:, None, None] for key in keys)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = normalised(functional.conv2d(x, weights["conv1.weight"], padding=1), "bn1").clamp(min=0)
    blocks = len({key.split(".")[1] for key in weights if key.startswith("layer1.")})
    for stage in range(1, stages + 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = functional.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = normalised(y, f"{name}.bn1").clamp(min=0)
            y = normalised(functional.conv2d(y, weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                half = x[..., ::2, ::2]
                x = torch.zeros_like(y)
                before = (y.shape[1] - half.shape[1]) // 2
                x[:, before : before + half.shape[1]] = half
            x = (x + y).clamp(min=0)
    return x.mean(dim=(2, 3)) @ weights["linear.weight"].T + weights["linear.bias"]


@pytest.mark.parametrize("name", ["cifar10_resnet20", "cifar10_resnet56"])
def test_logits_of_the_real_checkpoints_are_those_of_the_state_dict(shared, tmp_path, name):
    source = shared / "models" / name
    folder = cifar_resnet.convert(source, tmp_path / name)
    model = AutoModelForImageClassification.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = datasets.load_dataset(str(shared / "cifar100"), split="test").select(range(0, 4000, 500))
    with torch.no_grad():
        found = model(**processor([row.convert("RGB") for row in rows["image"]], return_tensors="pt")).logits
    pixels = torch.stack([torch.from_numpy(np.array(row.convert("RGB"))) for row in rows["image"]])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    expected = forward(load_file(source / "model.safetensors"), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert found.argmax(1).unique().numel() > 1
    assert model.config.id2label[9] == "truck"


def test_logits_of_random_weights_and_odd_widths(tiny, tmp_path, rng):
    said, weights = tiny
    model, _ = cifar_resnet.load_plain(write(tmp_path / "plain", said, weights))
    x = torch.from_numpy(rng.normal(size=(3, 3, 32, 32))).float()
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, forward(weights, x), rtol=1e-5, atol=1e-5)


def test_a_checkpoint_comes_back_through_every_auto_class(tiny, tmp_path, rng):
    folder = cifar_resnet.convert(write(tmp_path / "plain", *tiny), tmp_path / "saved")
    assert isinstance(AutoConfig.from_pretrained(folder), cifar_resnet.CifarResNetConfig)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert isinstance(processor, cifar_resnet.CifarResNetImageProcessor)
    assert tuple(processor.image_std) == (0.25,) * 3
    model, _ = cifar_resnet.load_plain(tmp_path / "plain")
    again, headless = AutoModelForImageClassification.from_pretrained(folder), AutoModel.from_pretrained(folder)
    x = torch.from_numpy(rng.normal(size=(2, 3, 32, 32))).float()
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, model(x).logits, rtol=0, atol=0)
        torch.testing.assert_close(headless.eval()(x).pooler_output, model.resnet(x).pooler_output, rtol=0, atol=0)


def test_it_is_ranked_from_its_folder_as_from_memory(tiny, pictures, tmp_path):
    folder = cifar_resnet.convert(write(tmp_path / "plain", *tiny), tmp_path / "saved")
    model, processor = cifar_resnet.load_plain(tmp_path / "plain")
    report = hf_leep.rank(
        [str(folder), ("memory", model, processor)], pictures, measures=("leep", "logme"), progress=False, cache=False
    )
    here, memory = (next(c for c in report.candidates if c["id"] == name) for name in (str(folder), "memory"))
    assert report.exit_code == 0
    for measure in ("leep", "logme"):
        assert here["scores"][measure]["value"] == pytest.approx(memory["scores"][measure]["value"], abs=1e-6)
    assert here["num_source_classes"] == 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "VGG"}, "describes no CIFAR ResNet"),
        ({"shortcut": "B"}, "describes no CIFAR ResNet"),
        ({"depth": 21}, "depth is 21"),
        ({"depth": 14}, "Missing key"),
        ({"widths": [4, 6, 10]}, "size mismatch"),
    ],
)
def test_another_architecture_is_refused(tiny, tmp_path, change, words):
    said, weights = tiny
    with pytest.raises(ValueError, match=words):
        cifar_resnet.load_plain(write(tmp_path / "plain", {**said, **change}, weights))


def test_plain_weights_that_changed_are_written_anew(tiny, tmp_path):
    said, weights = tiny
    plain = write(tmp_path / "plain", said, weights)
    folder = as_checkpoint(str(plain), tmp_path / "saved")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert as_checkpoint(str(plain), tmp_path / "saved") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    shutil.rmtree(plain)
    write(plain, said, {**weights, "linear.bias": weights["linear.bias"] + 1})
    model = AutoModelForImageClassification.from_pretrained(as_checkpoint(str(plain), tmp_path / "saved"))
    torch.testing.assert_close(model.classifier.bias, weights["linear.bias"] + 1)


def test_other_checkpoints_are_left_to_those_who_know_them(tmp_path):
    for name, content in (("timm", '{"architecture": "resnet18"}'), ("broken", "{"), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
        assert as_checkpoint(str(tmp_path / name), tmp_path / "saved") == str(tmp_path / name)
    (tmp_path / "broken" / "config.json").write_text('{"architecture": "CifarResNet"}')
    with pytest.raises(CandidateError, match="its weights cannot be read as a CIFAR ResNet: KeyError"):
        as_checkpoint(str(tmp_path / "broken"), tmp_path / "saved")


def test_sources_are_told_apart_by_as_much_of_their_paths_as_that_takes(tmp_path, monkeypatch):
    assert names_of(["a/resnet", "b/resnet", "c/other"]) == ["a-resnet", "b-resnet", "other"]
    assert names_of(["user/net"]) == ["net"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert names_of(["."]) == ["here"]
    with pytest.raises(UserError, match="--source a/net is given twice"):
        names_of(["a/net", "a/net"])
