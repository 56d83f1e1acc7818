"""Zero-shot checkpoints: the head that the names of the classes make, against the whole model row by row."""

import json
import re
import shutil
import string

import datasets
import numpy as np
import pytest
import torch

import hf_leep
from hf_leep import api
from hf_leep.errors import CandidateError
from hf_leep.models import ADAPTERS, image
from tests.models.extracting import extract

ZERO_SHOT = "zero-shot-image-classification"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
PIXELS = {"image_size": 12, "patch_size": 4}


def clip_tokenizer():
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocabulary = {piece: i for i, piece in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=30)


def bert_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizer

    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    vocabulary = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters])}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizer(tokenizer_object=pieces, model_max_length=30)


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Small real two-tower models with random weights: name → folder."""
    import transformers as t
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    root = tmp_path_factory.mktemp("towers")
    wide = {**SMALL, "initializer_range": 0.5}
    clip_text = {**SMALL, "vocab_size": 54, "max_position_embeddings": 30, "bos_token_id": 0}
    clip_text |= {"eos_token_id": 1, "initializer_factor": 8.0}
    bert_text = {**wide, "vocab_size": 56, "max_position_embeddings": 30, "pad_token_id": 0}
    vision = {**SMALL, **PIXELS, "initializer_factor": 8.0}
    clip = t.CLIPConfig(text_config=clip_text, vision_config=vision, projection_dim=8, initializer_factor=8.0)
    made = {
        "clip": (t.CLIPModel, clip, clip_tokenizer()),
        "clip-classifier": (
            t.CLIPForImageClassification,
            t.CLIPConfig(text_config=clip_text, vision_config=vision, num_labels=4, initializer_factor=8.0),
            None,
        ),
        "chinese-clip": (
            t.ChineseCLIPModel,
            t.ChineseCLIPConfig(
                text_config=bert_text, vision_config=vision, projection_dim=16, initializer_factor=8.0
            ),
            bert_tokenizer(),
        ),
        "altclip": (
            t.AltCLIPModel,
            t.AltCLIPConfig(
                text_config={**bert_text, "max_position_embeddings": 40, "project_dim": 16},
                vision_config=vision,
                projection_dim=16,
                initializer_factor=8.0,
            ),
            bert_tokenizer(),
        ),
        "align": (
            t.AlignModel,
            t.AlignConfig(
                text_config=bert_text,
                vision_config={"image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 32},
                projection_dim=32,
                temperature_init_value=0.1,
            ),
            bert_tokenizer(),
        ),
        "siglip": (t.SiglipModel, t.SiglipConfig(text_config={**SMALL, "vocab_size": 54}, vision_config=vision), None),
    }
    for name, (make, config, tokenizer) in made.items():
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            model = make(config)
            if name == "siglip":
                torch.nn.init.normal_(model.logit_bias)
            if name == "align":  # its own weights are so small that nothing comes through
                for layer in model.modules():
                    if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                        torch.nn.init.kaiming_normal_(layer.weight)
            model.save_pretrained(root / name)
        side = 32 if name == "align" else 12
        size = {"height": side, "width": side}
        if name == "siglip":
            SiglipImageProcessorPil(size=size).save_pretrained(root / name)
        else:
            CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size).save_pretrained(root / name)
        if tokenizer is not None:
            tokenizer.save_pretrained(root / name)
    return {folder.name: folder for folder in root.iterdir()}


def load(path, names=("red", "green", "blue")):
    return image.MODALITY.adapter.load(path, ["image"], torch.float32, class_names=names)


def direct(path, pictures, names):
    """The whole model on one picture at a time beside all prompts: its probabilities and image embeddings."""
    from transformers import AutoImageProcessor, AutoModelForZeroShotImageClassification, AutoTokenizer

    model = AutoModelForZeroShotImageClassification.from_pretrained(path).eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    tokens = AutoTokenizer.from_pretrained(path)(
        [f"a photo of a {name}" for name in names], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        outputs = [model(**tokens, **processor(row["image"], return_tensors="pt")) for row in pictures]
    probabilities = torch.cat([o.logits_per_image.softmax(dim=-1) for o in outputs])
    return probabilities.numpy(), torch.cat([o.image_embeds for o in outputs]).numpy()


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("name", ["clip", "chinese-clip", "altclip", "align"])
def test_equals_the_whole_model_row_by_row_at_any_batch_size(towers, pictures, name, batch_size):
    result = extract(load(towers[name]), pictures, batch_size)
    probabilities, embeddings = direct(towers[name], pictures, ["red", "green", "blue"])
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-5)
    np.testing.assert_allclose(result.features, embeddings, atol=1e-5)
    assert np.std(probabilities, axis=0).max() > 1e-3
    assert np.std(probabilities, axis=1).max() > 1e-3
    assert result.missing == {}
    assert result.run.pooling is None
    assert result.candidate.task == ZERO_SHOT
    assert result.candidate.source_labels == ("red", "green", "blue")


def test_parameters_are_the_checkpoints_own_whatever_the_classes(towers, pictures):
    from transformers import CLIPModel

    own = sum(p.numel() for p in CLIPModel.from_pretrained(towers["clip"]).parameters())
    assert extract(load(towers["clip"]), pictures).candidate.num_parameters == own


def test_more_prompts_than_run_at_once_and_names_of_several_words(towers, pictures):
    letters = string.ascii_lowercase
    names = [f"{letters[k % 26]}_{letters[k // 26] * (1 + k % 9)}" for k in range(130)]
    classifier = load(towers["clip"], names)
    probabilities, _ = direct(towers["clip"], pictures, [name.replace("_", " ") for name in names])
    np.testing.assert_allclose(extract(classifier, pictures).probabilities, probabilities, atol=1e-5)
    assert classifier.source_labels == tuple(names)


def test_in_bfloat16_the_products_stay_exact(towers, pictures):
    result = extract(load(towers["clip"]), pictures, dtype=torch.bfloat16)
    head = load(towers["clip"]).head
    expected = head(torch.from_numpy(result.features)).softmax(dim=-1).numpy()
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)


def test_siglip_gives_features_and_says_why_no_probabilities(towers, pictures):
    from transformers import AutoImageProcessor, SiglipModel

    path = towers["siglip"]
    result = extract(load(path), pictures)
    model = SiglipModel.from_pretrained(path).eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    with torch.no_grad():
        found = [model.get_image_features(**processor(r["image"], return_tensors="pt")) for r in pictures]
    embeddings = torch.cat([f.pooler_output for f in found])
    expected = torch.nn.functional.normalize(embeddings, dim=-1)
    np.testing.assert_allclose(result.features, expected.numpy(), atol=1e-5)
    assert result.probabilities is None
    assert "trained with a sigmoid for each prompt" in result.missing["probabilities"]
    assert result.run.pooling == "image embedding"
    assert (result.candidate.task, result.candidate.source_labels) == (ZERO_SHOT, ())


def test_a_classifier_made_of_the_image_tower_is_a_classifier(towers, pictures):
    from transformers import AutoImageProcessor, CLIPForImageClassification

    path = towers["clip-classifier"]
    result = extract(load(path), pictures)
    model = CLIPForImageClassification.from_pretrained(path).eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    with torch.no_grad():
        rows = [model(**processor(r["image"], return_tensors="pt")).logits.softmax(-1) for r in pictures]
    np.testing.assert_allclose(result.probabilities, torch.cat(rows).numpy(), atol=1e-5)
    assert result.candidate.task == "image-classification"
    assert result.candidate.source_labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("0", "1", "2"), r"needs classes with names, and these are numbers or ids \('0', …\)"),
        (("LABEL_0", "LABEL_1", "class 2"), r"numbers or ids \('LABEL_0', …\)"),
        (("n02123045", "n02123159", "n02123394"), r"numbers or ids"),
        ((), r"needs the names of the classes, and there are none"),
    ],
)
def test_numbers_make_no_prompt(towers, pictures, names, reason):
    classifier = load(towers["clip"], names)
    assert set(classifier.missing) == {"probabilities"}
    assert re.search(reason, classifier.missing["probabilities"])
    _, embeddings = direct(towers["clip"], pictures, ["red"])
    np.testing.assert_allclose(extract(classifier, pictures).features, embeddings, atol=1e-5)


def test_some_numbers_among_names_are_names(towers):
    assert load(towers["clip"], ("seven", "8", "9")).missing == {}


def test_without_its_tokenizer_there_are_features_alone(towers, tmp_path):
    path = shutil.copytree(towers["clip"], tmp_path / "bare")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (path / file).unlink()
    assert load(path).missing == {"probabilities": "no tokenizer in the checkpoint"}


def test_missing_weights_are_refused(towers, tmp_path):
    from safetensors.torch import load_file, save_file

    path = shutil.copytree(towers["clip"], tmp_path / "torn")
    kept = {k: v for k, v in load_file(path / "model.safetensors").items() if "text_projection" not in k}
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CandidateError, match="missing or misshapen weights in the checkpoint: text_projection"):
        load(path)


def test_scores_that_no_such_head_gives_are_found_out(towers, pictures):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, CLIPProcessor

    class Another(CLIPModel):
        def forward(self, **inputs):
            outputs = super().forward(**inputs)
            outputs.logits_per_image = outputs.logits_per_image + outputs.logits_per_image**2
            return outputs

    path = towers["clip"]
    model = CLIPModel.from_pretrained(path)
    processor = CLIPProcessor(
        AutoImageProcessor.from_pretrained(path, backend="pil"), AutoTokenizer.from_pretrained(path)
    )
    model.forward = Another.forward.__get__(Another.from_pretrained(path))
    missing = image.MODALITY.adapter.wrap(model, processor, ["image"], ["red", "blue"]).missing
    assert "its scores are not scaled products of embeddings" in missing["probabilities"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_model_in_memory(towers, pictures, whole):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, CLIPProcessor

    path = towers["clip"]
    model, images = CLIPModel.from_pretrained(path).train(), AutoImageProcessor.from_pretrained(path, backend="pil")
    processor = CLIPProcessor(images, AutoTokenizer.from_pretrained(path)) if whole else images
    result = extract(image.MODALITY.adapter.wrap(model, processor, ["image"], ("red", "green", "blue")), pictures)
    probabilities, embeddings = direct(path, pictures, ["red", "green", "blue"])
    np.testing.assert_allclose(result.features, embeddings, atol=1e-5)
    assert model.training
    if whole:
        np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-5)
    else:
        assert result.missing["probabilities"].startswith("no tokenizer for the names of the classes")


def test_a_model_in_memory_is_told_the_names_by_rank(towers, pictures):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, CLIPProcessor

    path = towers["clip"]
    processor = CLIPProcessor(
        AutoImageProcessor.from_pretrained(path, backend="pil"), AutoTokenizer.from_pretrained(path)
    )
    named = ("mine", CLIPModel.from_pretrained(path), processor)
    report = hf_leep.rank([named, str(path)], pictures, execution=hf_leep.Execution(cache=False), progress=False)
    first, second = (c["scores"]["leep"]["value"] for c in report.candidates)
    assert first == pytest.approx(second, abs=1e-6)


def test_the_plan_knows_it_before_any_weight_moves(towers, checkpoints, pictures):
    names = [str(towers[name]) for name in ("clip", "siglip", "clip-classifier")]
    steps = hf_leep.plan(names, pictures, execution=hf_leep.Execution(cache=False), progress=False).steps
    assert [step.num_source_classes for step in steps] == [3, None, 4]
    assert [step.headless for step in steps] == [False, True, False]
    assert "trained with a sigmoid" in steps[1].reason
    numbered = pictures.cast_column("label", datasets.Value("int64"))
    (step,) = hf_leep.plan(names[:1], numbered, execution=hf_leep.Execution(cache=False), progress=False).steps
    assert "numbers or ids" in step.reason
    options = {"measures": ("logme",), "execution": hf_leep.Execution(cache=False), "progress": False}
    assert hf_leep.plan(names[:1], numbered, **options).steps[0].reason is None


def test_a_mixed_pool_is_ranked_and_the_reader_is_told(towers, checkpoints, pictures):
    names = [str(checkpoints["five"]), str(towers["clip"]), str(checkpoints["headless"])]
    report = hf_leep.rank(
        names, pictures, measures=("leep", "logme"), execution=hf_leep.Execution(cache=False), progress=False
    )
    found = {c["id"]: c for c in report.candidates}
    assert found[names[1]]["task"] == ZERO_SHOT
    assert found[names[1]]["num_source_classes"] == 3
    assert found[names[1]]["rank"] in (1, 2)
    assert any(note.startswith("zero-shot: its source classes are prompts") for note in found[names[1]]["notes"])
    assert not any(note.startswith("zero-shot: its source classes are prompts") for note in found[names[0]]["notes"])
    assert found[names[2]]["rank"] is None
    assert all(c["scores"]["logme"]["value"] is not None for c in found.values())
    probabilities, _ = direct(towers["clip"], pictures, ["red", "green", "blue"])
    expected = hf_leep.measures.leep(probabilities, np.array(pictures["label"]))
    assert found[names[1]]["scores"]["leep"]["value"] == pytest.approx(expected, abs=1e-5)


def renamed(pictures, *names):
    return pictures.cast_column("label", datasets.ClassLabel(names=list(names)))


def test_the_store_keeps_a_pass_for_each_set_of_names_and_others_share_one(
    towers, checkpoints, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(api.Store, "default_root", staticmethod(lambda: tmp_path / "store"))
    names = [str(towers["clip"]), str(checkpoints["five"]), str(towers["siglip"])]

    def entries():
        return len(list((tmp_path / "store" / "extractions").iterdir()))

    def rank(dataset):
        report = hf_leep.rank(names, dataset, measures=("leep", "logme"), progress=False)
        return [c["scores"]["leep"]["value"] for c in report.candidates]

    first = dict(zip("abc", rank(pictures), strict=True))
    assert entries() == 3
    again = hf_leep.rank(names, pictures, measures=("leep", "logme"), progress=False)
    assert all(c["run"]["from_store"] for c in again.candidates)
    assert entries() == 3
    assert hf_leep.plan(names, pictures, progress=False).steps[0].stored
    other = rank(renamed(pictures, "cat", "dog", "eel"))
    assert entries() == 4  # one more pass of the zero-shot candidate alone
    assert other != list(first.values())
    assert set(rank(pictures)) == set(first.values())
    assert entries() == 4
    numbered = hf_leep.rank(names[:1], renamed(pictures, "0", "1", "2"), measures=("logme",), progress=False)
    assert numbered.candidates[0]["rank"] == 1
    assert entries() == 5


def test_the_files_that_prompts_need_come_from_the_hub(towers, client, hub):
    path = towers["clip"]
    hub.add_folder("user/clip", path)
    code = (
        "from hf_leep import hub; folder = hub.fetch(hub.resolve('user/clip'));"
        "print(*sorted(file.name for file in folder.iterdir()))"
    )
    done = client(code=code)
    assert {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"} <= set(done.stdout.split()), done


def test_a_zero_shot_candidate_on_the_hub_is_ranked_and_found_again(towers, pictures, client, hub, tmp_path):
    hub.add_folder("user/clip", towers["clip"])
    pictures.to_parquet(tmp_path / "train.parquet")
    call = ("rank", "--dataset", tmp_path / "train.parquet", "--models", "user/clip", "--json")
    first = client(*call)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["candidates"][0]["num_source_classes"] == 3
    second = client(*call)
    assert json.loads(second.stdout)["candidates"][0]["run"]["from_store"]


def test_models_that_embed_no_image_alone_are_named(towers, tmp_path):
    path = shutil.copytree(towers["clip"], tmp_path / "joint")
    (path / "config.json").write_text(
        json.dumps({"model_type": "blip-2", "architectures": ["Blip2ForImageTextRetrieval"]})
    )
    for act in (load, lambda path: ADAPTERS["image"].inspect(path, None, ("red", "blue"))):
        with pytest.raises(CandidateError, match="'blip-2' cannot embed an image without a text"):
            act(path)


def test_zero_shot_audio_is_refused_by_its_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clap", "architectures": ["ClapModel"]}))
    with pytest.raises(CandidateError, match="zero-shot audio: transformers has no audio classifier for .* 'clap'"):
        ADAPTERS["audio"].load(tmp_path, ["audio"])
