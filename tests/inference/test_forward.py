import gc
import weakref

import numpy as np
import pytest
import torch

from hf_leep import data
from hf_leep.errors import CandidateError, UserError
from hf_leep.inference import forward
from hf_leep.inference.loader import Loader
from hf_leep.models import MODALITIES, image
from tests.models.extracting import run_pass


def extract(path, pictures, batch_size=16, dtype=torch.float32, **changes):
    target, rows = data.load(pictures, MODALITIES)
    classifier = image.MODALITY.adapter.load(path, ("image",), dtype)
    for name, value in changes.items():
        object.__setattr__(classifier, name, value)
    seen = []
    result = run_pass(classifier, rows, target.labels, batch_size=batch_size, advance=seen.append)
    assert sum(seen) == len(rows)
    return result


def direct(path, pictures):
    """One picture at a time, without hf_leep: logits, probabilities, pooled features."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(path, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    with torch.no_grad():
        outputs = []
        for row in pictures:
            pixels = processor(row["image"].convert("RGB"), return_tensors="pt")["pixel_values"]
            pooled = model.resnet(pixels).pooler_output.flatten(1)
            outputs.append((model(pixels).logits.softmax(-1)[0].numpy(), pooled[0].numpy()))
    return tuple(np.stack(part) for part in zip(*outputs, strict=True))


@pytest.mark.parametrize("batch_size", [1, 7, 60, 64])
def test_equals_a_direct_loop_at_any_batch_size(checkpoints, pictures, batch_size):
    result = extract(checkpoints["five"], pictures, batch_size)
    probabilities, features = direct(checkpoints["five"], pictures)
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-6)
    np.testing.assert_allclose(result.features, features, atol=1e-5)
    assert result.probabilities.dtype == result.features.dtype == np.float32
    assert result.missing == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_its_probabilities_sum_to_one(checkpoints, pictures, dtype):
    result = extract(checkpoints["five"], pictures, dtype=dtype)
    probabilities, features = direct(checkpoints["five"], pictures)
    assert result.missing == {}
    assert result.run.dtype == str(dtype).removeprefix("torch.")
    np.testing.assert_allclose(result.probabilities, probabilities, atol=0.02)
    np.testing.assert_allclose(result.features, features, atol=0.05 * np.abs(features).max())
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, atol=1e-6)


def test_records_how_it_was_run(checkpoints, pictures):
    result = extract(checkpoints["five"], pictures)
    assert result.run.dtype == "float32"
    assert result.run.device == "cpu"
    assert result.run.processor.startswith("sha256:")
    assert result.run.seconds > 0
    assert result.run.peak_memory_bytes > 50e6
    assert result.candidate.num_parameters == sum(p.numel() for p in torch_model(checkpoints["five"]).parameters())
    assert result.candidate.source_labels[0] == "class 0"


def torch_model(path):
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(path)


def test_a_headless_checkpoint_gives_features_alone(checkpoints, pictures):
    result = extract(checkpoints["headless"], pictures)
    assert result.probabilities is None
    assert result.features.shape == (60, 16)
    np.testing.assert_allclose(result.features, direct(checkpoints["headless"], pictures)[1], atol=1e-5)
    assert "no trained classification head" in result.missing["probabilities"]
    assert result.candidate.source_labels == ()


def test_a_wrong_layer_is_noticed_on_the_first_batch(checkpoints, pictures):
    other = torch.nn.Linear(16, 5)
    result = extract(checkpoints["five"], pictures, head=other)
    assert result.features is None
    assert "head was not called" in result.missing["features"]
    assert result.probabilities.shape == (60, 5)


def test_a_layer_behind_the_head_is_noticed(checkpoints, pictures):
    model = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32).model
    model.model.classifier.append(torch.nn.Softplus())
    result = extract(checkpoints["five"], pictures, model=model, head=model.model.classifier[1])
    assert "another layer behind it" in result.missing["features"]


def test_a_model_that_breaks_on_the_rows_is_that_candidates_fault(checkpoints, pictures):
    def collate(rows):
        return {"pixel_values": torch.zeros(len(rows), 4, 32, 32)}

    with pytest.raises(CandidateError, match=r"the forward pass failed on row 0 of the split \("):
        extract(checkpoints["five"], pictures, collate=collate)


@pytest.mark.parametrize("value", [float("nan"), None])
def test_the_row_that_breaks_a_model_is_named(checkpoints, pictures, value):
    class Breaks(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, pixel_values, marked):
            if value is None and marked.any():
                raise RuntimeError("shapes differ")
            outputs = self.model(pixel_values)
            outputs.logits[marked] = value or 0
            return outputs

    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32)
    odd = pictures[21]["image"].tobytes()

    def collate(rows):
        return {**classifier.collate(rows), "marked": torch.tensor([row["image"].tobytes() == odd for row in rows])}

    with pytest.raises(CandidateError, match=r"on row 21 of the split") as caught:
        extract(checkpoints["five"], pictures, collate=collate, model=Breaks(classifier.model))
    assert ("NaN" if value else "the forward pass failed on row 21 of the split (shapes differ)") in str(caught.value)


def test_modules_are_left_as_they_were(checkpoints, pictures):
    path = checkpoints["five"]
    classifier = image.MODALITY.adapter.load(path, ("image",), torch.float32)
    target, rows = data.load(pictures, MODALITIES)
    before = torch.random.get_rng_state()
    run_pass(classifier, rows, target.labels, batch_size=16)
    assert not classifier.head._forward_pre_hooks
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_device_lists_the_known_ones():
    with pytest.raises(UserError, match="unknown device 'tpu': cpu, cuda or mps"):
        forward.accelerator("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_said_to_be_missing():
    with pytest.raises(UserError, match="device 'cuda' is not available here"):
        forward.accelerator("cuda")


class Hungry(torch.nn.Module):
    """A head that runs out of memory on more than three rows, as a device does."""

    def __init__(self, head, error):
        super().__init__()
        self.head, self.error, self.sizes = head, error, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > 3:
            raise self.error
        return self.head(x)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] can't allocate memory"),
    ],
)
def test_where_memory_runs_out_the_batch_is_halved_and_no_row_is_lost(checkpoints, pictures, error):
    target, rows = data.load(pictures, MODALITIES)
    whole = extract(checkpoints["five"], pictures)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32)
    hungry = Hungry(classifier.model.model.classifier, error)
    classifier.model.model.classifier = hungry
    seen = []
    result = run_pass(classifier, rows, target.labels, batch_size=12, advance=seen.append)
    assert hungry.sizes[:3] == [12, 6, 3]
    assert set(seen) == {3}
    assert result.run.batch_size == 3
    np.testing.assert_allclose(result.probabilities, whole.probabilities, atol=1e-6)
    np.testing.assert_allclose(result.features, whole.features, atol=1e-5)


def test_a_batch_of_one_that_does_not_fit_fails_with_words(checkpoints, pictures):
    target, rows = data.load(pictures, MODALITIES)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32)
    hungry = Hungry(classifier.model.model.classifier, MemoryError())
    hungry.forward = lambda x: (_ for _ in ()).throw(MemoryError())
    classifier.model.model.classifier = hungry
    with pytest.raises(CandidateError, match="out of memory on cpu, even for a batch of one"):
        run_pass(classifier, rows, target.labels)


def test_a_second_candidate_on_the_same_rows_gets_the_same_arrays(checkpoints, pictures):
    target, rows = data.load(pictures, MODALITIES)
    alone = extract(checkpoints["seven-classes"], pictures)
    loader = Loader(rows, budget=10**8)
    for name in ("five", "seven-classes"):
        classifier = image.MODALITY.adapter.load(checkpoints[name], ("image",), torch.float32)
        shared = run_pass(classifier, rows, target.labels, batch_size=16, loader=loader)
    np.testing.assert_array_equal(shared.probabilities, alone.probabilities)
    np.testing.assert_array_equal(shared.features, alone.features)


def test_a_model_keeps_its_memory_format(checkpoints, pictures):
    target, rows = data.load(pictures, MODALITIES)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32)
    before = [p.stride() for p in classifier.model.parameters()]
    run_pass(classifier, rows, target.labels)
    assert [p.stride() for p in classifier.model.parameters()] == before


def test_a_model_is_freed_when_its_pass_is_over(checkpoints, pictures):
    target, rows = data.load(pictures, MODALITIES)
    classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32)
    alive = weakref.ref(classifier.model)
    run_pass(classifier, rows, target.labels)
    del classifier
    gc.collect()
    assert alive() is None


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, where it compiles
def test_a_compiled_model_gives_the_same(checkpoints, pictures):
    target, rows = data.load(pictures.select(range(10)), MODALITIES)
    made = []
    for compiled in (False, True):
        classifier = image.MODALITY.adapter.load(checkpoints["five"], ("image",), torch.float32)
        made.append(run_pass(classifier, rows, target.labels, compiled=compiled))
    assert made[1].missing == {}
    np.testing.assert_allclose(made[1].probabilities, made[0].probabilities, atol=1e-5)
    np.testing.assert_allclose(made[1].features, made[0].features, atol=1e-5)
