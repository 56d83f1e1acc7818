"""Checkpoints without a head: their features against transformers' own feature-extraction pipeline."""

import json
import shutil

import numpy as np
import pytest
import torch

import hf_leep
from hf_leep.errors import CandidateError
from hf_leep.models import image, text
from tests.models.extracting import extract


def of_texts(path, texts):
    return extract(text.MODALITY.adapter.load(path, ["text"], torch.float32), texts)


def hidden_states(path, texts):
    """One text at a time, so nothing is padding: the last hidden state of each, ``[tokens, d]``."""
    from transformers import AutoModel, AutoTokenizer, pipeline

    model, tokenizer = AutoModel.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    run = pipeline("feature-extraction", model=model, tokenizer=tokenizer)
    cut = {"truncation": True, "max_length": 12}
    return [np.asarray(run(row["text"], tokenize_kwargs=cut)[0]) for row in texts]


@pytest.fixture(scope="module")
def encoders(text_checkpoints, tmp_path_factory):
    """Encoders and decoders saved without a classification head: name → folder."""
    from transformers import (
        BertForMaskedLM,
        DistilBertConfig,
        DistilBertForMaskedLM,
        GPT2LMHeadModel,
        T5Config,
        T5EncoderModel,
        T5ForConditionalGeneration,
    )

    root = tmp_path_factory.mktemp("encoders")
    distil = DistilBertConfig(vocab_size=14, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=12)
    t5 = T5Config(vocab_size=14, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0)

    def save(name, make, config, tokenizer="bert"):
        shutil.copytree(text_checkpoints[tokenizer], root / name)
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(config).save_pretrained(root / name)

    def config_of(name):
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(text_checkpoints[name])

    save("masked", BertForMaskedLM, config_of("bert"))
    save("distilled", DistilBertForMaskedLM, distil)
    save("decoder", GPT2LMHeadModel, config_of("gpt2"), "gpt2")
    save("t5", T5ForConditionalGeneration, t5)
    save("t5-encoder", T5EncoderModel, t5)
    return {folder.name: folder for folder in root.iterdir()}


@pytest.mark.parametrize("name", ["masked", "distilled"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_masked_language_model_gives_the_mean_of_its_tokens(encoders, texts, name, batch_size):
    result = extract(text.MODALITY.adapter.load(encoders[name], ["text"], torch.float32), texts, batch_size)
    expected = np.stack([states.mean(axis=0) for states in hidden_states(encoders[name], texts)])
    np.testing.assert_allclose(result.features, expected, atol=1e-5)
    assert result.run.pooling == "mean"
    assert result.probabilities is None
    assert "no trained classification head: it was saved as" in result.missing["probabilities"]


def test_a_pooler_of_the_checkpoints_own_is_used(text_checkpoints, texts):
    from transformers import AutoModel, AutoTokenizer

    path = text_checkpoints["headless"]
    model, tokenizer = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    result = of_texts(path, texts)
    with torch.no_grad():
        own = [model(**tokenizer(row["text"], return_tensors="pt")).pooler_output[0].numpy() for row in texts]
    np.testing.assert_allclose(result.features, np.stack(own), atol=1e-5)
    assert result.run.pooling == "pooler_output"


@pytest.mark.parametrize(
    ("said", "pooling", "pool"),
    [
        ({"pooling_mode_cls_token": True}, "cls", lambda states: states[0]),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max", lambda s: s.max(axis=0)),
        ({"pooling_mode_mean_tokens": True}, "mean", lambda s: s.mean(axis=0)),
        ({"pooling_mode_lasttoken": True}, "last token", lambda states: states[-1]),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "cls+mean",
            lambda states: np.concatenate([states[0], states.mean(axis=0)]),
        ),
    ],
)
def test_what_sentence_transformers_says_of_the_pooling_holds(text_checkpoints, texts, tmp_path, said, pooling, pool):
    path = shutil.copytree(text_checkpoints["headless"], tmp_path / "sentences")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **said}))
    result = of_texts(path, texts)
    np.testing.assert_allclose(result.features, [pool(s) for s in hidden_states(path, texts)], atol=1e-5)
    assert result.run.pooling == pooling


def test_the_pooling_comes_from_the_hub_and_counts_as_part_of_the_checkpoint(text_checkpoints, tmp_path, client, hub):
    from hf_leep.hub import resolve

    path = shutil.copytree(text_checkpoints["headless"], tmp_path / "sentences")
    before = resolve(str(path)).candidate.revision
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert resolve(str(path)).candidate.revision != before
    hub.add("user/sentences", {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*.*")})
    code = (
        "from hf_leep import hub; folder = hub.fetch(hub.resolve('user/sentences'));"
        "print(*sorted(str(file.relative_to(folder)) for file in folder.rglob('*.json')))"
    )
    done = client(code=code)
    assert done.stdout.split()[:2] == ["1_Pooling/config.json", "config.json"], done.stderr


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_decoder_gives_its_last_token(encoders, texts, batch_size):
    result = extract(text.MODALITY.adapter.load(encoders["decoder"], ["text"], torch.float32), texts, batch_size)
    expected = [states[-1] for states in hidden_states(encoders["decoder"], texts)]
    np.testing.assert_allclose(result.features, expected, atol=1e-5)
    assert result.run.pooling == "last token"


@pytest.mark.parametrize("name", ["t5", "t5-encoder"])
def test_of_an_encoder_and_decoder_the_encoder_serves(encoders, texts, name):
    from transformers import AutoTokenizer, T5EncoderModel

    path = encoders[name]
    model, tokenizer = T5EncoderModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        expected = [
            model(**tokenizer(row["text"], return_tensors="pt", return_token_type_ids=False))
            .last_hidden_state[0]
            .mean(dim=0)
            .numpy()
            for row in texts
        ]
    np.testing.assert_allclose(of_texts(path, texts).features, expected, atol=1e-5)


def test_missing_weights_of_an_encoder_are_refused(encoders, tmp_path):
    from safetensors.torch import load_file, save_file

    path = shutil.copytree(encoders["masked"], tmp_path / "torn")
    kept = {k: v for k, v in load_file(path / "model.safetensors").items() if "layer.1.output" not in k}
    save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CandidateError, match=r"missing or misshapen weights of the backbone .*layer.1.output"):
        text.MODALITY.adapter.load(path, ["text"], torch.float32)


def test_the_features_rank_and_leep_says_why_not(encoders, texts):
    report = hf_leep.rank([str(encoders["masked"])], texts, input="text", measures=("logme", "leep"), progress=False)
    (masked,) = report.candidates
    assert masked["rank"] == 1
    assert masked["run"]["pooling"] == "mean"
    assert masked["scores"]["leep"]["value"] is None
    assert "it was saved as BertForMaskedLM" in masked["scores"]["leep"]["reason"]


@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForMaskedLM"])
def test_a_model_in_memory_without_a_head(encoders, texts, kind):
    import transformers

    path = encoders["distilled"]
    model = getattr(transformers, kind).from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    result = extract(text.MODALITY.adapter.wrap(model, tokenizer, ["text"]), texts)
    np.testing.assert_allclose(result.features, of_texts(path, texts).features, atol=1e-5)
    assert result.missing == {"probabilities": "no trained classification head: the model has none"}


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """Image encoders saved without a classification head, and a classifier with two: name → folder."""
    from transformers import (
        DeiTConfig,
        DeiTForImageClassificationWithTeacher,
        ViTConfig,
        ViTForMaskedImageModeling,
        ViTModel,
    )
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    root = tmp_path_factory.mktemp("vision")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {"image_size": 8, "patch_size": 4, "encoder_stride": 4}
    for name, make, config in (
        ("pooler", ViTModel, ViTConfig(**small)),
        ("patches", ViTForMaskedImageModeling, ViTConfig(**small)),
        ("two-heads", DeiTForImageClassificationWithTeacher, DeiTConfig(num_labels=3, **small)),
    ):
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(config).save_pretrained(root / name)
        ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(root / name)
    return {folder.name: folder for folder in root.iterdir()}


@pytest.mark.parametrize(("name", "pooling"), [("pooler", "pooler_output"), ("patches", "mean")])
def test_an_image_encoder_gives_its_pooled_output(vision, pictures, name, pooling):
    from transformers import AutoImageProcessor, AutoModel

    path = vision[name]
    result = extract(image.MODALITY.adapter.load(path, ["image"], torch.float32), pictures, 16)
    model, processor = AutoModel.from_pretrained(path).eval(), AutoImageProcessor.from_pretrained(path, backend="pil")
    with torch.no_grad():
        outputs = [model(**processor(row["image"], return_tensors="pt")) for row in pictures]
    expected = [o.pooler_output[0] if name == "pooler" else o.last_hidden_state[0].mean(dim=0) for o in outputs]
    np.testing.assert_allclose(result.features, np.stack([e.numpy() for e in expected]), atol=1e-5)
    assert result.run.pooling == pooling


def test_an_image_classifier_without_its_head_in_memory(checkpoints, pictures):
    from transformers import AutoImageProcessor, AutoModel

    path = checkpoints["headless"]
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    result = extract(image.MODALITY.adapter.wrap(AutoModel.from_pretrained(path), processor, ["image"]), pictures)
    loaded = extract(image.MODALITY.adapter.load(path, ["image"], torch.float32), pictures)
    np.testing.assert_allclose(result.features, loaded.features, atol=1e-6)


def test_two_heads_whose_outputs_are_averaged_give_no_features(vision, pictures):
    result = extract(image.MODALITY.adapter.load(vision["two-heads"], ["image"], torch.float32), pictures)
    assert result.probabilities.shape == (60, 3)
    assert result.missing == {
        "features": "no single linear head whose input could be recorded: it has none, or several"
    }
