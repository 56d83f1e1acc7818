"""What to do after reading the verdict: load the first candidate, fine-tune the first few."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card.metadata import on_hub
from hf_leep.report.card.wording import ranked
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
_MOST_COSTS = 3  # candidates whose licence and cost are told


def loading(data: ReportData) -> str | None:
    """Python that loads the first candidate with a new head for the target's classes; None for a model in memory.

    Args:
        data: the content of report.json.
    """
    found = ranked(data)
    classes = _CLASSES.get(data["target"]["task"])
    if not found or classes is None or found[0][1]["revision"] is None:
        return None
    best = found[0][1]
    model, processor = classes
    where = json.dumps(plain(best["id"]), ensure_ascii=False)
    revision = f", revision={json.dumps(best['revision'])}" if on_hub(best["id"], best["revision"]) else ""
    pinned = f"    {revision[2:]},\n" if revision else ""
    return (
        f"from transformers import {', '.join(sorted((model, processor)))}\n\n"
        f"processor = {processor}.from_pretrained({where}{revision})\n"
        f"model = {model}.from_pretrained(\n"
        f"    {where},\n"
        f"{pinned}"
        f"    num_labels={data['target']['num_classes']},\n"
        "    ignore_mismatched_sizes=True,  # a new head\n"
        ")"
    )


def costs(data: ReportData, name: Callable[[str], str]) -> list[tuple[str, str]]:
    """Licence, size and time of the pass, of the first candidate and of those that may be as good.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    found = ranked(data, name)
    tied = [one for place, one in enumerate(found) if place == 0 or not told_apart(found[0][1], one[1])]
    return [(written, _cost(candidate)) for written, candidate in tied[:_MOST_COSTS]]


def _cost(candidate: RankedData) -> str:
    parts: Sequence[str] = [
        f"licence {plain(candidate['license'])}" if candidate["license"] else "no licence stated",
        f"{count(candidate['num_parameters'])} parameters" if candidate["num_parameters"] else "",
        f"{duration(candidate['run']['seconds'])} for its pass on {plain(candidate['run']['device'])}"
        if candidate["run"]
        else "",
    ]
    return ", ".join(part for part in parts if part)
