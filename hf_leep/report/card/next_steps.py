"""What to do after reading the verdict: load the first candidate, fine-tune the first few."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.card.metadata import on_hub, target_on_hub
from hf_leep.report.card.verdict import to_take
from hf_leep.report.card.wording import ranked, to_choose_from
from hf_leep.report.letters import told_apart
from hf_leep.report.schema import ReportData
from hf_leep.text import count, duration, plain

_CLASSES = {
    "image-classification": ("AutoModelForImageClassification", "AutoImageProcessor"),
    "text-classification": ("AutoModelForSequenceClassification", "AutoTokenizer"),
    "token-classification": ("AutoModelForTokenClassification", "AutoTokenizer"),
    "audio-classification": ("AutoModelForAudioClassification", "AutoFeatureExtractor"),
    "video-classification": ("AutoModelForVideoClassification", "AutoImageProcessor"),
}  # task of the data → the classes of transformers that load a checkpoint to be fine-tuned, and its processor
_TOP, _BUDGET = 3, "20m"  # of fine-tuning
_MOST_COSTS = 3  # candidates whose licence and cost are told


@dataclass(frozen=True)
class Place:
    """Where the files of a report are.

    Attributes:
        folder: its folder, as a command names it; None if it is not known.
        repo_id: its repository on the Hub, OWNER/NAME; None where it is only a folder.
        repo_type: ``dataset`` or ``model``.
    """

    folder: str | None = None
    repo_id: str | None = None
    repo_type: str = "dataset"


def loading(data: ReportData) -> str | None:
    """Python that loads a candidate with a new head for the target's classes; None for a model in memory.

    It is the candidate that the verdict says to take, or else the first.

    Args:
        data: the content of report.json.
    """
    found = to_take(data)
    classes = _CLASSES.get(data["target"]["task"])
    if found is None or classes is None or found["revision"] is None:
        return None
    model, processor = classes
    name = json.dumps(plain(found["id"]), ensure_ascii=False)
    if on_hub(found["id"], found["revision"]):
        revision = f"revision={json.dumps(found['revision'])}"
        of_model, before = f"    {name},\n    {revision},\n", ""
        of_processor = f"\n{of_model}"
    else:
        of_processor, of_model = "folder", "    folder,\n"
        before = f"folder = {name}  # a local checkpoint: give its path\n"
    return (
        f"from transformers import {', '.join(sorted((model, processor)))}\n\n"
        f"{before}"
        f"processor = {processor}.from_pretrained({of_processor})\n"
        f"model = {model}.from_pretrained(\n"
        f"{of_model}"
        f"    num_labels={data['target']['num_classes']},\n"
        "    ignore_mismatched_sizes=True,  # a new head\n"
        ")"
    )


def fine_tuning(data: ReportData, place: Place) -> tuple[str, str] | None:
    """How to fine-tune the first few: a sentence and commands, or Python; None where that is done, or one is alone.

    Only trained candidates are counted, and there is no such advice where there are none.

    Args:
        data: the content of report.json.
        place: where the report is.
    """
    first = [candidate for _, candidate in to_choose_from(data)][:_TOP]
    opinion = data["second_opinion"]
    joined = opinion is not None and opinion["best"] not in [candidate["id"] for candidate in first]
    if "fine_tuning" in data or len(first) + joined < 2 or first[0]["untrained"]:
        return None
    folder = _folder(place)
    said = "To be sure, fine-tune the first few within a time budget"
    in_memory = data["target"]["dataset"].endswith(" object")
    if any(candidate["revision"] is None for candidate in first):
        given = ", dataset=dataset" if in_memory else ""
        return (
            f"{said}, with the models in memory that were ranked:",
            f"tuning = hf_leep.FineTuning(top={len(first)}, budget={_BUDGET!r})\n"
            f"report = hf_leep.validate({folder!r}, fine_tune=tuning, models=[(name, model, processor)]{given})\n"
            f"report.save({folder!r})",
        )
    command = f"hf-leep validate {shlex.quote(folder)} --fine-tune --top {len(first)} --budget {_BUDGET}"
    if in_memory:
        return f"{said}; PATH is where the rows that were ranked are saved:", f"{command} --dataset PATH"
    if place.repo_id is None:
        return f"{said}:", command
    if not (target_on_hub(data) and all(on_hub(candidate["id"], candidate["revision"]) for candidate in first)):
        return f"{said}, where the report was made:", command
    kind = " --repo-type dataset" if place.repo_type == "dataset" else ""
    return f"{said}:", f"hf download {place.repo_id}{kind} --local-dir {shlex.quote(folder)}\n{command}"


def explaining(place: Place) -> str:
    """The command that explains a candidate.

    Args:
        place: where the report is.
    """
    return f"hf-leep explain {shlex.quote(_folder(place))} NAME"


def _folder(place: Place) -> str:
    """What a command calls the folder of a report."""
    folder = place.repo_id.rpartition("/")[2] if place.repo_id else place.folder
    return folder if folder and plain(folder) == folder else "FOLDER"


def costs(data: ReportData, name: Callable[[str], str]) -> list[tuple[str, str]]:
    """Licence, size and time of the pass, of the first candidate and of those that may be as good.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    found = ranked(data, name)
    tied = [one for place, one in enumerate(found) if place == 0 or not told_apart(found[0][1], one[1])]
    return [(written, _cost(candidate)) for written, candidate in tied[:_MOST_COSTS]]


def _cost(candidate: CandidateData) -> str:
    parts: Sequence[str] = [
        f"licence {plain(candidate['license'])}" if candidate["license"] else "no licence stated",
        f"{count(candidate['num_parameters'])} parameters" if candidate["num_parameters"] else "",
        f"{duration(candidate['run']['seconds'])} for its pass on {plain(candidate['run']['device'])}"
        if candidate["run"]
        else "",
    ]
    return ", ".join(part for part in parts if part)
