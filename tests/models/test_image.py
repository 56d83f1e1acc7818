"""Loading image classifiers, whole and broken; the pass of a loaded one is tested in test_forward.py."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from hf_leep.errors import CandidateError
from hf_leep.models import image


def load(path):
    return image.MODALITY.adapter.load(path, ["image"], torch.float32)


def edited(path, tmp_path, **changes):
    """A copy of a checkpoint with its config.json changed."""
    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    return copy


def without(path, tmp_path, prefix):
    """A copy of a checkpoint without the weights of that prefix."""
    from safetensors.torch import load_file, save_file

    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    kept = {k: v for k, v in load_file(copy / "model.safetensors").items() if not k.startswith(prefix)}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_a_whole_checkpoint_has_head_labels_and_its_own_processor(checkpoints):
    classifier = load(checkpoints["five"])
    assert classifier.missing == {}
    assert classifier.head.out_features == 5
    assert classifier.source_labels == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert not classifier.model.training
    assert classifier.processor_backend == "pil"
    assert json.loads(classifier.processor)["size"] == {"shortest_edge": 32}


def test_half_precision_checkpoints_load_in_the_dtype_asked_for(checkpoints, tmp_path):
    from transformers import AutoModelForImageClassification

    half = tmp_path / "half"
    shutil.copytree(checkpoints["five"], half)
    AutoModelForImageClassification.from_pretrained(checkpoints["five"], dtype=torch.float16).save_pretrained(half)
    assert {p.dtype for p in load(half).model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("headless", r"no trained classification head: it was saved as ResNetModel"),
        ("regression", r"a regression head \(1 output\)"),
        ("multi-label", r"a multi-label head"),
    ],
)
def test_a_head_without_class_probabilities_is_refused_but_features_serve(checkpoints, name, reason):
    classifier = load(checkpoints[name])
    assert set(classifier.missing) == {"probabilities"}
    assert re.search(reason, classifier.missing["probabilities"])
    assert classifier.head is not None


def test_a_head_of_another_width_than_the_configuration_says_is_refused(checkpoints, tmp_path):
    names = {str(i): f"class {i}" for i in range(9)}
    copy = edited(checkpoints["five"], tmp_path, id2label=names, label2id={v: int(k) for k, v in names.items()})
    reason = load(copy).missing["probabilities"]
    assert reason.startswith("no head for the 9 classes of its config.json")
    assert reason.endswith("another shape: classifier.1.bias, classifier.1.weight")


def test_missing_weights_of_the_backbone_refuse_everything(checkpoints, tmp_path):
    copy = without(checkpoints["five"], tmp_path, "resnet.encoder.stages.1")
    with pytest.raises(CandidateError, match=r"missing or misshapen weights of the backbone .*resnet.encoder"):
        load(copy)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated", r"model.safetensors is truncated or damaged"),
        ("pickled", r"the weights cannot be loaded"),
        ("text", r"another modality: transformers has no image classifier for model_type 'bert'"),
        ("empty", r"^its config.json names no model_type that transformers knows$"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line(checkpoints, name, message):
    with pytest.raises(CandidateError, match=message) as caught:
        load(checkpoints[name])
    assert "\n" not in str(caught.value)


def test_code_of_a_repository_is_neither_run_nor_asked_for(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path, model_type="mine", auto_map={"AutoConfig": "mine.MineConfig"})
    (copy / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(
        CandidateError, match=r"needs Python code .* \(trust_remote_code\), which hf_leep does not run"
    ):
        load(copy)
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_a_processor_is_refused(checkpoints, tmp_path):
    copy = tmp_path / "bare"
    shutil.copytree(checkpoints["five"], copy)
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(CandidateError, match="its image processor cannot be loaded"):
        load(copy)


def test_pictures_of_other_modes_are_converted(checkpoints):
    from PIL import Image

    colour = Image.new("RGB", (20, 20), (90, 90, 90))
    others = [Image.new("L", (20, 20), 90), Image.new("L", (20, 20), 90).convert("P"), colour.convert("RGBA")]
    see_through = others[1].copy()
    see_through.info["transparency"] = bytes(256)  # of each colour of the palette
    sixteen = Image.fromarray(np.full((20, 20), 90 * 257, np.uint16))
    others += [see_through, sixteen, colour.convert("CMYK"), colour.convert("LA")]
    batch = load(checkpoints["five"]).collate([{"image": image} for image in (colour, *others)])
    assert batch["pixel_values"].shape == (8, 3, 32, 32)
    for other in batch["pixel_values"][1:]:
        torch.testing.assert_close(other, batch["pixel_values"][0])


def test_loading_says_nothing_and_leaves_the_global_generator_alone(checkpoints, capfd):
    before = torch.random.get_rng_state()
    load(checkpoints["headless"])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("said", [{"model_type": "timm_wrapper"}, {"architecture": "resnet18", "pretrained_cfg": {}}])
def test_a_timm_checkpoint_says_what_to_install(tmp_path, said):
    from importlib.util import find_spec

    if find_spec("timm") and find_spec("torchvision"):
        pytest.skip("timm is here")
    (tmp_path / "config.json").write_text(json.dumps(said))
    for look in (lambda path: image.MODALITY.adapter.inspect(path, None), load):
        with pytest.raises(CandidateError, match=r'timm and torchvision: pip install "hf-leep\[timm\]"'):
            look(tmp_path)


def test_a_processor_that_keeps_the_shape_of_images_forms_batches_all_the_same(checkpoints, pictures, tmp_path):
    import numpy as np
    from PIL import Image
    from transformers import TextNetImageProcessorPil

    from tests.models.extracting import run_pass

    path = edited(checkpoints["five"], tmp_path)
    TextNetImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8).save_pretrained(path)
    sides = [(12, 12), (20, 12), (12, 20), (30, 12)]
    rows = [
        {"image": row["image"].resize(side, Image.Resampling.BILINEAR)}
        for row, side in zip(pictures, sides * 15, strict=True)
    ]
    classifier = load(path)
    assert not classifier.row_wise
    one, eight = (run_pass(classifier, rows[:8], np.arange(8) % 2, batch_size=size) for size in (1, 8))
    np.testing.assert_allclose(eight.probabilities, one.probabilities, rtol=0, atol=1e-6)
    np.testing.assert_allclose(eight.features, one.features, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "\nX requires the natten library but it was not found in your environment.",
            "it needs natten, not installed here",
        ),
        ("You need to install sacremoses to use X. See …", "it needs sacremoses, not installed here"),
        (
            "None could be imported. Missing optional dependencies: torchvision. Please",
            "it needs torchvision, not installed here",
        ),
        ("something\nelse", "something else"),
    ],
)
def test_of_a_missing_package_its_name_is_told(said, told):
    from hf_leep.models.classifier import describe

    assert describe(ImportError(said)) == told
