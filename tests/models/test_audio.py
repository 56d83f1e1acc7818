"""Loading and running audio classifiers, against transformers' own pipeline."""

import io
import shutil

import datasets
import numpy as np
import pytest
import torch

import hf_leep
from hf_leep import data
from hf_leep.errors import CandidateError, TargetError
from hf_leep.models import MODALITIES, audio
from hf_leep.ranking.scoring import score
from tests.models.extracting import extract

RATE = 16000


@pytest.fixture(scope="module")
def sounders(tmp_path_factory):
    """Small real audio models with random weights: name → folder."""
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTForAudioClassification,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2ForSequenceClassification,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForAudioClassification,
    )

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    wave = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2}
    wave |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8, **small}
    wave |= {"initializer_range": 0.5, "vocab_size": 12}
    plain = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    masked = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    whisper = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    spectrum = {"num_mel_bins": 16, "max_length": 64}
    root = tmp_path_factory.mktemp("sounders")
    for name, make, config, extractor in (
        ("plain", Wav2Vec2ForSequenceClassification, Wav2Vec2Config(num_labels=4, **wave), plain),
        (
            "masked",
            Wav2Vec2ForSequenceClassification,
            Wav2Vec2Config(num_labels=3, feat_extract_norm="layer", **wave),
            masked,
        ),
        (
            "spectrum",
            ASTForAudioClassification,
            ASTConfig(num_labels=5, **spectrum, **small),
            ASTFeatureExtractor(**spectrum),
        ),
        (
            "whisper",
            WhisperForAudioClassification,
            WhisperConfig(num_labels=3, num_mel_bins=8, max_source_positions=50, **whisper),
            WhisperFeatureExtractor(feature_size=8, chunk_length=1),
        ),
        ("headless", Wav2Vec2ForCTC, Wav2Vec2Config(**wave), plain),
        ("headless-masked", Wav2Vec2ForCTC, Wav2Vec2Config(feat_extract_norm="layer", **wave), masked),
    ):
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            make(config).save_pretrained(root / name)
        extractor.save_pretrained(root / name)
    return {folder.name: folder for folder in root.iterdir()}


def waves(rate=RATE):
    """18 noisy tones of 3 pitches, of 3 lengths."""
    generator = np.random.default_rng(9)
    times = [np.arange(int(rate * (0.025 + 0.01 * (k % 2) + 0.005 * (k % 3 == 0)))) / rate for k in range(18)]
    tones = [0.4 * np.sin(2 * np.pi * (200 + 300 * (k % 3)) * t) for k, t in enumerate(times)]
    return [(tone + 0.05 * generator.standard_normal(len(tone))).astype(np.float32) for tone in tones]


def sounds(rate=RATE):
    rows = [{"array": wave.tolist(), "sampling_rate": rate} for wave in waves(rate)]
    return datasets.Dataset.from_dict({"audio": rows, "label": [k % 3 for k in range(18)]})


def load(path):
    return audio.MODALITY.adapter.load(path, ["audio"], torch.float32)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("name", ["plain", "masked", "spectrum"])
def test_equals_the_pipeline_at_any_batch_size(sounders, name, batch_size):
    from transformers import pipeline

    result = extract(load(sounders[name]), sounds(), batch_size)
    run = pipeline("audio-classification", model=str(sounders[name]))
    expected = []
    for wave in waves():
        said = {label["label"]: label["score"] for label in run(wave, top_k=9)}
        expected.append([said[f"LABEL_{k}"] for k in range(len(said))])
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    assert np.std(result.probabilities, axis=0).max() > 1e-4
    assert result.missing == {}
    assert result.candidate.task == "audio-classification"


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("name", ["headless", "headless-masked"])
def test_a_model_of_speech_without_a_head_gives_the_mean_of_its_frames(sounders, name, batch_size):
    from transformers import AutoFeatureExtractor, AutoModel

    result = extract(load(sounders[name]), sounds(), batch_size)
    model = AutoModel.from_pretrained(sounders[name]).eval()
    extractor = AutoFeatureExtractor.from_pretrained(sounders[name])
    with torch.no_grad():
        inputs = [extractor(wave, sampling_rate=RATE, return_tensors="pt") for wave in waves()]
        expected = [model(**one).last_hidden_state[0].mean(dim=0).numpy() for one in inputs]
    np.testing.assert_allclose(result.features, expected, atol=1e-5, rtol=1e-4)
    assert result.run.pooling == "mean"
    assert "it was saved as Wav2Vec2ForCTC" in result.missing["probabilities"]


def test_features_are_what_the_head_sees_whatever_the_lengths(sounders):
    one, many = (extract(load(sounders["plain"]), sounds(), size) for size in (1, 18))
    np.testing.assert_allclose(many.features, one.features, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["spectrum", "whisper"])
def test_sounds_that_are_cut_are_counted(sounders, name):
    """A longer sound is counted exactly where its end changes nothing of what the model is given."""
    classifier = load(sounders[name])
    limit = round(classifier.max_seconds * RATE)
    generator = np.random.default_rng(2)
    wave = generator.standard_normal(limit + 400).astype(np.float32)

    def given(samples, louder=1.0):
        array = wave[:samples].copy()
        array[-RATE // 100 :] *= louder  # a frame's shift: less than that is lost between frames
        batch = classifier.collate([{"audio": {"array": array, "sampling_rate": RATE}}])
        return int(batch.pop("num_truncated")), next(iter(batch.values())).numpy()

    for samples, cut in ((limit - RATE // 100, 0), (limit, 0), (limit + 400, 1)):
        (count, quiet), (_, loud) = given(samples), given(samples, 9.0)
        assert count == cut
        assert np.array_equal(quiet, loud) == bool(cut)
    rows = [{"array": wave[: limit + k].tolist(), "sampling_rate": RATE} for k in (0, 1, 1, -5)]
    result = extract(classifier, datasets.Dataset.from_dict({"audio": rows, "label": [0, 1, 0, 1]}))
    assert (result.run.num_truncated, result.run.max_seconds) == (2, limit / RATE)
    said = score(result, ("leep",)).scores["leep"].warnings
    assert said[-1] == f"2 of 4 sounds are longer than {limit / RATE:.4g} s and were truncated"


def test_short_sounds_are_counted(sounders):
    model = load(sounders["plain"])
    found = [np.ones(40, np.float32), *waves()[:3]]
    rows = [{"audio": {"array": np.asarray(wave, np.float32), "sampling_rate": RATE}} for wave in found]
    assert int(model.collate(rows)["num_padded"]) == 1
    assert "num_padded" not in model.collate(rows[1:])


def test_other_sampling_rates_are_brought_to_the_models(sounders):
    collate = load(sounders["plain"]).collate
    time = np.arange(8000) / 8000
    low = {"array": np.sin(2 * np.pi * 440 * time), "sampling_rate": 8000}
    (wave,) = collate([{"audio": low}])["input_values"].numpy()
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * np.sqrt(2)  # the extractor makes its variance 1
    assert wave.shape == (16000,)
    np.testing.assert_allclose(wave[500:-500], expected[500:-500], atol=0.01)


def files(format_, subtype, rate=RATE, channels=1):
    soundfile = pytest.importorskip("soundfile")
    stored = []
    for wave in waves(rate):
        file = io.BytesIO()
        soundfile.write(file, np.stack([wave] * channels, axis=1), rate, format=format_, subtype=subtype)
        stored.append({"bytes": file.getvalue(), "path": None})
    found = datasets.Dataset.from_dict({"audio": stored, "label": [k % 3 for k in range(18)]})
    return found.cast_column("audio", datasets.Audio())


@pytest.mark.parametrize(
    ("format_", "subtype", "channels"), [("WAV", "FLOAT", 1), ("WAV", "FLOAT", 2), ("FLAC", "PCM_24", 1)]
)
def test_files_give_what_their_samples_give(sounders, format_, subtype, channels):
    classifier = load(sounders["plain"])
    stored = extract(classifier, files(format_, subtype, channels=channels))
    np.testing.assert_allclose(stored.probabilities, extract(classifier, sounds()).probabilities, atol=1e-4)


def test_files_in_parquet_are_ranked(sounders, tmp_path):
    files("WAV", "FLOAT").to_parquet(tmp_path / "sounds.parquet")
    names = [str(sounders["plain"]), str(sounders["headless"])]
    report = hf_leep.rank(names, tmp_path / "sounds.parquet", measures=("leep", "logme"), progress=False)
    assert report.data["target"]["modality"] == "audio"
    assert report.data["target"]["num_classes"] == 3
    assert [c["rank"] for c in report.candidates] == [1, None]
    assert report.candidates[1]["scores"]["logme"]["value"] is not None


def test_a_stream_of_files_is_sampled(tmp_path):
    whole = files("WAV", "FLOAT")
    whole.to_parquet(tmp_path / "sounds.parquet")
    stream = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "sounds.parquet"), split="train", streaming=True
    )
    target, rows = data.load(stream, MODALITIES, max_samples=18)
    assert target.modality == "audio"
    known = {row["bytes"] for row in whole.cast_column("audio", datasets.Audio(decode=False))["audio"]}
    assert {rows[k]["audio"]["bytes"] for k in range(18)} == known


def test_a_folder_of_sounds_needs_torchcodec_and_says_so(tmp_path):
    from importlib.util import find_spec

    if find_spec("torchcodec"):
        pytest.skip("torchcodec is here")
    (tmp_path / "sounds" / "a").mkdir(parents=True)
    (tmp_path / "sounds" / "a" / "1.wav").write_bytes(b"RIFF")
    with pytest.raises(TargetError, match="only with torchcodec: .* or list the files in a CSV"):
        data.load(str(tmp_path / "sounds"), MODALITIES)


def test_files_without_a_decoder_name_the_extra(monkeypatch):
    stored = [{"bytes": b"RIFF", "path": None}] * 2
    found = datasets.Dataset.from_dict({"audio": stored, "label": [0, 1]}).cast_column("audio", datasets.Audio())
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    monkeypatch.setattr("hf_leep.models.modality.find_spec", lambda _name: None)
    with pytest.raises(TargetError, match=r'pip install "hf-leep\[audio\]"'):
        data.load(found, MODALITIES)


def test_a_broken_file_is_the_data_sets_fault(sounders):
    pytest.importorskip("soundfile")
    with pytest.raises(TargetError, match=r"the audio file a.wav cannot be decoded"):
        load(sounders["plain"]).collate([{"audio": {"bytes": b"RIFF and no more", "path": "a.wav"}}])


@pytest.mark.parametrize(("wave", "rate", "message"), [
    ([], RATE, "a sound is empty"),
    ([0.0, float("nan")], RATE, "NaN, None or an infinity, the first as sample 1"),
    ([0.0, None, 1.0], RATE, "NaN, None or an infinity, the first as sample 1"),
    ([0.0, 1e300], RATE, "NaN, None or an infinity, the first as sample 1"),
    ([[0.0, 1.0]], RATE, r"has the shape \(1, 2\)"),
    ([0.0, 1.0], 0, "has the sampling rate 0; it must lie between 100 and 1,000,000"),
    ([0.0, 1.0], -RATE, "has the sampling rate -16,000"),
    ([0.0, 1.0], 1, "has the sampling rate 1;"),
    ([0.0, 1.0], 2**40, "has the sampling rate 1,099,511,627,776;"),
    ([0.0, 1.0], float("nan"), "has the sampling rate nan"),
    ([0.0, 1.0], None, "lacks its samples or its sampling rate"),
])  # fmt: skip
def test_sounds_that_no_model_can_hear_are_refused(sounders, wave, rate, message):
    with pytest.raises(TargetError, match=message):
        load(sounders["plain"]).collate([{"audio": {"array": wave, "sampling_rate": rate}}])


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_16")])
def test_a_file_that_is_cut_off_is_refused(sounders, kind, subtype):
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, waves()[0], RATE, format=kind, subtype=subtype)
    content, collate = stream.getvalue(), load(sounders["plain"]).collate
    whole = collate([{"audio": {"array": waves()[0], "sampling_rate": RATE}}])["input_values"]
    piped = content[:4] + b"\xff\xff\xff\xff" + content[8:]  # as a program writes it that cannot go back
    for held in (content, content[:4] + b"\x7f\xff\xff\xff" + content[8:] if kind == "AIFF" else piped):
        read = collate([{"audio": {"bytes": held, "path": "a.wav"}}])["input_values"]
        np.testing.assert_allclose(read, whole, atol=1e-2)
    with pytest.raises(TargetError, match=r"the audio file a.wav is cut off: 300 of [\d,]+ bytes are there"):
        collate([{"audio": {"bytes": content[:300], "path": "a.wav"}}])


def test_rows_that_repeat_are_counted_and_the_rate_matters():
    rows = [{"array": [0.0, 1.0], "sampling_rate": rate} for rate in (8000, 16000, 8000)]
    target, _ = data.load(
        datasets.Dataset.from_dict({"audio": rows, "text": ["a"] * 3, "label": [0, 1, 0]}), MODALITIES
    )
    assert (target.modality, target.input_columns, target.num_duplicates) == ("audio", ("audio",), 1)


def test_a_model_in_memory(sounders):
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    path = sounders["masked"]
    model = AutoModelForAudioClassification.from_pretrained(path)
    result = extract(
        audio.MODALITY.adapter.wrap(model, AutoFeatureExtractor.from_pretrained(path), ["audio"]), sounds()
    )
    np.testing.assert_allclose(result.probabilities, extract(load(path), sounds()).probabilities, atol=1e-6)


def test_what_cannot_be_loaded_is_one_clear_line(sounders, checkpoints, tmp_path):
    with pytest.raises(CandidateError, match="no audio classifier for model_type 'resnet'"):
        load(checkpoints["five"])
    copy = shutil.copytree(sounders["plain"], tmp_path / "bare")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(CandidateError, match="its feature extractor cannot be loaded"):
        load(copy)


def test_padding_is_heard_neither_by_the_extractor_nor_by_convolutions(tmp_path):
    """Without a mask the extractor's loudness counts the padding; a Conformer's convolutions see it despite a mask."""
    from transformers import (
        AutoFeatureExtractor,
        AutoModelForAudioClassification,
        Data2VecAudioConfig,
        Data2VecAudioForSequenceClassification,
        Wav2Vec2ConformerConfig,
        Wav2Vec2ConformerForSequenceClassification,
        Wav2Vec2FeatureExtractor,
    )

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2}
    small |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
    small |= {"initializer_range": 0.5, "num_labels": 4}
    for name, make, config, mask in (
        ("plain", Data2VecAudioForSequenceClassification, Data2VecAudioConfig(**small), False),
        ("masked", Wav2Vec2ConformerForSequenceClassification, Wav2Vec2ConformerConfig(**small), True),
    ):
        folder = tmp_path / name
        with torch.random.fork_rng():
            torch.manual_seed(4)
            make(config).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder)
        result = extract(audio.MODALITY.adapter.load(folder, ["audio"]), sounds())
        model, extractor = (
            kind.from_pretrained(folder) for kind in (AutoModelForAudioClassification, AutoFeatureExtractor)
        )
        with torch.no_grad():
            alone = [
                model.eval()(**extractor(wave, sampling_rate=RATE, return_tensors="pt")).logits.softmax(-1)
                for wave in waves()
            ]
        np.testing.assert_allclose(result.probabilities, torch.cat(alone).numpy(), rtol=0, atol=1e-5)
