"""The journal of a comparison where the disk is full, or the file is damaged: a real file, and a real full device."""

import logging
from pathlib import Path

import numpy as np
import pytest

from hf_leep.training.journal import Journal, Outcome, Trial

FULL = Path("/dev/full")
ABOUT = {"rows": "x"}


def trial(number):
    return Trial(candidate=f"net-{number}", learning_rate=0.1, steps=3, seed=0, with_choosing=False)


def outcome(number):
    return Outcome(np.array([True, False]), loss=0.5, seconds_per_step=0.1, seconds=1.0 + number, micro_batch=2)


@pytest.mark.skipif(not FULL.exists(), reason="there is no full device here")
def test_what_a_full_disk_does_not_take_is_written_when_there_is_room_again(tmp_path, caplog):
    path, kept = tmp_path / "journal.jsonl", tmp_path / "kept"
    journal = Journal(path, ABOUT)
    journal.add(trial(0), outcome(0))
    path.rename(kept)
    path.symlink_to(FULL)
    with caplog.at_level(logging.WARNING, "hf_leep"):
        for number in (1, 2):
            journal.add(trial(number), outcome(number))
    assert [record.getMessage() for record in caplog.records] == [
        "the store cannot keep what is trained for now ([Errno 28] No space left on device)"
    ]
    assert journal.outcome(trial(2)).seconds == 3.0  # the comparison goes on
    path.unlink()
    with kept.open("a") as stream:
        stream.write('{"trial": {"candi')  # what was written of the first line
    kept.rename(path)
    journal.add(trial(3), outcome(3))
    again = Journal(path, ABOUT)
    assert [again.outcome(trial(number)).seconds for number in range(4)] == [1.0, 2.0, 3.0, 4.0]
    assert again.seconds == journal.seconds == 10.0


def test_a_line_that_was_written_twice_counts_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, ABOUT)
    journal.time("net-0", 0.1, 0.2, seconds=5.0)
    header, line = path.read_text().splitlines()
    path.write_text(f"{header}\n{line}\n\n{line}\n\xff{'[' * 100_000}\n", encoding="latin-1")
    assert Journal(path, ABOUT).seconds == 5.0
    assert Journal(path, ABOUT).timing("net-0") == (0.1, 0.2)


def test_a_journal_that_cannot_be_made_keeps_nothing_and_says_so(tmp_path, caplog):
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "journal.jsonl", ABOUT)
    assert caplog.messages == [
        f"the store cannot keep what is trained ([Errno 17] File exists: '{tmp_path / 'file'}')"
    ]
    journal.add(trial(0), outcome(0))
    assert journal.outcome(trial(0)).accuracy == 0.5
    assert len(caplog.messages) == 1  # it is not tried again
