"""What the Hub reads from a card: its metadata block, and the model-index of a candidate's own card."""

from __future__ import annotations

import math
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from hf_leep.errors import one_line
from hf_leep.report.candidate_schema import CandidateData, RankedData
from hf_leep.report.card.wording import title
from hf_leep.report.schema import ReportData, is_ranked
from hf_leep.text import code, plain

if TYPE_CHECKING:
    from huggingface_hub import CardData

Yaml: TypeAlias = dict[str, object]  # a mapping of a card's metadata

_SOURCE = "hf_leep"  # marks our own entries in a model-index
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", flags=re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATH = re.compile(r"(/|~|\.{1,2}/|[A-Za-z]:[\\/]|\\\\)")


def on_hub(name: object, revision: object) -> bool:
    """Whether a name and a revision are those of a repository on the Hub; a local folder has no commit."""
    return bool(_REPO_ID.fullmatch(str(name)) and _COMMIT.fullmatch(str(revision)))


def target_on_hub(data: ReportData) -> bool:
    """Whether a report's data set is on the Hub."""
    return on_hub(data["target"]["dataset"], data["target"]["revision"])


def subject(data: ReportData) -> str:
    """What to call a report's data set in a title: its id on the Hub, or the last part of its path."""
    name = data["target"]["dataset"]
    return plain(name if target_on_hub(data) else PurePath(name).name or name)


def ranked_on_hub(data: ReportData) -> list[RankedData]:
    """The ranked candidates that are public repositories on the Hub, best first, each once."""
    found: dict[str, RankedData] = {}
    for candidate in data["candidates"]:
        if is_ranked(candidate) and not candidate["private"] and on_hub(candidate["id"], candidate["revision"]):
            found.setdefault(candidate["id"], candidate)
    return list(found.values())


def private_names(data: ReportData) -> list[str]:
    """Private repositories that a report names as candidates."""
    return list(dict.fromkeys(plain(c["id"]) for c in data["candidates"] if c["private"]))


def local_names(data: ReportData) -> list[str]:
    """Local paths that a report names: of its data set, of its candidates, and in its commands."""
    names = [data["target"]["dataset"]] if not target_on_hub(data) else []
    names = [name for name in names if _PATH.match(name) or name.count("/") > 1]
    for candidate in data["candidates"]:
        name, revision = candidate["id"], str(candidate["revision"])
        if revision.startswith("sha256:") or _PATH.match(name) or name.count("/") > 1:
            names.append(name)
    command = " ".join(filter(None, (data["run"]["command"], data["headless"]["command"])))
    names += [word for quoted in command.split() if _PATH.match(word := quoted.split("=")[-1].strip("'\""))]
    return list(dict.fromkeys(map(plain, names)))


def metadata(data: ReportData, repo_type: str, licence: str) -> str:
    """Write a card's metadata as YAML, without the dashes around it.

    It leaves out the candidates, which the page links: the Hub takes several models under ``base_model`` for a merge.

    Args:
        data: the content of report.json.
        repo_type: ``dataset`` for a repository with the scores, ``model`` for a model card without weights.
        licence: the id of the report's licence on the Hub.
    """
    from huggingface_hub import DatasetCardData, ModelCardData

    task = data["target"]["task"]
    sources = [data["target"]["dataset"]] if target_on_hub(data) else None
    tags = ["hf_leep", "transferability", "leep"]
    card: CardData
    if repo_type == "model":
        card = ModelCardData(
            datasets=sources,
            license=licence,
            library_name="hf_leep",
            metrics=list(data["measures"]),
            tags=[*tags, task],
        )
    else:
        card = DatasetCardData(
            pretty_name=f"Checkpoints ranked for {sources[0]}" if sources else "Checkpoints ranked for a data set",
            license=licence,
            size_categories=_size_category(len(data["candidates"])),
            source_datasets=sources,
            task_categories=[task],
            tags=tags,
            configs=[{"config_name": "default", "data_files": "scores.parquet"}],
        )
    text: str = card.to_yaml()
    return text


def space_page(data: ReportData, repo_id: str, repo_type: str, licence: str) -> str:
    """Write the README.md of a static Space that shows a report.

    Args:
        data: the content of report.json.
        repo_id: the repository with the report, OWNER/NAME.
        repo_type: ``dataset`` or ``model``.
        licence: the id of the report's licence on the Hub.
    """
    from huggingface_hub import SpaceCardData

    kind = "datasets/" if repo_type == "dataset" else ""
    block = SpaceCardData(
        title="Which checkpoint to fine-tune",
        emoji="🐸",
        colorFrom="green",
        colorTo="blue",
        sdk="static",
        app_file="index.html",
        pinned=False,
        license=licence,
        tags=["hf_leep", "transferability", "leep"],
        short_description="Checkpoints ranked by hf_leep",
        datasets=[repo_id] if repo_type == "dataset" else None,
        models=[repo_id] if repo_type == "model" else None,
    ).to_yaml()
    return (
        f"---\n{block}\n---\n\nCheckpoints ranked for {code(subject(data))} by hf_leep. The report: "
        f"[{repo_id}](https://huggingface.co/{kind}{repo_id}).\n"
    )


def _size_category(num_rows: int) -> str:
    """The Hub's name for a number of rows; a report has a row for each candidate."""
    return "n<1K" if num_rows < 1_000 else "1K<n<10K" if num_rows < 10_000 else "10K<n<100K"


def annotation_title(data: ReportData) -> str:
    """Title of a pull request that adds a report's scores to a candidate's card; it is the same for the same rows."""
    target = data["target"]
    where = (target["dataset"], target["config"], target["split"])
    return f"hf_leep: transferability to {' '.join(plain(part) for part in where if part)}"[:200]


def annotated(content: str, data: ReportData, candidate: CandidateData, source: str) -> str:
    """Add a candidate's scores to the model-index of its own card, and leave everything else in the card unchanged.

    An earlier entry of hf_leep for the same data set, configuration and split is replaced.

    Args:
        content: the card's text; empty if there is no card.
        data: the content of report.json; its data set is on the Hub.
        candidate: one of its ranked candidates.
        source: URL of the report.

    Raises:
        ValueError: the card's metadata cannot be read, its model-index is not a list of models with results, or the
            candidate has no finite score.
    """
    from huggingface_hub import RepoCard
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if not REGEX_YAML_BLOCK.search(content):
        content = f"---\n\n---\n{content}"
    try:
        card = RepoCard(content)
    except Exception as error:  # whatever the YAML reader raises means that it cannot be read
        raise ValueError(f"its card's metadata cannot be read ({one_line(error)})") from None
    index = card.data.get("model-index") or [{"name": candidate["id"].split("/")[-1], "results": []}]
    if not _is_index(index):
        raise ValueError("its card's model-index is not a list of models with results")
    entry = _entry(data, candidate, source)
    earlier = [
        (results, position)
        for results in (model["results"] for model in index)
        for position, other in enumerate(results)
        if _replaces(entry, other)
    ]
    if earlier:
        results, position = earlier[0]
        results[position] = entry
    else:
        index[0]["results"].append(entry)
    card.data["model-index"] = index
    return str(card.content)


def _entry(data: ReportData, candidate: CandidateData, source: str) -> Yaml:
    """One result of a model-index: every finite score of a candidate."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    target = data["target"]
    task = target["task"]
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
            metric_name=title(data, measure),
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
    entry: Yaml = eval_results_to_model_index("", results)[0]["results"][0]
    return entry


def _is_index(found: object) -> TypeGuard[list[dict[str, list[object]]]]:
    """Whether this is a list of models with results."""
    return isinstance(found, list) and all(
        isinstance(model, dict) and isinstance(model.get("results"), list) for model in found
    )


def _replaces(entry: Yaml, other: object) -> bool:
    """Whether an entry of a model-index is an earlier one of hf_leep for the same rows."""
    if not isinstance(other, dict) or not isinstance(other.get("source"), dict):
        return False
    own, found = entry["dataset"], other.get("dataset")
    return (
        other["source"].get("name") == _SOURCE
        and isinstance(own, dict)
        and isinstance(found, dict)
        and all(own.get(key) == found.get(key) for key in ("type", "config", "split"))
    )
