"""Fine-tune a shortlist of a ranking's candidates on its rows, and describe what came of it for report.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import numpy as np

from hf_leep.data.content import digests_of
from hf_leep.errors import UserError, option
from hf_leep.inference.processes import num_launched
from hf_leep.inference.sampler import examples_of
from hf_leep.models import BY_NAME, MODALITIES
from hf_leep.options import FineTuning
from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.validation_schema import FineTuningData
from hf_leep.store import Store
from hf_leep.training.display import Display
from hf_leep.training.halving import compare
from hf_leep.training.journal import Journal
from hf_leep.training.records import Compared, Settings
from hf_leep.training.shortlist import identity
from hf_leep.training.splitting import Split, split_rows
from hf_leep.training.summary import Judged, candidates_data
from hf_leep.training.trainers import VERSION, Trainers


@dataclass(frozen=True, eq=False)
class Subject:
    """What is compared.

    Attributes:
        candidates: the shortlist.
        names: what to call each of them.
        joined: position of the one that is there by the second opinion alone; None without one.
        trainers: what trains them, on which rows.
    """

    candidates: Sequence[CandidateData]
    names: Sequence[str]
    joined: int | None
    trainers: Trainers


def check(target_modality: str, options: FineTuning) -> None:
    """Raise unless rows of a modality can be fine-tuned on.

    Raises:
        UserError: they cannot, or not with these options, or this is one of several processes.
    """
    if num_launched() > 1:
        raise UserError("fine-tuning runs in one process: start it without torchrun or accelerate launch")
    modality = BY_NAME.get(target_modality)
    if modality is None or not modality.trainable:
        *others, last = (known.unit for known in MODALITIES if known.trainable)
        which = target_modality if modality is None else modality.unit
        raise UserError(f"fine-tuning works with {', '.join(others)} and {last}, not with {which}")
    if options.flip and target_modality != "image":
        raise UserError(f"{option('fine_tune.flip')} is for images, and these rows are of the kind {target_modality}")


def fine_tuned(
    subject: Subject,
    options: FineTuning,
    *,
    store: Store,
    num_ranked: int,
    progress: bool,
) -> FineTuningData:
    """Fine-tune a shortlist.

    What has been trained is kept in the store, under a key of the rows, the candidates and the options: the same call
    after an interruption goes on where it stopped, with what is left of the budget.

    Args:
        subject: the shortlist and its rows.
        options: how.
        store: where the trainings are kept.
        num_ranked: number of ranked candidates.
        progress: show progress on stderr.

    Returns:
        The section of report.json without the agreement of measures, which is empty.

    Raises:
        UserError: the rows cannot be fine-tuned on or are too few, the budget is too short, or the device is not
            available.
        ProcessError: no worker can be started.
    """
    target, rows = subject.trainers.target, subject.trainers.rows
    check(target.modality, options)
    groups = np.unique(digests_of(rows.dataset, target.input_columns, target.row_ids), return_inverse=True)[1]
    split = split_rows(target.labels if target.sentences is None else None, groups, target.seed)
    settings = Settings(budget=options.seconds, steps=options.steps, flip=options.flip, seed=target.seed)
    device = subject.trainers.device(subject.candidates)
    found, seconds = _compared(subject, split, settings, device, store, progress)
    examples = partial(examples_of, rows.offsets)
    group_of = groups if target.sentences is None else groups[target.sentences]
    judged = Judged(group_of[examples(split.choose)], group_of[examples(split.judge)])
    return {
        "judged_by": "accuracy of the fine-tuned network on rows that chose nothing",
        "top": options.top,
        "num_ranked": num_ranked,
        "budget": options.seconds,
        "steps": options.steps,
        "flip": options.flip,
        "num_train": len(examples(split.train)),
        "num_choose": len(examples(split.choose)),
        "num_judge": len(examples(split.judge)),
        "device": device,
        "seconds": seconds,
        "candidates": candidates_data(subject.candidates, subject.joined, found, judged),
        "agreement": {},
    }


def _compared(
    subject: Subject, split: Split, settings: Settings, device: str, store: Store, progress: bool
) -> tuple[list[Compared], float]:
    """Run the comparison: what it found, and the seconds of all trainings."""
    trainers, shortlist = subject.trainers, dict(zip(subject.names, subject.candidates, strict=True))
    about: dict[str, str | int | None] = {
        "training": VERSION,
        "rows": trainers.target.fingerprint,
        "candidates": "\n".join(identity(candidate, trainers.models) for candidate in subject.candidates),
        "settings": repr(sorted(asdict(settings).items())),
        "device": device,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    if trainers.rows.reduced:
        about["decoded"] = "JPEGs at reduced size"
    key = store.key(about)
    with store.lock(key), Display(progress) as display:
        journal = Journal(store.journal(key), about)
        found = compare(
            {name: trainers.trainer(one) for name, one in shortlist.items()},
            split,
            settings,
            journal=journal,
            joined=None if subject.joined is None else subject.names[subject.joined],
            suspects=[name for name, one in shortlist.items() if trainers.is_suspect(one)],
            tell=display.tell,
            advance=display.advance,
        )
    return found, journal.seconds
