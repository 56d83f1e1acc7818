from dataclasses import replace

import numpy as np
import pytest

from hf_leep.records import Candidate, Target
from hf_leep.report.caveats import notes, trained_on_target

SHA = "0123456789abcdef0123456789abcdef01234567"


def target(dataset="uoft-cs/cifar100", revision=SHA):
    return Target(
        dataset, None, "train", revision, "sha256:1", "sha256:2", ("img",), "label",
        "image", "image-classification", "images", np.arange(4), np.arange(4) % 2, ("a", "b"), 4, 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "dataset", "revision", "called"),
    [
        (["mnist", "UofT-CS/CIFAR100"], "uoft-cs/cifar100", SHA, "uoft-cs/cifar100"),
        (["uoft-cs/cifar100"], "uoft-cs/cifar100", None, "uoft-cs/cifar100"),  # offline there may be no commit
        (["cifar100"], "uoft-cs/cifar100", SHA, "uoft-cs/cifar100"),  # the Hub once had names without an owner
        (["uoft-cs/cifar100"], "cifar100", SHA, "cifar100"),
        (["someone/cifar100"], "uoft-cs/cifar100", SHA, None),
        (["cifar10"], "uoft-cs/cifar100", SHA, None),
        (["uoft-cs/cifar100"], "/data/CIFAR100.parquet", None, "a data set of this name, uoft-cs/cifar100"),
        (["flowers.v2"], "./flowers.v2/", None, "a data set of this name, flowers.v2"),
        (["cifar100"], "./cifar100/train.parquet", None, None),
        (["", " "], "a Dataset object", None, None),
        ([], "uoft-cs/cifar100", SHA, None),
    ],
)
def test_a_candidate_that_was_trained_on_the_target_gets_a_note(names, dataset, revision, called):
    candidate = Candidate("user/model", SHA, license="mit", trained_on=tuple(names))
    assert trained_on_target(candidate, target(dataset, revision)) == called
    found = notes(candidate, target(dataset, revision))
    assert len(found) == (called is not None)
    assert not found or found[0].startswith(f"trained on {called}, according to its card or tags: ")


@pytest.mark.parametrize(
    ("license", "revision", "said"),
    [
        ("apache-2.0", SHA, []),
        ("openrail", SHA, []),
        ("ncsa", SHA, []),
        ("cc-by-nc-4.0", SHA, ["not for commercial use, according to its licence cc-by-nc-4.0"]),
        ("CC-BY-NC-SA-4.0", "sha256:1", ["not for commercial use, according to its licence CC-BY-NC-SA-4.0"]),
        ("deepfloyd-if-license", SHA, ["not for commercial use, according to its licence deepfloyd-if-license"]),
        (
            "My Non-Commercial License",
            SHA,
            ["not for commercial use, according to its licence My Non-Commercial License"],
        ),
        ("intel-research", SHA, ["not for commercial use, according to its licence intel-research"]),
        ("mit, cc-by-nc-2.0", SHA, ["not for commercial use, according to its licence cc-by-nc-2.0"]),
        ("other", SHA, ["licence “other”, so read its terms"]),
        ("unknown", "sha256:1", ["licence “unknown”, so read its terms"]),
        (None, SHA, ["no licence found on the card, so ask the authors what they allow"]),
        (None, "sha256:1", []),
        (None, None, []),
    ],
)
def test_licences_that_may_decide(license, revision, said):  # noqa: A002 - the attribute's name
    assert list(notes(Candidate("model", revision, license=license), target())) == said


def test_a_gated_candidate_gets_a_note():
    (only,) = notes(Candidate("model", SHA, license="mit", gated=True), target())
    assert only.startswith("gated, so everyone who uses it has to accept its terms")


def test_a_note_says_what_the_source_classes_of_a_zero_shot_candidate_are():
    told = Candidate("x", None, task="zero-shot-image-classification", source_labels=("a", "b"))
    assert [
        note.startswith("zero-shot: its source classes are prompts with your class names")
        for note in notes(told, target())
    ] == [True]
    assert notes(replace(told, source_labels=()), target()) == ()
    assert notes(replace(told, task="image-classification"), target()) == ()
