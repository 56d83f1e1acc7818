import importlib
import io
import logging
import shutil

import pytest

from hf_leep import hub
from hf_leep.errors import CandidateError
from hf_leep.hub import Client, download


def test_a_folder_is_pinned_by_its_content(checkpoints, tmp_path):
    first = hub.resolve(str(checkpoints["five"]))
    assert first.path == checkpoints["five"]
    assert first.candidate.id == str(checkpoints["five"])
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints["five"], copy)
    assert hub.resolve(str(copy)).candidate.revision == first.candidate.revision
    (copy / "optimizer.pt").write_text("weights that are not used")
    assert hub.resolve(str(copy)).candidate.revision == first.candidate.revision
    (copy / "bpe.codes").write_text("may be part of a tokenizer")
    assert hub.resolve(str(copy)).candidate.revision != first.candidate.revision
    (copy / "bpe.codes").unlink()
    (copy / "adapter_model.safetensors").write_text("peft adds them to the weights")
    assert hub.resolve(str(copy)).candidate.revision != first.candidate.revision
    (copy / "adapter_model.safetensors").unlink()
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert hub.resolve(str(copy)).candidate.revision != first.candidate.revision


def test_the_licence_comes_from_the_card(checkpoints, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkpoints["five"], copy)
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    assert hub.resolve(str(copy)).candidate.license == "apache-2.0"
    for card in ("---\nlicense: [unclosed\n---\n", "no metadata", "---\njust text\n---\n"):
        (copy / "README.md").write_text(card)
        assert hub.resolve(str(copy)).candidate.license is None


def test_sharded_weights_are_all_checked(checkpoints, tmp_path):
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(checkpoints["five"])
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert hub.resolve(str(tmp_path)).path == tmp_path
    shards[1].write_bytes(shards[1].read_bytes()[:-10])
    with pytest.raises(CandidateError, match=rf"{shards[1].name} is truncated or damaged"):
        hub.resolve(str(tmp_path))
    shards[1].unlink()
    with pytest.raises(CandidateError, match=rf"names '{shards[1].name}', which is not in the folder"):
        hub.resolve(str(tmp_path))


def test_an_index_never_leads_out_of_its_folder(checkpoints, tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(checkpoints["five"] / name, tmp_path / "model")
    shutil.copy(checkpoints["five"] / "model.safetensors", tmp_path / "outside.safetensors")
    index = '{"weight_map": {"a": "../outside.safetensors"}}'
    (tmp_path / "model" / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CandidateError, match=r"names '../outside.safetensors', which is not in the folder"):
        hub.resolve(str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "it is empty"),
        ("truncated", "model.safetensors is truncated or damaged"),
        ("pickled", r"pickled weights only \(pytorch_model.bin\); hf_leep loads safetensors"),
    ],
)
def test_a_broken_folder_is_one_clear_line(checkpoints, name, message):
    with pytest.raises(CandidateError, match=message) as caught:
        hub.resolve(str(checkpoints[name]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", r"'./nowhere' is neither a folder nor a repo id"),
        ("/no/where", "neither a folder nor a repo id"),
        ("user/../../etc", "neither a folder nor a repo id"),
        ("user/model", r"no such folder, and not in the local cache while HF_HUB_OFFLINE is set"),
        ("user/model@v1", r"not in the local cache while HF_HUB_OFFLINE is set"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_clear_line(name, message):
    with pytest.raises(CandidateError, match=message):
        hub.resolve(name)


def test_a_folder_without_weights_or_configuration_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CandidateError, match=r"no config.json in the folder \(it holds notes.txt\)"):
        hub.resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CandidateError, match="no weights: model.safetensors is missing"):
        hub.resolve(str(tmp_path))


def test_a_folder_of_checkpoints_says_what_it_holds(checkpoints):
    with pytest.raises(CandidateError, match=r"no config.json in the folder \(it holds empty/, five/, headless/"):
        hub.resolve(str(checkpoints["five"].parent))


def test_the_retries_of_huggingface_hub_are_not_logged_while_it_is_asked():
    logger, said = logging.getLogger("huggingface_hub.utils._http"), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)

    def busy(_api):
        logger.warning("'timeout' thrown while requesting GET https://hub/api/models")
        logger.warning("Retrying in 1s [Retry 1/5].")
        logger.warning("a warning of another kind")
        return 1

    try:
        assert Client().ask(busy) == 1
        assert said == ["a warning of another kind"]
        busy(None)  # someone else's request
        assert len(said) == 4
    finally:
        logger.removeHandler(handler)


def test_a_download_without_a_bar_of_its_own_shows_none(monkeypatch):
    monkeypatch.setattr(
        importlib.import_module("huggingface_hub.utils.tqdm"), "are_progress_bars_disabled", lambda _name=None: False
    )
    bar = download._no_bar()(total=3, disable=False, file=(shown := io.StringIO()))
    bar.update(2)
    bar.close()
    assert shown.getvalue() == ""


def test_a_folder_of_nearly_the_same_name_is_proposed(tmp_path):
    (tmp_path / "my-model").mkdir()
    with pytest.raises(
        CandidateError, match=rf"neither a folder nor a repo id \(did you mean {tmp_path}/my-model\?\)"
    ):
        hub.resolve(f"{tmp_path}/my-modle/")
    with pytest.raises(CandidateError, match="neither a folder nor a repo id: give"):
        hub.resolve(f"{tmp_path}/nothing-like-it/at-all")
