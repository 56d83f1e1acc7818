"""Checkpoints as people save them: loaded as their author meant them, or refused with one clear line."""

import json
import re
import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    ASTFeatureExtractor,
    AutoModelForSequenceClassification,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

from hf_leep import data, hub
from hf_leep.errors import CandidateError, TargetError
from hf_leep.models import ADAPTERS, MODALITIES, audio, backbone
from hf_leep.models.text import _cut, max_length


def pooled_as(checkpoint, tmp_path, content):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize(("content", "modes"), [
    ({"pooling_mode": "lasttoken", "embedding_dimension": 8}, ("last token",)),
    ({"pooling_mode": ["mean", "cls"]}, ("cls", "mean")),
    ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
    ({"pooling_mode_weightedmean_tokens": True}, ("mean weighted by position",)),
    ({"pooling_mode": "mean_sqrt_len_tokens"}, ("sum over square root of length",)),
    ({}, ("mean",)),
])  # fmt: skip
def test_pooling_is_read_in_both_formats_of_sentence_transformers(tmp_path, content, modes):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(content))
    assert backbone._sentence_modes(tmp_path) == modes


@pytest.mark.parametrize(
    "content", [{"pooling_mode": "attention"}, {"pooling_mode_other": True}, [1], {"pooling_mode": 3}]
)
def test_a_pooling_that_is_not_known_is_never_replaced_by_the_mean(tmp_path, content):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(content))
    with pytest.raises(CandidateError, match=r"1_Pooling/config.json"):
        backbone._sentence_modes(tmp_path)


def test_poolings_leave_padding_out(rng):
    hidden = torch.tensor(rng.normal(size=(1, 5, 3)))
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    three = hidden[0, :3]
    weights = torch.tensor([1.0, 2.0, 3.0])[:, None]
    expected = {
        "sum over square root of length": three.sum(0) / 3**0.5,
        "mean weighted by position": (three * weights).sum(0) / 6,
    }
    for mode, value in expected.items():
        torch.testing.assert_close(backbone._pool(hidden, mask, mode)[0], value)


@pytest.mark.parametrize(("files", "message"), [
    ({"model.gguf": b""}, r"only GGUF weights \(model.gguf\), which were quantised for llama.cpp"),
    ({"onnx/model.onnx": b"", "model.onnx": b""}, r"only ONNX weights"),
    ({"tf_model.h5": b""}, r"only TensorFlow weights \(tf_model.h5\)"),
    ({"flax_model.msgpack": b""}, r"only Flax weights"),
    ({"training_args.bin": b"", "optimizer.pt": b""}, r"training_args.bin without weights: .*trainer.save_model"),
    ({"vocab.txt": b""}, r"no weights: model.safetensors is missing"),
    ({"adapter_config.json": b"{}", "adapter_model.bin": b""}, r"an adapter without its model: merge it"),
    ({"adapter_config.json": b"{}", "model.safetensors": b""}, r"adapter_config.json lies beside full weights"),
    ({"checkpoint-500/a": b"", "checkpoint-1000/a": b""}, r"checkpoint checkpoint-1000: give that folder"),
    ({"adapter_config.json": b"{}", "adapter_model.safetensors": b""}, r"an adapter without its model: merge it"),
    ({"checkpoint-500/model.safetensors": b""}, r"it holds the training checkpoint checkpoint-500: give that folder"),
    ({"pytorch_model.bin": b""}, r"pickled weights only \(pytorch_model.bin\)"),
    ({"model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"}, r"Git LFS .* git lfs pull"),
])  # fmt: skip
def test_a_folder_without_weights_to_load_is_named_for_what_it_is(tmp_path, files, message):
    (tmp_path / "config.json").write_text("{}")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CandidateError, match=message):
        hub.resolve(str(tmp_path))


@pytest.mark.parametrize(("file", "message"), [
    ("model.Q4.gguf", r"no config.json in the folder: only GGUF weights \(model.Q4.gguf\)"),
    ("adapter_config.json", r"no config.json in the folder: an adapter without its model"),
    ("checkpoint-500/model.safetensors", r"no config.json in the folder: .*checkpoint-500: give that folder"),
    ("pytorch_model.bin", r"no config.json in the folder: pickled weights only"),
    ("notes.txt", r"no config.json in the folder \(it holds notes.txt\)"),
])  # fmt: skip
def test_a_folder_without_a_configuration_is_named_for_what_it_is(tmp_path, file, message):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(CandidateError, match=message):
        hub.resolve(str(tmp_path))


def test_a_special_token_that_stands_in_a_text_is_text(text_checkpoints):
    path = next(iter(text_checkpoints.values()))
    loaded = ADAPTERS["text"].load(path, ["text"], torch.float32)
    tokenizer = ADAPTERS["text"].load_processor(path)
    special = tokenizer.sep_token or tokenizer.eos_token or tokenizer.all_special_tokens[0]
    plain, written = (loaded.collate([{"text": text}])["input_ids"][0].tolist() for text in ("a b", f"a {special} b"))
    number = tokenizer.convert_tokens_to_ids(special)
    assert written.count(number) == plain.count(number)


@pytest.mark.parametrize("stated", [-1, "many", "512", 10**31, 1e30])
def test_limits_of_tokenizers_that_are_none(stated):
    from types import SimpleNamespace

    text = SimpleNamespace(max_position_embeddings=64, model_type="bert", pad_token_id=0)
    config = SimpleNamespace(get_text_config=lambda: text)
    assert max_length(SimpleNamespace(model_max_length=stated), config) == 64


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_far_beyond_the_limit_is_cut_with_the_same_tokens(text_checkpoints, side):
    tokenizer = ADAPTERS["text"].load_processor(next(iter(text_checkpoints.values())))
    tokenizer.truncation_side = side
    gaps = "a b" + " " * 10_000 + "c d " * 30_000  # few tokens within the first cut
    for text in ("a b c d " * 20_000, gaps, gaps[::-1]):
        part = _cut(tokenizer, text, 32)
        assert len(part) < len(text) / 2
        tokens, expected = (tokenizer(t, truncation=True, max_length=32)["input_ids"] for t in (part, text))
        assert tokens == expected
    for text in ("a b c", " " * 50_000 + "a b"):  # fewer tokens than the limit
        assert _cut(tokenizer, text, 32) == text


def test_a_limit_written_as_text_is_a_number(text_checkpoints, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(text_checkpoints["bert"], copy)
    options = json.loads((copy / "tokenizer_config.json").read_text())
    lengths = []
    for stated in ("12", -1, "none"):
        (copy / "tokenizer_config.json").write_text(json.dumps({**options, "model_max_length": stated}))
        loaded = ADAPTERS["text"].load(copy, ["text"], torch.float32)
        lengths.append(loaded.collate([{"text": "a b c d " * 300}])["input_ids"].shape[1])
    table = json.loads((copy / "config.json").read_text())["max_position_embeddings"]
    assert lengths == [12, table, table]


def test_an_empty_text_is_an_unknown_token(text_checkpoints):
    model = AutoModelForSequenceClassification.from_pretrained(text_checkpoints["gpt2"]).eval()
    tokenizer = ADAPTERS["text"].load_processor(text_checkpoints["gpt2"])
    tokenizer.backend_tokenizer.post_processor = None  # adds no tokens, as GPT-2's own
    bare = ADAPTERS["text"].wrap(model, tokenizer, ["text"])
    assert tokenizer("")["input_ids"] == []
    alone = bare.collate([{"text": ""}])
    assert alone["input_ids"][0][: alone["attention_mask"][0].sum()].tolist() == [tokenizer.unk_token_id]
    batch = bare.collate([{"text": ""}, {"text": "a b c d"}])
    expected, logits = (
        bare.model(**{k: v for k, v in b.items() if k != "num_truncated"}).logits for b in (alone, batch)
    )
    torch.testing.assert_close(logits[:1], expected)


def test_tokens_without_an_embedding_are_one_line(text_checkpoints):
    model = AutoModelForSequenceClassification.from_pretrained(text_checkpoints["bert"])
    tokenizer = ADAPTERS["text"].load_processor(text_checkpoints["bert"])
    size = model.config.vocab_size
    tokenizer.add_tokens([f"new{k}" for k in range(size)])
    loaded = ADAPTERS["text"].wrap(model, tokenizer, ["text"])
    with pytest.raises(CandidateError, match=rf"makes token \d+, and its embedding table has {size} rows"):
        loaded.collate([{"text": f"new{size - 1}"}])


def test_a_padding_token_without_an_embedding_is_not_used(text_checkpoints):
    model = AutoModelForSequenceClassification.from_pretrained(text_checkpoints["gpt2"])
    tokenizer = ADAPTERS["text"].load_processor(text_checkpoints["gpt2"])
    rows = [{"text": "a"}, {"text": "a b c d"}]
    size = model.config.vocab_size
    tokenizer.add_tokens([f"new{k}" for k in range(size - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})
    model.config.pad_token_id = tokenizer.pad_token_id
    assert tokenizer.pad_token_id == size
    ids = ADAPTERS["text"].wrap(model, tokenizer, ["text"]).collate(rows)["input_ids"]
    assert int(ids.max()) < size


def test_the_shortest_sound_that_a_model_can_read():
    from types import SimpleNamespace

    usual = SimpleNamespace(conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2])
    assert audio._shortest(usual) == 400  # the 25 ms of wav2vec 2.0 at 16 kHz
    usual.squeeze_factor = 2
    assert audio._shortest(usual) == 720
    assert audio._shortest(SimpleNamespace()) == 0


def test_the_shortest_sound_of_which_a_spectrum_is_made():
    for extractor, stacked in ((ASTFeatureExtractor(num_mel_bins=32), 1), (SeamlessM4TFeatureExtractor(), 2)):
        shortest = audio._shortest_spectrum(extractor)
        made = extractor([np.ones(shortest, np.float32)], sampling_rate=16_000, return_tensors="pt")
        assert all(bool(value.isfinite().all()) for value in made.values())
        assert shortest == 400 + 160 * (stacked - 1)
        with pytest.raises(ValueError, match="negative dimensions"):
            extractor([np.ones(40, np.float32)], sampling_rate=16_000, return_tensors="pt")
    assert audio._shortest_spectrum(Wav2Vec2FeatureExtractor()) == 0


def test_a_row_that_cannot_be_decoded_is_named_with_its_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(np.full((8, 8, 3), k, np.uint8)).save(tmp_path / "photos" / name / f"{k}.png")
    (tmp_path / "photos" / "b" / "1.png").write_bytes(b"no picture")
    _, rows = data.load(tmp_path / "photos", MODALITIES)
    with pytest.raises(TargetError, match=r"row 4 of the split \(1.png\) cannot be decoded \(.*") as caught:
        rows[4]
    assert "BytesIO" not in str(caught.value)
    for content, said in (
        (b"", "1.png is empty"),
        (b"version https://git-lfs.github.com/spec/v1", "1.png is a Git LFS"),
    ):
        (tmp_path / "photos" / "b" / "1.png").write_bytes(content)
        with pytest.raises(TargetError, match=rf"1 of 6 rows cannot be read \(row 4 of the split – {said}"):
            data.load(tmp_path / "photos", MODALITIES)
    Image.new("1", (20_000, 10_000)).save(tmp_path / "photos" / "b" / "1.png")
    with pytest.raises(TargetError, match=r"row 4 of the split \(1.png\) cannot be decoded \(it has"):
        rows[4]


def test_a_row_that_is_no_input_for_any_model_is_named(checkpoints):
    from hf_leep.inference.loader import Loader

    pictures = [Image.new("RGB", (8, 8)), Image.new("F", (8, 8)), Image.new("RGB", (8, 8), 9)]
    rows = datasets.Dataset.from_dict(
        {"image": pictures, "label": [0, 1, 0]},
        features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")}),
    )
    _, chosen = data.load(rows, MODALITIES)
    classifier = ADAPTERS["image"].load(checkpoints["five"], ["image"], torch.float32)
    with pytest.raises(TargetError, match=r"row 1 of the split.* – images of mode F"):
        Loader(chosen).batch(classifier, [0, 1, 2])


@pytest.mark.parametrize(("names", "message"), [
    (["a", "b"], r"id2label in its config.json must hold a name for each number .* holds \['a', 'b'\]"),
    ({"a": "0"}, r"id2label in its config.json must hold a name for each number"),
    ({"0": "a", "1": "b"}, r"no head for the 2 classes of its config.json .*, since its weights have another shape"),
])  # fmt: skip
def test_names_of_classes_that_do_not_fit_the_head_are_one_line(text_checkpoints, tmp_path, names, message):
    copy = tmp_path / "copy"
    shutil.copytree(text_checkpoints["bert"], copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "id2label": names}))
    if isinstance(names, dict) and "0" in names:
        assert re.match(message, ADAPTERS["text"].load(copy, ["text"], torch.float32).missing["probabilities"])
        return
    with pytest.raises(CandidateError, match=message):
        ADAPTERS["text"].load(copy, ["text"], torch.float32)


def test_weights_with_a_prefix_say_so(text_checkpoints, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(text_checkpoints["bert"], copy)
    weights = load_file(copy / "model.safetensors")
    renamed = {f"module.{name}": weight for name, weight in weights.items()}
    save_file(renamed, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CandidateError, match=r"missing or misshapen weights of the backbone .* it has them as module.bert.* 'mod"
    ):
        ADAPTERS["text"].load(copy, ["text"], torch.float32)


@pytest.mark.parametrize(("file", "kind"), [("onnx/model.onnx", "ONNX"), ("openvino_model.xml", "OpenVINO")])
def test_exported_weights_are_named(text_checkpoints, tmp_path, file, kind):
    copy = tmp_path / "copy"
    shutil.copytree(text_checkpoints["bert"], copy)
    (copy / "model.safetensors").unlink()
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_bytes(b"x")
    with pytest.raises(CandidateError, match=rf"only {kind} weights \(.*\), which were exported for another runtime"):
        hub.resolve(str(copy), hub.Client())
