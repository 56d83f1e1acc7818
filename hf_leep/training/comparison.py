"""Fine-tune a shortlist of a ranking's candidates on its rows, and describe what came of it for report.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from hf_leep import data, hub
from hf_leep.arrays import Integers
from hf_leep.data.content import digests_of
from hf_leep.errors import UserError, option
from hf_leep.inference.forward import accelerator
from hf_leep.inference.loader import Loader
from hf_leep.inference.processes import num_launched
from hf_leep.models import BY_NAME, MODALITIES
from hf_leep.options import Device, FineTuning
from hf_leep.records import Target
from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.validation_schema import FineTuningData
from hf_leep.store import Store
from hf_leep.training.display import Display
from hf_leep.training.fine_tune import Examples
from hf_leep.training.halving import compare
from hf_leep.training.journal import Journal
from hf_leep.training.records import Compared, Settings
from hf_leep.training.shortlist import identity, network_loader
from hf_leep.training.splitting import Split, split_rows
from hf_leep.training.summary import Judged, candidates_data

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hf_leep.models import Classifier
    from hf_leep.runs.plan import ModelInMemory
    from hf_leep.training.fine_tune import Network

TRAINING_VERSION = 1  # part of the key of a journal: raise it when trainings give other numbers than before


@dataclass(frozen=True, eq=False)
class Subject:
    """What is compared.

    Attributes:
        candidates: the shortlist.
        names: what to call each of them.
        joined: position of the one that is there by the second opinion alone; None without one.
        target: the examples.
        rows: its rows.
        models: models in memory by name.
    """

    candidates: Sequence[CandidateData]
    names: Sequence[str]
    joined: int | None
    target: Target
    rows: data.Rows
    models: Mapping[str, ModelInMemory]


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
        raise UserError(f"only {', '.join(others)} and {last} can be fine-tuned on, not {which}")
    if options.flip and target_modality != "image":
        raise UserError(f"{option('fine_tune.flip')} is for images, and these rows are of the kind {target_modality}")


def fine_tuned(
    subject: Subject,
    options: FineTuning,
    *,
    device: Device | None,
    store: Store,
    client: hub.Client,
    num_ranked: int,
    progress: bool,
) -> FineTuningData:
    """Fine-tune a shortlist.

    What has been trained is kept in the store, under a key of the rows, the candidates and the options: the same call
    after an interruption goes on where it stopped, with what is left of the budget.

    Args:
        subject: the shortlist and its rows.
        options: how.
        device: ``cpu``, ``cuda`` or ``mps``; None for the best one available.
        store: where the trainings are kept.
        client: how to reach the Hub.
        num_ranked: number of ranked candidates.
        progress: show progress on stderr.

    Returns:
        The section of report.json without the agreement of measures, which is empty.

    Raises:
        UserError: the rows cannot be fine-tuned on or are too few, the budget is too short, or the device is not
            available.
    """
    target = subject.target
    check(target.modality, options)
    on = accelerator(device)
    groups = np.unique(digests_of(subject.rows.dataset, target.input_columns, target.row_ids), return_inverse=True)[1]
    split = split_rows(target.labels if target.sentences is None else None, groups, target.seed)
    settings = Settings(budget=options.seconds, steps=options.steps, flip=options.flip, seed=target.seed)
    found, examples, seconds = _compared(subject, split, settings, on, store, client, progress)
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
        "device": on.device.type,
        "seconds": seconds,
        "candidates": candidates_data(subject.candidates, subject.joined, found, judged),
        "agreement": {},
    }


def _compared(
    subject: Subject,
    split: Split,
    settings: Settings,
    on: Accelerator,
    store: Store,
    client: hub.Client,
    progress: bool,
) -> tuple[list[Compared], Callable[[Integers], Integers], float]:
    """Run the comparison: what it found, what gives the examples of some rows, and the seconds of all trainings."""
    target = subject.target
    loader = Loader(subject.rows)
    loaded: list[Classifier] = []

    def load(candidate: CandidateData) -> Network:
        loaded.clear()  # before the next one is loaded: one network in memory at a time
        loaded.append(network_loader(candidate, target, client, subject.models)())
        return loaded[0]

    examples = Examples(
        lambda rows: loader.batch(loaded[0], rows.tolist()), loader.examples, target.labels, len(target.class_names)
    )
    about: dict[str, str | int | None] = {
        "training": TRAINING_VERSION,
        "rows": target.fingerprint,
        "candidates": "\n".join(identity(candidate, subject.models) for candidate in subject.candidates),
        "settings": repr(sorted(asdict(settings).items())),
        "device": on.device.type,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    key = store.key(about)
    with store.lock(key), Display(progress) as display:
        journal = Journal(store.journal(key), about)
        found = compare(
            {name: partial(load, one) for name, one in zip(subject.names, subject.candidates, strict=True)},
            examples,
            split,
            settings,
            on=on,
            journal=journal,
            joined=None if subject.joined is None else subject.names[subject.joined],
            tell=display.tell,
            advance=display.advance,
        )
    return found, loader.examples, journal.seconds
