"""Batches made by other processes: the same arrays to the last bit, and a reason when one of them dies."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

import numpy as np
import psutil
import pytest
import torch

import hf_leep
from hf_leep import data
from hf_leep.errors import CandidateError, TargetError, lacks_memory
from hf_leep.inference import feed
from hf_leep.inference.batch_size import BatchSetting
from hf_leep.inference.feed import Feed, worthwhile
from hf_leep.inference.loader import Loader
from hf_leep.inference.pool import Pool
from hf_leep.inference.sampler import Batch
from hf_leep.models import ADAPTERS, MODALITIES, image
from tests.videos import as_lists, save_watchers
from tests.warm import HANGING


@pytest.fixture(scope="module")
def pool():
    made = Pool()
    made.start(2)
    assert made.wait(120)
    yield made
    made.end()


def batches_of(order, size):
    return [Batch(order[start : start + size], BatchSetting(size)) for start in range(0, len(order), size)]


def all_inputs(classifier, loader, pool, size, workers=2):
    batches, made = batches_of(loader.order(), size), []
    with Feed(loader, classifier, pool, workers) as feed:
        for k, batch in enumerate(batches):
            feed.start(batches[k : k + 1 + feed.depth])
            made.append(feed.inputs(batch))
    return made


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name
            assert one[name].stride() == other[name].stride(), name


@pytest.mark.parametrize("budget", [0, 200_000, 10**8])
def test_images_are_the_same_to_the_last_bit(checkpoints, pictures, pool, budget):
    _, rows = data.load(pictures, MODALITIES)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",))
    alone = all_inputs(classifier, Loader(rows, budget=0), None, 17)
    loader = Loader(rows, budget=budget)
    for _ in range(2):  # the second time, as many as the budget allows are kept
        assert_same(all_inputs(classifier, loader, pool, 17), alone)


def test_what_one_process_decoded_is_not_decoded_again(checkpoints, tmp_path, pictures, pool):
    from datasets import Dataset, Image

    files = []
    for k, row in enumerate(pictures):
        files.append(str(tmp_path / f"{k}.png"))
        row["image"].convert("RGB").save(files[-1])
    dataset = Dataset.from_dict({"image": files, "label": pictures["label"]}).cast_column("image", Image())
    _, rows = data.load(dataset, MODALITIES)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",))
    alone = all_inputs(classifier, Loader(rows, budget=0), None, 17)
    loader = Loader(rows, budget=10**8)
    assert_same(all_inputs(classifier, loader, pool, 17), alone)
    for file in files:
        os.remove(file)
    assert_same(all_inputs(replace(classifier, processor="another"), loader, pool, 13), regrouped(alone, 13))
    with pytest.raises(TargetError, match="cannot be decoded"):
        all_inputs(classifier, Loader(rows, budget=0), pool, 17)


def loaded(modality, path, columns, dataset, **choice):
    target, rows = data.load(dataset, MODALITIES, **choice)
    assert target.modality == modality
    return ADAPTERS[modality].load(path, columns), rows


@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.parametrize("columns", [("text",), ("text", "second")])
def test_texts_are_the_same(text_checkpoints, texts, pool, name, columns):
    classifier, rows = loaded("text", text_checkpoints[name], columns, texts, inputs=list(columns))
    assert_same(*(all_inputs(classifier, Loader(rows, budget=0), pool, 7, workers) for workers in (2, 0)))


def test_words_are_the_same(token_checkpoints, tagged, pool):
    classifier, rows = loaded("token", next(iter(token_checkpoints.values())), ("tokens",), tagged)
    assert_same(*(all_inputs(classifier, Loader(rows, budget=0), pool, 7, workers) for workers in (2, 0)))


def test_videos_are_the_same(tmp_path, pool):
    classifier, rows = loaded("video", save_watchers(tmp_path)["videomae"], ("frames",), as_lists())
    for budget in (0, 10**6):
        loader = Loader(rows, budget=budget)
        assert_same(*(all_inputs(classifier, loader, pool, 6, workers) for workers in (2, 0)))


@pytest.mark.parametrize("kind", ["spectrum", "wave"])
def test_sounds_are_the_same(pool, kind):
    import datasets
    import transformers as t

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if kind == "spectrum":
        sizes = {"num_mel_bins": 16, "max_length": 64}
        model = t.ASTForAudioClassification(t.ASTConfig(num_labels=3, **sizes, **small))
        extractor = t.ASTFeatureExtractor(**sizes)
    else:
        wave = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2}
        wave |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
        model = t.Wav2Vec2ForSequenceClassification(t.Wav2Vec2Config(num_labels=3, **wave, **small))
        extractor = t.Wav2Vec2FeatureExtractor(return_attention_mask=False)
    generator = np.random.default_rng(1)
    waves = [0.1 * generator.standard_normal(int(size)) for size in generator.integers(4000, 12000, 20)]
    sounds = [{"array": wave.tolist(), "sampling_rate": 8000 * (1 + k % 2)} for k, wave in enumerate(waves)]
    features = {"array": datasets.List(datasets.Value("float32")), "sampling_rate": datasets.Value("int64")}
    features = datasets.Features({"audio": features, "label": datasets.Value("int64")})
    dataset = datasets.Dataset.from_dict({"audio": sounds, "label": [0, 1] * 10}, features=features)
    _, rows = data.load(dataset, MODALITIES)
    classifier = ADAPTERS["audio"].wrap(model.eval(), extractor, ("audio",))
    assert_same(*(all_inputs(classifier, Loader(rows, budget=0), pool, 6, workers) for workers in (2, 0)))


def regrouped(batches, size):
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    parts = {name: x.split(size) for name, x in whole.items()}
    return [{name: x[k] for name, x in parts.items()} for k in range(len(next(iter(parts.values()))))]


def test_a_bad_row_is_the_same_error(checkpoints, pool):
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as Pillow

    content = [{"bytes": png(Pillow.new("RGB", (8, 8))), "path": None} for _ in range(20)]
    content[11] = {"bytes": b"no picture", "path": "odd.png"}
    features = Features({"image": Image(decode=False), "label": Value("int64")})
    dataset = Dataset.from_dict({"image": content, "label": [0, 1] * 10}, features=features)
    _, rows = data.load(dataset.cast_column("image", Image()), MODALITIES)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",))
    texts = []
    for workers in (0, 2):
        with pytest.raises(TargetError, match=r"row 11 of .* \(odd.png\) cannot be decoded") as caught:
            all_inputs(classifier, Loader(rows, budget=0), pool, 16, workers)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def png(picture):
    import io

    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@dataclass
class Numbers:
    """Rows of one number each, which other processes can open."""

    n: int
    offsets: None = None

    def __len__(self):
        return self.n

    def lengths(self):
        return None

    def where(self, position):
        return f"row {position}"

    def __getitem__(self, position):
        return {"number": position}

    def read(self, positions):
        return [self[position] for position in positions]

    def for_processes(self, new_file):
        return self


@dataclass
class Slow(Numbers):
    """Rows that take a while to decode."""

    def read(self, positions):
        until = time.thread_time() + 0.002 * len(positions)
        while time.thread_time() < until:
            pass
        return super().read(positions)


def double(rows):
    return {"x": torch.tensor([[2.0 * row["number"]] for row in rows])}


@dataclass
class EndsAt20:
    """Ends the process that makes inputs of row 20, unless it is this one."""

    own: int = field(default_factory=os.getpid)

    def __call__(self, rows):
        if any(row["number"] == 20 for row in rows) and os.getpid() != self.own:
            os.kill(os.getpid(), signal.SIGKILL)
        return double(rows)


def processes(rows):
    return {"x": torch.tensor([[float(os.getpid())] for _ in rows])}


def threads(rows):
    return {"x": torch.tensor([[float(torch.get_num_threads())] for _ in rows])}


@dataclass
class Classifier:
    collate: object = double
    processor: str = "a"
    row_wise: bool = True
    model: object = field(default_factory=object)


def numbers(made):
    return torch.cat([batch["x"] for batch in made]).flatten().tolist()


def test_both_processes_work_and_each_has_one_thread(pool):
    pids = numbers(all_inputs(Classifier(processes), Loader(Numbers(64), budget=0), pool, 32))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    before = torch.get_num_threads()
    for workers in (0, 2):
        assert set(numbers(all_inputs(Classifier(threads), Loader(Numbers(64), budget=0), pool, 32, workers))) == {1}
    assert torch.get_num_threads() == before


def test_a_process_that_dies_is_a_reason_and_the_next_candidate_gets_another():
    pool = Pool()
    pool.start(2)
    assert pool.wait(120)
    loader = Loader(Numbers(64), budget=0)
    with pytest.raises(
        CandidateError, match=r"a process that reads rows was killed.* positions 16 to 31: .*workers 0"
    ) as error:
        all_inputs(Classifier(EndsAt20()), loader, pool, 32)
    assert lacks_memory(pickle.loads(pickle.dumps(error.value)))  # it comes from the worker of the candidate
    pool.start(2)
    assert pool.wait(120)
    assert numbers(all_inputs(Classifier(), loader, pool, 32)) == [2.0 * i for i in range(64)]
    pool.end()


def test_no_process_left_is_a_reason_and_not_a_hang():
    pool, loader = Pool(), Loader(Numbers(64), budget=0)
    pool.start(1)
    assert pool.wait(HANGING)
    with pytest.raises(CandidateError, match="was killed"):
        all_inputs(Classifier(EndsAt20()), loader, pool, 32, 1)
    with pytest.raises(CandidateError, match="all processes that read rows have ended: .*workers 0"):
        pool.make([0]).result(HANGING)
    pool.end()


def exits(rows):
    if any(row["number"] == 20 for row in rows):
        sys.exit(3)
    return double(rows)


def test_what_is_no_exception_is_the_reason_and_ends_no_process(pool):
    loader, running = Loader(Numbers(64), budget=0), pool.size
    with pytest.raises(CandidateError, match="^SystemExit: 3$"):
        all_inputs(Classifier(exits), loader, pool, 32)
    assert numbers(all_inputs(Classifier(), loader, pool, 32)) == [2.0 * i for i in range(64)]
    assert pool.size == running


def test_what_cannot_be_sent_is_made_here(pool, caplog):
    def local(rows):
        return double(rows)

    loader = Loader(Numbers(40), budget=0)
    assert numbers(all_inputs(Classifier(local), loader, pool, 16)) == [2.0 * i for i in range(40)]
    assert "this process alone reads the rows" in caplog.text
    hidden = type("Hidden", (), {"__call__": lambda _self, rows: double(rows), "__reduce__": lambda _self: (gone, ())})
    assert numbers(all_inputs(Classifier(hidden()), loader, pool, 16)) == [2.0 * i for i in range(40)]


def gone():
    raise AttributeError("not in this process")


def test_batches_that_were_halved_are_made_anew(pool):
    loader = Loader(Numbers(64), budget=10**6)
    batches = batches_of(loader.order(), 16)
    with Feed(loader, Classifier(), pool, 2) as feed:
        feed.start(batches)
        halves = [Batch(half, BatchSetting(8)) for half in np.split(batches[0].positions, 2)]
        made = []
        for k, batch in enumerate(coming := [*halves, *batches[1:]]):
            feed.start(coming[k : k + 3])
            made.append(feed.inputs(batch))
    assert numbers(made) == [2.0 * i for i in range(64)]


@pytest.mark.parametrize(
    ("own", "model", "threads", "cores", "size"),
    [
        (1.0, 2.0, 2, 2, 0),  # two cores that a large network keeps busy
        (1.0, 0.9, 0, 8, 0),  # a GPU that is hardly faster than one core
        (1.0, 0.6, 0, 8, 2),
        (1.0, 0.05, 0, 8, 8),
        (1.0, 0.0, 2, 2, 2),
        (1.0, 0.0, 1, 1, 0),
    ],
)
def test_the_number_of_processes_follows_from_the_times(own, model, threads, cores, size):
    assert worthwhile(own, model, threads, cores) == size
    assert worthwhile(own, model, threads, cores, at_least=1.0) == 0


def test_processes_end_with_the_one_that_started_them():
    code = (
        "import os, signal, sys, time\n"
        "from hf_leep.inference.pool import Pool\n"
        "pool = Pool(); pool.start(1); assert pool.wait(120)\n"
        "print(*(p.popen.pid for p in pool._processes), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    (pid,) = map(int, done.stdout.split())
    for _ in range(600):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("it still runs")


def test_a_ranking_is_the_same_with_processes(checkpoints, pictures):
    """Candidates are run in the worker process, which starts these."""
    paths = [str(checkpoints[name]) for name in ("five", "seven-classes")]
    execution = hf_leep.Execution(cache=False, batch_size=8)
    alone, together = (
        hf_leep.rank(paths, pictures, progress=False, execution=replace(execution, workers=workers))
        for workers in (0, 2)
    )
    assert [c["scores"] for c in alone.candidates] == [c["scores"] for c in together.candidates]


def test_the_times_of_the_first_batches_choose_and_the_last_batch_chooses_nothing():
    pool, loader = Pool(), Loader(Numbers(64), budget=0)
    batches = batches_of(loader.order(), 16)
    with Feed(loader, Classifier(), pool, workers=None) as feed:
        for batch in batches:
            feed.inputs(batch)
            feed.choose(model_seconds=1.0, model_threads=1, rows_left=64)  # a slow model
        feed.choose(model_seconds=1e-9, model_threads=0, rows_left=0)
        assert pool.size == 0


def test_a_slow_decoder_starts_processes_which_make_the_batches_from_then_on(monkeypatch):
    monkeypatch.setattr(feed, "num_cores", lambda: 2)
    monkeypatch.setattr(feed, "_MEMORY", 1)  # however little is free
    pool, loader = Pool(), Loader(Slow(128), budget=0)
    batches = batches_of(loader.order(), 16)
    with Feed(loader, Classifier(processes), pool, workers=None) as fed:
        for batch in batches[:4]:
            assert set(fed.inputs(batch)["x"].flatten().tolist()) == {os.getpid()}
            fed.choose(model_seconds=1e-5, model_threads=0, rows_left=10**6)
        assert pool.size == 2
        assert pool.wait(HANGING)
        made = numbers([fed.inputs(batch) for batch in batches[4:]])
    assert len(made) == 64
    assert os.getpid() not in made
    pool.end()
