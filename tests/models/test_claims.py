"""What configurations claim is checked before anything is built for them."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from hf_leep import hub
from hf_leep.errors import CandidateError
from hf_leep.models import audio, claims, classifier, image


def edited(path, tmp_path, file="config.json", **changes):
    """A copy of a checkpoint with one of its files changed; a value of None takes a key out."""
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    content = {**json.loads((copy / file).read_text()), **changes}
    (copy / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return copy


def inspect(path):
    return image.MODALITY.adapter.inspect(path, claims.shapes_in(path))


def load(path):
    return image.MODALITY.adapter.load(path, ["image"], torch.float32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_channels": 10**7}, "claims num_channels = 10,000,000; hf_leep accepts up to 4,096 channels"),
        ({"num_labels": 10**9, "id2label": None, "label2id": None}, "claims num_labels = 1,000,000,000"),
        ({"depths": [1, 10**8]}, "claims depths = 100,000,000; hf_leep accepts up to 10,000 layers"),
        ({"vision_config": {"image_size": 10**6}}, "claims image_size = 1,000,000"),
        ({"backbone": "someone/else"}, "names another repository"),
        ({"hidden_sizes": [8, 10**8]}, "asks for a model of"),
    ],
)
def test_what_a_configuration_claims_is_bounded_before_it_costs_anything(checkpoints, tmp_path, changes, reason):
    copy = edited(checkpoints["five"], tmp_path, **changes)
    for judge in (inspect, load):
        with pytest.raises(CandidateError, match=reason):
            judge(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("depths", "auto"),
        ("architectures", [{"a": 1}]),
        ("architectures", {"a": 1}),
        ("hidden_act", ["relu"]),
        ("num_channels", {}),
        ("dtype", [[]]),
        ("id2label", [1]),
        ("id2label", "many"),
        ("problem_type", 7),
        ("hidden_sizes", None),
        ("layer_type", {"": []}),
        ("embedding_size", -1),
        ("attn_implementation", {"": {"": 1}}),
    ],
)
def test_a_value_of_another_type_costs_its_candidate_alone(checkpoints, tmp_path, key, value):
    copy = edited(checkpoints["five"], tmp_path, **{key: value})
    for judge in (inspect, load):
        with contextlib.suppress(CandidateError):
            judge(copy)


def test_a_processor_may_not_ask_for_endless_images(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path, "preprocessor_config.json", size={"shortest_edge": 10**6})
    with pytest.raises(CandidateError, match=r"preprocessor_config.json claims shortest_edge = 1,000,000"):
        inspect(copy)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 10**5, "not valid JSON"),
        ("[]", "holds list, not a JSON object"),
        ("{" + '"a":{' * 60 + "}" * 61, "levels deep"),
    ],
)
def test_a_configuration_that_is_no_object(checkpoints, tmp_path, content, reason):
    copy = edited(checkpoints["five"], tmp_path)
    (copy / "config.json").write_text(content)
    with pytest.raises(CandidateError, match=reason):
        inspect(copy)


def test_no_configuration_chooses_an_attention_kernel(checkpoints, tmp_path):
    plain = classifier.read_config(checkpoints["five"])
    named = classifier.read_config(
        edited(checkpoints["five"], tmp_path, attn_implementation="someone/kernel", _attn_implementation="a/b")
    )
    assert plain._attn_implementation is None
    assert named._attn_implementation is None


def test_honest_checkpoints_are_within_the_limits(checkpoints):
    for path in (checkpoints["five"], checkpoints["headless"]):
        claims.check_numbers(path)
        claims.check_fetches(path)


@pytest.mark.parametrize("name", ["README.md", "tokenizer.json", "chat_template.jinja", "1_Pooling/config.json"])
def test_a_pipe_in_a_folder_is_refused_by_name_and_not_opened(checkpoints, tmp_path, name):
    copy = edited(checkpoints["five"], tmp_path)
    (copy / name).parent.mkdir(exist_ok=True)
    os.mkfifo(copy / name)
    with pytest.raises(CandidateError, match=f"{name} is a pipe"):
        hub.resolve(str(copy))


def test_a_link_to_an_endless_device_is_refused(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path)
    (copy / "README.md").symlink_to("/dev/zero")
    with pytest.raises(CandidateError, match=r"README.md is a pipe, a device or a socket"):
        hub.resolve(str(copy))


def test_an_index_of_safetensors_names_no_other_format(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    with pytest.raises(CandidateError, match=r"names 'pytorch_model.bin', which is not a .safetensors file"):
        hub.resolve(str(copy))


def test_a_long_card_is_read_to_its_first_megabyte(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path)
    with (copy / "README.md").open("w") as file:
        file.write("---\nlicense: mit\n---\n")
        file.truncate(2**33)  # a sparse file of 8 GB
    # The content is hashed like that of any other file; the hash is passed in, so that this takes no time.
    assert hub.resolve(str(copy), hub.Client(digest=lambda _path: "")).candidate.license == "mit"


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux has such files")
@pytest.mark.parametrize("name", ["notes.txt", "1_Pooling/config.json"])
def test_a_link_into_proc_is_refused_though_it_looks_like_a_file(checkpoints, tmp_path, name):
    copy = edited(checkpoints["five"], tmp_path)
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).symlink_to("/proc/self/status")  # /proc/kmsg waits for ever
    with pytest.raises(CandidateError, match=f"{name} leads to a file of the kernel"):
        hub.resolve(str(copy))


def test_a_configuration_of_many_megabytes_is_refused_and_other_long_files_are_not_read(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path)
    before = hub.resolve(str(copy))
    (copy / "notes.txt").touch()
    os.truncate(copy / "notes.txt", 2**40)  # a sparse file of 1 TB, beside which no run comes to an end
    assert hub.resolve(str(copy)) == before
    (copy / "tokenizer.json").touch()
    os.truncate(copy / "tokenizer.json", 2**32)
    with pytest.raises(CandidateError, match=r"tokenizer.json is 4,096 MB long; hf_leep reads up to 256 MB"):
        hub.resolve(str(copy))


def test_names_that_a_report_repeats_are_cut(checkpoints, tmp_path):
    names = {str(i): str(i) + "x" * 10**6 for i in range(5)}
    copy = edited(checkpoints["five"], tmp_path, id2label=names, label2id=None)
    assert [len(name) for name in load(copy).source_labels] == [200] * 5
    assert [name[0] for name in load(copy).source_labels] == list("01234")
    other = edited(checkpoints["five"], tmp_path / "other", architectures=["A" * 10**6, "B", "C"])
    assert inspect(other).no_probabilities.endswith(f"it was saved as {'A' * 200}, B and 1 more")
    card = f"---\nlicense: {'x' * 10**5}\ndatasets: [{', '.join([*['&a ' + 'y' * 10**5], *['*a'] * 999])}]\n---\n"
    (copy / "README.md").write_text(card)
    candidate = hub.resolve(str(copy)).candidate
    assert (candidate.license, set(candidate.trained_on)) == ("x" * 100, {"y" * 100})
    assert len(candidate.trained_on) == 100


def test_files_may_have_names_that_are_not_utf_8(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path)
    before = hub.resolve(str(copy)).candidate.revision
    try:
        Path(os.fsdecode(os.fsencode(copy) + b"/\xff.txt")).touch()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    assert hub.resolve(str(copy)).candidate.revision != before


def test_an_index_with_a_name_that_is_too_long_is_said(checkpoints, tmp_path):
    copy = edited(checkpoints["five"], tmp_path)
    (copy / "model.safetensors").unlink()
    names = json.dumps({"weight_map": {"a": "x" * 5000 + ".safetensors"}})
    (copy / "model.safetensors.index.json").write_text(names)
    with pytest.raises(CandidateError, match=r"names 'x{200}', which is not in the folder$"):
        hub.resolve(str(copy))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"feature_extractor_type": "ASTFeatureExtractor", "max_length": 10**7}, "claims max_length = 10,000,000"),
        (
            {"feature_extractor_type": "WhisperFeatureExtractor", "chunk_length": 86_400},
            "claims chunk_length = 86,400",
        ),
        (
            {"feature_extractor_type": "ClapFeatureExtractor", "fft_window_size": 10**9},
            "claims fft_window_size = 1,00",
        ),
        ({"size": {"shortest_edge": 16_000}}, "claims shortest_edge = 16,000; hf_leep accepts up to 8,192 pixels"),
    ],
)
def test_what_one_row_would_take_is_bounded(checkpoints, tmp_path, changes, reason):
    copy = edited(checkpoints["five"], tmp_path, "preprocessor_config.json", **changes)
    with pytest.raises(CandidateError, match=reason):
        claims.check_numbers(copy)


@pytest.mark.parametrize("rate", [0, -16_000, 16_000.5, "16k", None])
def test_a_sampling_rate_is_a_number_of_samples(tmp_path, rate):
    stated = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "padding_value": 0.0}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**stated, "sampling_rate": rate}))
    with pytest.raises(CandidateError, match="its feature extractor states the sampling rate"):
        audio.MODALITY.adapter.load_processor(tmp_path)
