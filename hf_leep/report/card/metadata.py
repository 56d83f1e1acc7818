"""What the Hub reads of a card: its metadata block, and scores in the model-index of a candidate's own card."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_leep.errors import one_line
from hf_leep.report.card.wording import title
from hf_leep.text import plain

if TYPE_CHECKING:
    from huggingface_hub import CardData

TASKS = {modality: f"{modality}-classification" for modality in ("image", "audio", "text", "token", "video")}
_SOURCE = "hf_leep"  # by which entries of ours are known
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", flags=re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATH = re.compile(r"(/|~|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)")


def on_hub(name: object, revision: object) -> bool:
    """Whether a name and revision are a repository's on the Hub: a local folder has no commit."""
    return bool(_REPO_ID.fullmatch(str(name)) and _COMMIT.fullmatch(str(revision)))


def target_on_hub(data: Mapping[str, Any]) -> bool:
    """Whether a report's data set is on the Hub."""
    return on_hub(data["target"]["dataset"], data["target"]["revision"])


def ranked_on_hub(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ranked candidates that are public repositories on the Hub, best first, each once."""
    found: dict[str, Mapping[str, Any]] = {}
    for candidate in data["candidates"]:
        if (
            candidate["rank"] is not None
            and not candidate.get("private")
            and on_hub(candidate["id"], candidate["revision"])
        ):
            found.setdefault(candidate["id"], candidate)
    return list(found.values())


def private_names(data: Mapping[str, Any]) -> list[str]:
    """Private repositories that a report names as candidates."""
    return list(dict.fromkeys(plain(c["id"]) for c in data["candidates"] if c.get("private")))


def local_names(data: Mapping[str, Any]) -> list[str]:
    """Paths of this machine that a report names: of its data set, its candidates, and in its command."""
    names = [data["target"]["dataset"]] if not target_on_hub(data) else []
    names = [name for name in names if _PATH.match(name) or name.count("/") > 1]
    for candidate in data["candidates"]:
        name, revision = str(candidate["id"]), str(candidate["revision"])
        if revision.startswith("sha256:") or _PATH.match(name) or name.count("/") > 1:
            names.append(name)
    command = " ".join(filter(None, (data["run"]["command"], data["headless"]["command"])))
    names += [word for quoted in command.split() if _PATH.match(word := quoted.split("=")[-1].strip("'\""))]
    return list(dict.fromkeys(map(plain, names)))


def metadata(data: Mapping[str, Any], repo_type: str) -> str:
    """Write a card's metadata as YAML, without the dashes around it.

    Args:
        data: the content of report.json.
        repo_type: ``dataset`` for a repository of scores, ``model`` for a card without weights.
    """
    from huggingface_hub import DatasetCardData, ModelCardData

    task = TASKS.get(data["target"]["modality"])
    sources = [data["target"]["dataset"]] if target_on_hub(data) else None
    tags = ["hf_leep", "transferability", "leep"]
    card: CardData
    if repo_type == "model":
        card = ModelCardData(
            base_model=[candidate["id"] for candidate in ranked_on_hub(data)] or None,
            datasets=sources,
            library_name="hf_leep",
            metrics=list(data["measures"]),
            tags=tags + ([task] if task else []),
        )
    else:
        card = DatasetCardData(
            source_datasets=sources,
            task_categories=[task] if task else None,
            tags=tags,
            configs=[{"config_name": "default", "data_files": "scores.parquet"}],
        )
    text: str = card.to_yaml()
    return text


def annotation_title(data: Mapping[str, Any]) -> str:
    """What to call a pull request that adds a report's scores to a candidate's card: the same for the same rows."""
    target = data["target"]
    where = (target["dataset"], target["config"], target["split"])
    return f"hf_leep: transferability to {' '.join(plain(part) for part in where if part)}"[:200]


def annotated(content: str, data: Mapping[str, Any], candidate: Mapping[str, Any], source: str) -> str:
    """Put a candidate's scores into the model-index of its own card; what others wrote there stays as it is.

    An earlier entry of ours for the same data set, configuration and split is replaced.

    Args:
        content: the card as it is; empty if there is none.
        data: the content of report.json; its data set is on the Hub.
        candidate: one of its ranked candidates.
        source: address of the report.

    Raises:
        ValueError: the card's metadata cannot be read, its model-index is no list of models with results, or the
            candidate has no finite score.
    """
    from huggingface_hub import RepoCard
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if not REGEX_YAML_BLOCK.search(content):
        content = f"---\n\n---\n{content}"
    try:
        card = RepoCard(content)
    except Exception as error:  # whatever the YAML reader raises means that it cannot be read
        raise ValueError(f"its card's metadata cannot be read: {one_line(error)}") from None
    index = card.data.get("model-index") or [{"name": candidate["id"].split("/")[-1], "results": []}]
    if not isinstance(index, list) or not all(map(_is_model, index)):
        raise ValueError("its card's model-index is no list of models with results")
    entry = _entry(data, candidate, source)
    places = [
        (results, position)
        for results in (model["results"] for model in index)
        for position, old in enumerate(results)
        if _replaces(entry, old)
    ]
    if places:
        results, position = places[0]
        results[position] = entry
    else:
        index[0]["results"].append(entry)
    card.data["model-index"] = index
    return str(card.content)


def _entry(data: Mapping[str, Any], candidate: Mapping[str, Any], source: str) -> dict[str, Any]:
    """One result of a model-index: every finite score of a candidate."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    target = data["target"]
    task = TASKS.get(target["modality"], "other")
    scores = {
        measure: score
        for measure, score in candidate["scores"].items()
        if score["value"] is not None and math.isfinite(score["value"])
    }
    if not scores:
        raise ValueError("it has no finite score")
    results = [
        EvalResult(
            task_type=task,
            task_name=task.replace("-", " ").capitalize(),
            dataset_type=target["dataset"],
            dataset_name=target["dataset"],
            dataset_config=target["config"],
            dataset_split=target["split"],
            dataset_revision=target["revision"],
            metric_type=measure,
            metric_name=title(measure),
            metric_value=score["value"],
            metric_args={
                "standard_error": score["standard_error"],
                "num_examples": target["num_examples"],
                "model_revision": candidate["revision"],
                "hf_leep": data["run"]["versions"].get("hf-leep"),
            },
            source_name=_SOURCE,
            source_url=source,
        )
        for measure, score in scores.items()
    ]
    entry: dict[str, Any] = eval_results_to_model_index("", results)[0]["results"][0]
    return entry


def _is_model(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("results"), list)


def _replaces(entry: Mapping[str, Any], other: object) -> bool:
    """Whether an entry of a model-index is an earlier one of ours for the same rows."""
    if not isinstance(other, dict) or not isinstance(other.get("source"), dict):
        return False
    mine, theirs = entry["dataset"], other.get("dataset")
    return (
        other["source"].get("name") == _SOURCE
        and isinstance(theirs, dict)
        and all(mine.get(key) == theirs.get(key) for key in ("type", "config", "split"))
    )
