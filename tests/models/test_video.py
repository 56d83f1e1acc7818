"""Loading and running video classifiers, against transformers used one clip at a time."""

import io
import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import hf_leep
from hf_leep import data
from hf_leep.errors import CandidateError, TargetError
from hf_leep.models import ADAPTERS, MODALITIES, video
from tests.models.extracting import extract
from tests.videos import as_lists, frames, save_watchers


@pytest.fixture(scope="module")
def watchers(tmp_path_factory):
    return save_watchers(tmp_path_factory.mktemp("watchers"))


def encoded(clip, format_="matroska"):
    """The bytes of a video file, without loss."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=format_) as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "bgr0"
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def as_files():
    rows = {"clip": [{"bytes": encoded(clip), "path": None} for clip in frames()], "label": [k % 3 for k in range(15)]}
    return datasets.Dataset.from_dict(rows).cast_column("clip", datasets.Video())


def load(path):
    return video.MODALITY.adapter.load(path, ["frames"], torch.float32)


def direct(path, auto="AutoModelForVideoClassification"):
    """The model's outputs of one clip at a time; of 4 frames the middles of 4 equal stretches."""
    import transformers

    model = getattr(transformers, auto).from_pretrained(path).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(path, backend="pil")
    places = {4: [0, 1, 2, 3], 9: [1, 3, 5, 7], 3: [0, 1, 1, 2]}
    outputs = []
    with torch.no_grad():
        for clip in frames():
            seen = [Image.fromarray(clip[place]) for place in places[len(clip)]]
            outputs.append(model(**processor(seen, return_tensors="pt"), output_hidden_states=True))
    return outputs


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", ["videomae", "timesformer", "vivit"])
def test_equals_one_clip_at_a_time_at_any_batch_size(watchers, name, batch_size):
    result = extract(load(watchers[name]), as_lists(), batch_size)
    expected = torch.cat([o.logits.softmax(-1) for o in direct(watchers[name])]).numpy()
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    assert np.std(expected, axis=0).max() > 1e-3
    assert result.missing == {}
    assert result.candidate.task == "video-classification"
    assert result.run.processor_backend == "pil"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_model_without_a_head_gives_the_mean_of_its_patches(watchers, batch_size):
    result = extract(load(watchers["headless"]), as_lists(), batch_size)
    expected = torch.cat([o.last_hidden_state.mean(dim=1) for o in direct(watchers["headless"], "AutoModel")])
    np.testing.assert_allclose(result.features, expected.numpy(), atol=1e-5, rtol=1e-4)
    assert result.run.pooling == "mean"
    assert "it was saved as VideoMAEForPreTraining" in result.missing["probabilities"]


def test_files_give_what_their_frames_give(watchers):
    files = as_files()
    target, _ = data.load(files, MODALITIES)
    assert (target.modality, target.input_columns) == ("video", ("clip",))
    classifier = video.MODALITY.adapter.load(watchers["videomae"], ["clip"], torch.float32)
    expected = extract(load(watchers["videomae"]), as_lists()).probabilities
    np.testing.assert_allclose(extract(classifier, files).probabilities, expected, atol=1e-5)


def test_a_mixed_pool_of_files_in_parquet_is_ranked(watchers, checkpoints, tmp_path):
    as_files().to_parquet(tmp_path / "clips.parquet")
    names = [str(watchers["videomae"]), str(watchers["headless"]), str(checkpoints["five"])]
    options = {"measures": ("leep", "logme"), "execution": hf_leep.Execution(cache=False), "progress": False}
    report = hf_leep.rank(names, tmp_path / "clips.parquet", **options)
    assert report.data["target"]["modality"] == "video"
    assert [c["rank"] for c in report.candidates] == [1, None, None]
    assert report.candidates[1]["scores"]["logme"]["value"] is not None
    assert "transformers has no video classifier for model_type 'resnet'" in report.candidates[2]["reason"]
    expected = torch.cat([o.logits.softmax(-1) for o in direct(watchers["videomae"])]).numpy()
    assert report.candidates[0]["scores"]["leep"]["value"] == pytest.approx(
        hf_leep.measures.leep(expected, np.arange(15) % 3), abs=1e-5
    )


def test_a_finished_pass_over_frames_is_found_again(watchers, tmp_path, monkeypatch):
    from hf_leep import api

    monkeypatch.setattr(api.Store, "default_root", staticmethod(lambda: tmp_path / "store"))
    for again in (False, True):
        report = hf_leep.rank([str(watchers["timesformer"])], as_lists(), progress=False)
        assert report.candidates[0]["run"]["from_store"] is again


def test_a_folder_of_videos_has_its_classes_from_the_names_of_its_folders(watchers, tmp_path):
    for k, clip in enumerate(frames()):
        folder = tmp_path / "clips" / "abc"[k % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{k}.mkv").write_bytes(encoded(clip))
    target, rows = data.load(str(tmp_path / "clips"), MODALITIES)
    assert (target.modality, target.class_names, len(rows)) == ("video", ("a", "b", "c"), 15)
    result = extract(video.MODALITY.adapter.load(watchers["videomae"], ["video"]), str(tmp_path / "clips"))
    expected = [extract(load(watchers["videomae"]), as_lists()).probabilities[k::3] for k in range(3)]
    np.testing.assert_allclose(
        np.sort(result.probabilities, axis=0), np.sort(np.concatenate(expected), axis=0), atol=1e-5
    )


def test_a_stream_of_files_is_sampled(tmp_path):
    files = as_files()
    files.to_parquet(tmp_path / "clips.parquet")
    stream = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "clips.parquet"), split="train", streaming=True
    )
    target, rows = data.load(stream, MODALITIES, max_samples=15)
    assert target.modality == "video"
    known = {row["bytes"] for row in files.cast_column("clip", datasets.Video(decode=False))["clip"]}
    assert {rows[k]["clip"]["bytes"] for k in range(15)} == known


def test_rows_that_repeat_are_counted_frame_by_frame():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    features = datasets.Features({"clips": datasets.List(datasets.Image()), "label": datasets.Value("int64")})
    rows = {"clips": [[red, blue], [blue, red], [red, blue], [red]], "label": [0, 1, 0, 1]}
    target, _ = data.load(datasets.Dataset.from_dict(rows, features=features), MODALITIES)
    assert (target.modality, target.input_columns, target.num_duplicates) == ("video", ("clips",), 1)


def test_beside_an_image_a_list_of_images_must_be_named_as_a_video():
    picture = Image.new("RGB", (4, 4), "red")
    columns = {"image": datasets.Image(), "label": datasets.Value("int64")}
    for name, modality in (("masks", "image"), ("frames", "video")):
        features = datasets.Features({**columns, name: datasets.List(datasets.Image())})
        rows = {"image": [picture] * 2, name: [[picture]] * 2, "label": [0, 1]}
        assert data.load(datasets.Dataset.from_dict(rows, features=features), MODALITIES)[0].modality == modality
        assert (
            data.load(datasets.Dataset.from_dict(rows, features=features), MODALITIES, inputs=name)[0].modality
            == "video"
        )


def test_files_without_a_decoder_name_the_extra(monkeypatch, watchers):
    files = as_files()
    row = {"frames": {"bytes": encoded(frames()[0]), "path": None}}
    monkeypatch.setattr("hf_leep.models.modality.find_spec", lambda _name: None)
    with pytest.raises(TargetError, match=r'pip install "hf-leep\[video\]"'):
        data.load(files, MODALITIES)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(TargetError, match=r'pip install "hf-leep\[video\]"'):
        load(watchers["videomae"]).collate([row])


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ({"bytes": b"RIFF and no more", "path": "a.mp4"}, "the video file a.mp4 cannot be decoded"),
        ({"bytes": None, "path": "/no/such/b.mp4"}, "the video file b.mp4 cannot be decoded"),
        ([], "a video has no frames, or lacks some"),
        ([Image.new("RGB", (4, 4)), None], "a video has no frames, or lacks some"),
    ],
)
def test_a_broken_clip_is_the_data_sets_fault(watchers, clip, message):
    pytest.importorskip("av")
    with pytest.raises(TargetError, match=message):
        load(watchers["videomae"]).collate([{"frames": clip}])


def test_a_file_that_breaks_off_is_seen_as_far_as_it_goes(watchers):
    clip = np.random.default_rng(1).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    whole = encoded(clip)
    collate = load(watchers["videomae"]).collate
    (cut,) = collate([{"frames": {"bytes": whole[: len(whole) // 2], "path": None}}])["pixel_values"]
    pictures = [Image.fromarray(picture) for picture in clip]
    some = [collate([{"frames": pictures[:length]}])["pixel_values"][0] for length in range(10, 25)]
    assert min(float((cut - one).abs().max()) for one in some) < 1e-5


def test_frames_that_an_edit_list_hides_are_not_counted(watchers):
    from fractions import Fraction

    av = pytest.importorskip("av")
    if "libx264" not in av.codecs_available:
        pytest.skip("no H.264 encoder in this build of PyAV")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for k in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k - 4, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue()), "r") as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 12  # 4 of them before the start
    seen = video._frames({"bytes": file.getvalue(), "path": None}, 4)
    greys = [np.asarray(picture).mean() for picture in seen]
    np.testing.assert_allclose(greys, [20 * k for k in (5, 7, 9, 11)], atol=4)


def test_a_sound_alone_is_no_video(watchers):
    pytest.importorskip("av")
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.zeros(800), 8000, format="WAV")
    with pytest.raises(TargetError, match="the video file x.wav cannot be decoded"):
        load(watchers["videomae"]).collate([{"frames": {"bytes": file.getvalue(), "path": "x.wav"}}])


def test_a_model_in_memory(watchers):
    from transformers import AutoImageProcessor, AutoModelForVideoClassification

    path = watchers["timesformer"]
    model = AutoModelForVideoClassification.from_pretrained(path)
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    result = extract(video.MODALITY.adapter.wrap(model, processor, ["frames"]), as_lists())
    np.testing.assert_allclose(result.probabilities, extract(load(path), as_lists()).probabilities, atol=1e-6)


def test_the_plan_judges_heads_of_videos(watchers):
    assert ADAPTERS["video"].inspect(watchers["videomae"], None).num_source_classes == 5
    assert "saved as VideoMAEForPreTraining" in ADAPTERS["video"].inspect(watchers["headless"], None).no_probabilities


def test_what_cannot_be_loaded_is_one_clear_line(watchers, checkpoints, tmp_path):
    from importlib.util import find_spec

    with pytest.raises(CandidateError, match="no video classifier for model_type 'resnet'"):
        load(checkpoints["five"])
    copy = shutil.copytree(watchers["videomae"], tmp_path / "bare")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(CandidateError, match="its video processor cannot be loaded"):
        load(copy)
    if find_spec("torchvision") is None:
        (copy / "video_preprocessor_config.json").write_text('{"video_processor_type": "VideoMAEVideoProcessor"}')
        with pytest.raises(CandidateError, match="its video processor needs torchvision: pip install torchvision"):
            load(copy)


def test_the_processor_of_videos_comes_from_the_hub(watchers, tmp_path, client, hub):
    path = shutil.copytree(watchers["videomae"], tmp_path / "new")
    (path / "preprocessor_config.json").rename(path / "video_preprocessor_config.json")
    hub.add_folder("user/new", path)
    code = "from hf_leep import hub; print(*[f.name for f in hub.fetch(hub.resolve('user/new')).iterdir()])"
    done = client(code=code)
    assert "video_preprocessor_config.json" in done.stdout.split(), done.stderr
