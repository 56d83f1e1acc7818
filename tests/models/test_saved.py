"""Checkpoints as people save them: loaded as their author meant them, or refused with one clear line."""

import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from hf_leep import data, hub
from hf_leep.errors import CandidateError, TargetError
from hf_leep.models import ADAPTERS, MODALITIES, audio, backbone
from hf_leep.models.text import _tokens, max_length


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
    ({"model.gguf": b""}, r"only GGUF weights \(model.gguf\): quantised for llama.cpp"),
    ({"onnx/model.onnx": b"", "model.onnx": b""}, r"only ONNX weights"),
    ({"tf_model.h5": b""}, r"only TensorFlow weights \(tf_model.h5\)"),
    ({"flax_model.msgpack": b""}, r"only Flax weights"),
    ({"training_args.bin": b"", "optimizer.pt": b""}, r"training_args.bin without weights: .*trainer.save_model"),
    ({"vocab.txt": b""}, r"no weights: model.safetensors is missing"),
    ({"adapter_config.json": b"{}", "adapter_model.bin": b""}, r"an adapter without its model: merge it"),
    ({"adapter_config.json": b"{}", "model.safetensors": b""}, r"adapter_config.json lies beside full weights, .*merge"),
    ({"checkpoint-500/a": b"", "checkpoint-1000/a": b""}, r"the training checkpoint checkpoint-1000: give that folder"),
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


def test_a_text_far_beyond_the_limit_is_cut_before_it_is_tokenized(text_checkpoints):
    tokenizer = ADAPTERS["text"].load_processor(next(iter(text_checkpoints.values())))
    seen = []

    def counting(*columns, **options):
        seen.append(max(len(text) for column in columns for text in column))
        return tokenizer(*columns, **options)

    long, blank = "a b c d " * 20_000, " " * 50_000 + "a b"
    made, texts = _tokens(counting, [[long]], 32)
    assert made["input_ids"][0][:32] == tokenizer(long)["input_ids"][:32]
    assert seen == [64 * 32] == [len(texts[0][0])]
    made, texts = _tokens(counting, [[blank]], 32)
    assert made["input_ids"][0] == tokenizer(blank)["input_ids"]
    assert texts == [[blank]]


def test_the_shortest_sound_that_a_model_can_read():
    from types import SimpleNamespace

    usual = SimpleNamespace(conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2])
    assert audio._shortest(usual) == 400  # the 25 ms of wav2vec 2.0 at 16 kHz
    assert audio._shortest(SimpleNamespace()) == 0


def test_a_row_that_cannot_be_decoded_is_named_with_its_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(np.full((8, 8, 3), k, np.uint8)).save(tmp_path / "photos" / name / f"{k}.png")
    (tmp_path / "photos" / "b" / "1.png").write_bytes(b"no picture")
    _, rows = data.load(tmp_path / "photos", MODALITIES)
    with pytest.raises(TargetError, match=r"row 4 of the split \(1.png\) cannot be decoded: .*") as caught:
        rows[4]
    assert "BytesIO" not in str(caught.value)
    Image.new("1", (20_000, 10_000)).save(tmp_path / "photos" / "b" / "1.png")
    with pytest.raises(TargetError, match=r"row 4 of the split \(1.png\) cannot be decoded: Image size"):
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
    with pytest.raises(TargetError, match=r"row 1 of the split.*: images of mode F"):
        Loader(chosen).batch(classifier, [0, 1, 2])
