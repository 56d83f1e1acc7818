"""Loading and running sequence classifiers."""

import numpy as np
import pytest
import torch

import hf_leep
from hf_leep import data
from hf_leep.errors import CandidateError
from hf_leep.models import MODALITIES, text, token
from tests.models import extracting


def extract(path, texts, columns=("text",), batch_size=8):
    return extracting.extract(text.MODALITY.adapter.load(path, columns, torch.float32), texts, batch_size, columns)


def direct(path, texts, columns=("text",)):
    """One text at a time, without padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        rows = [
            tokenizer(*(row[c] for c in columns), truncation=True, max_length=12, return_tensors="pt") for row in texts
        ]
        return torch.cat([model(**row).logits.softmax(-1) for row in rows]).numpy()


@pytest.mark.parametrize("batch_size", [1, 8, 40])
@pytest.mark.parametrize("columns", [("text",), ("text", "second")])
def test_equals_a_direct_loop_at_any_batch_size(text_checkpoints, texts, columns, batch_size):
    result = extract(text_checkpoints["bert"], texts, columns, batch_size)
    np.testing.assert_allclose(result.probabilities, direct(text_checkpoints["bert"], texts, columns), atol=1e-5)
    assert result.features.shape == (40, 16)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_decoder_without_a_padding_token_forms_batches_all_the_same(text_checkpoints, texts, batch_size):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = text_checkpoints["gpt2"]
    result = extract(path, texts, batch_size=batch_size)
    np.testing.assert_allclose(result.probabilities, direct(path, texts), atol=1e-5)
    backbone = AutoModelForSequenceClassification.from_pretrained(path).eval().transformer
    tokenizer = AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        states = [backbone(**tokenizer(row["text"], return_tensors="pt")).last_hidden_state[0] for row in texts]
    np.testing.assert_allclose(result.features, torch.stack([s[-1] for s in states]).numpy(), atol=1e-5)
    assert result.missing == {}
    assert result.run.pooling is None


def test_truncation_is_counted_and_reported(text_checkpoints, texts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(text_checkpoints["bert"])
    long = sum(len(tokenizer(row["text"], row["second"])["input_ids"]) > 12 for row in texts)
    assert 0 < long < 40
    result = extract(text_checkpoints["bert"], texts, ("text", "second"))
    assert (result.run.num_truncated, result.run.max_length) == (long, 12)
    report = hf_leep.rank([str(text_checkpoints["bert"])], texts, input="text,second", progress=False)
    assert report.candidates[0]["scores"]["leep"]["warnings"][-1] == (
        f"{long} of 40 texts are longer than 12 tokens and were truncated"
    )
    assert report.data["target"]["input_columns"] == ["text", "second"]
    assert report.data["target"]["modality"] == "text"


def test_headless_checkpoints_give_features_alone(text_checkpoints, texts):
    result = extract(text_checkpoints["headless"], texts)
    assert "no trained classification head" in result.missing["probabilities"]
    assert result.features.shape == (40, 16)


def test_what_cannot_be_loaded_is_one_clear_line(checkpoints, text_checkpoints, tmp_path):
    import shutil

    with pytest.raises(CandidateError, match="no sequence classifier for model_type 'resnet'"):
        text.MODALITY.adapter.load(checkpoints["five"], ["text"], torch.float32)
    copy = tmp_path / "no tokenizer"
    shutil.copytree(text_checkpoints["bert"], copy)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    with pytest.raises(CandidateError, match="no tokenizer in the checkpoint") as caught:
        text.MODALITY.adapter.load(copy, ["text"], torch.float32)
    assert "\n" not in str(caught.value)


def test_running_says_nothing(text_checkpoints, texts, capfd):
    extract(text_checkpoints["bert"], texts, ("text", "second"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": "x", "title": "y"}, ("text",)),
        ({"premise": "x", "hypothesis": "y", "source": "z"}, ("premise", "hypothesis")),
        ({"question": "x", "sentence": "y"}, ("question", "sentence")),
        ({"review": "x"}, ("review",)),
    ],
)
def test_text_columns_are_inferred_where_it_is_clear(columns, expected):
    import datasets

    rows = {name: [f"{value} {k}" for k in range(4)] for name, value in columns.items()}
    target, _ = data.load(datasets.Dataset.from_dict({**rows, "label": [0, 1, 0, 1]}), MODALITIES)
    assert target.input_columns == expected


def test_a_checkpoint_for_zero_shot_by_inference_is_a_classifier_of_its_three_classes(
    text_checkpoints, texts, tmp_path
):
    import shutil

    from transformers import BartConfig, BartForSequenceClassification

    names = ["contradiction", "neutral", "entailment"]
    config = BartConfig(
        vocab_size=14, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=12, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, init_std=0.5, id2label=dict(enumerate(names)),
        label2id={name: k for k, name in enumerate(names)},
    )  # fmt: skip
    path = shutil.copytree(text_checkpoints["bert"], tmp_path / "nli")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BartForSequenceClassification(config).save_pretrained(path)
    result = extract(path, texts)
    np.testing.assert_allclose(result.probabilities, direct(path, texts), atol=1e-5)
    assert result.candidate.source_labels == ("contradiction", "neutral", "entailment")
    assert result.candidate.task == "text-classification"


@pytest.fixture
def remade(text_checkpoints, tmp_path):
    """Save a model of any class with the tokenizer of a checkpoint, some of whose settings are changed."""
    from transformers import AutoTokenizer

    def make(model_class, config, tokenizer="bert", **changes):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model_class(config).save_pretrained(tmp_path / "made")
        AutoTokenizer.from_pretrained(text_checkpoints[tokenizer], **changes).save_pretrained(tmp_path / "made")
        return tmp_path / "made"

    return make


def test_a_model_without_an_attention_mask_does_not_see_padding(remade, texts):
    from transformers import FNetConfig, FNetForSequenceClassification

    small = FNetConfig(
        vocab_size=14,
        hidden_size=16,
        num_hidden_layers=1,
        intermediate_size=16,
        max_position_embeddings=12,
        num_labels=3,
        initializer_range=0.5,
    )
    inputs = ["input_ids", "token_type_ids"]
    path = remade(FNetForSequenceClassification, small, model_input_names=inputs)
    result = extract(path, texts)
    np.testing.assert_allclose(result.probabilities, direct(path, texts), atol=1e-5)
    assert result.features.shape == (40, 16)


def test_a_tokenizer_without_any_token_to_fill_up_with(text_checkpoints, texts, tmp_path):
    import shutil

    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    path = tmp_path / "gpt"
    shutil.copytree(text_checkpoints["gpt2"], path)
    words = AutoTokenizer.from_pretrained(path).backend_tokenizer
    words.post_processor = None
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(path)
    one, eight = extract(path, texts, batch_size=1), extract(path, texts, batch_size=8)
    np.testing.assert_allclose(eight.probabilities, one.probabilities, atol=1e-5)
    np.testing.assert_allclose(eight.features, one.features, atol=1e-5)
    np.testing.assert_allclose(eight.probabilities, direct(path, texts), atol=1e-5)


def test_a_padding_token_that_the_tokenizer_does_not_know_is_replaced(text_checkpoints, texts, tmp_path):
    import json
    import shutil

    path = tmp_path / "gpt"
    shutil.copytree(text_checkpoints["gpt2"], path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "pad_token_id": 99}))
    result = extract(path, texts)
    np.testing.assert_allclose(
        result.probabilities, extract(text_checkpoints["gpt2"], texts).probabilities, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("positions", [16, 64])  # 16 do for these texts, not for those that a model is tried on
def test_a_tokenizer_of_characters_needs_no_vocabulary(texts, tmp_path, positions):
    from transformers import CanineConfig, CanineForSequenceClassification, CanineTokenizer

    small = CanineConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_hash_buckets=positions,
        num_labels=3,
        initializer_range=0.5,  # what fills a text up is seen through the blocks of four letters
    )
    CanineForSequenceClassification(small).save_pretrained(tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    one, eight = extract(tmp_path, texts, batch_size=1), extract(tmp_path, texts, batch_size=8)  # some of one letter
    assert one.probabilities.std(axis=0).max() > 0.01
    np.testing.assert_allclose(eight.probabilities, one.probabilities, atol=1e-5)
    assert one.missing == {}


def test_a_head_whose_outputs_are_averaged_gets_the_mean_of_its_inputs(remade, texts):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, EuroBertConfig
    from transformers import EuroBertForSequenceClassification as Model

    small = EuroBertConfig(
        vocab_size=14,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        num_labels=3,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        mask_token_id=1,
        classifier_pooling="late",
    )
    path = remade(Model, small, model_input_names=["input_ids", "attention_mask"])
    result = extract(path, texts)
    assert result.missing == {}
    head = AutoModelForSequenceClassification.from_pretrained(path).eval().classifier
    assert len(AutoTokenizer.from_pretrained(path)) == 14
    with torch.no_grad():
        again = head(torch.from_numpy(result.features)).softmax(-1).numpy()
    np.testing.assert_allclose(again, result.probabilities, atol=1e-5)


def test_outputs_that_are_the_same_for_every_text_are_refused(text_checkpoints, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    path = tmp_path / "deaf"
    shutil.copytree(text_checkpoints["bert"], path)
    weights = load_file(path / "model.safetensors")
    weights["classifier.weight"].zero_()
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CandidateError, match="its outputs are the same for two different texts"):
        text.MODALITY.adapter.load(path, ["text"])


@pytest.mark.parametrize(
    ("attribute", "before", "after"), [("attention_type", "block_sparse", "original_full"), ("hash_seed", None, 0)]
)
@pytest.mark.parametrize("adapter", [text.MODALITY.adapter, token.MODALITY.adapter], ids=["text", "token"])
def test_what_changes_between_passes_is_settled(adapter, attribute, before, after):
    from types import SimpleNamespace

    tokenizer = SimpleNamespace(pad_token="[PAD]", pad_token_id=0)
    config = SimpleNamespace(pad_token_id=0, **{attribute: before})
    config.get_text_config = lambda: config
    adapter.adjust(tokenizer, config)
    assert getattr(config, attribute) == after
