"""The ranked card: README.md of a report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from hf_leep.measures import MEASURES
from hf_leep.report.card import explanation, order, validation, wording
from hf_leep.report.card.certificate import passed_sentence
from hf_leep.report.card.metadata import metadata, on_hub
from hf_leep.report.card.race import race_rows, race_sentence
from hf_leep.report.card.verdict import disagreement, headless_note, verdict
from hf_leep.text import classes, code, count, duration, number, plain, prose

_MOST_CLASSES, _MOST_EXAMPLES = 4, 6  # on a page: of the best and of the worst served, and of the hardest
_MOST_SOURCES = 6  # of the most used source classes


def page(data: Mapping[str, Any], repo_type: str = "dataset") -> str:
    """Write the card as Markdown with the Hub's metadata block in front.

    Args:
        data: the content of report.json.
        repo_type: the kind of repository that it is written for, ``dataset`` or ``model``.
    """
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML: each name goes through code() or prose()
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(
        files("hf_leep.report.card").joinpath("page.md.jinja").read_text(encoding="utf-8")
    )
    names = wording.short_names(data["candidates"])
    rows = [
        {
            **candidate,
            "name": _linked(candidate, name),
            "cells": [_cell(candidate, measure, data["sort_by"]) for measure in data["measures"]],
            "behind": _behind(candidate),
            "places": wording.places(candidate),
            "chance": wording.chance(data, candidate),
        }
        for name, candidate in zip(names, data["candidates"], strict=True)
    ]
    ranked = [row for row in rows if row["rank"] is not None]
    return template.render(
        data=data,
        streamed=bool(data["target"].get("streamed")),
        sentences=data["target"].get("num_sentences"),
        examples=wording.examples(data),
        metadata=metadata(data, repo_type),
        ranked=ranked,
        explained=wording.explained_cells(data, ranked),
        left_out=[row for row in rows if row["rank"] is None],
        measures=[MEASURES[name] for name in data["measures"] if name in MEASURES],
        verdict=verdict(data, code),
        disagreement=disagreement(data),
        auto=order.auto_sentence(data),
        race=race_sentence(data),
        race_rows=race_rows(data, code),
        race_by=wording.title(data["race"]["decided_by"]) if data.get("race") else None,
        headless=headless_note(data),
        consensus=order.consensus(data, code),
        agreement=order.agreement_table(data),
        calibration=order.calibration_rows(data, code),
        calibration_sentence=order.calibration_sentence(data) if data.get("calibration") else None,
        bands=order.band_rows(data, code),
        size_sentence=order.size_sentence(data),
        validation=_validation(data) if data.get("validation") else None,
        baseline_sentence=order.baseline_sentence(data),
        sure=wording.title(data["best_by"]) if data.get("best_by") else None,
        num_compared=wording.num_compared(data),
        why=_why(data, names),
        warnings={
            warning: wording.listed(who, data, code) for warning, who in wording.repeated_warnings(data).items()
        },
        notes={note: wording.listed(who, data, code) for note, who in wording.repeated_notes(data).items()},
        from_store=sum(bool(row["run"] and row["run"].get("from_store")) for row in rows),
        certificate=passed_sentence(data),
        code=code,
        prose=prose,
        plain=plain,
        number=number,
        classes=classes,
        count=count,
        duration=duration,
    )


def _validation(data: Mapping[str, Any]) -> dict[str, Any]:
    """What came of training heads."""
    return {
        "method": validation.method(data),
        "sentences": validation.sentences(data, code),
        "headings": validation.TRIAL_HEADINGS,
        "trials": validation.trial_rows(data, code),
        "failures": validation.failures(data, code),
        "agreement_headings": validation.AGREEMENT_HEADINGS,
        "agreement": validation.agreement_rows(data),
    }


def _why(data: Mapping[str, Any], names: list[str]) -> dict[str, Any] | None:
    """The explanation of the best candidate that has one, as far as a page has room."""
    first = None
    for name, candidate in zip(names, data["candidates"], strict=True):
        if candidate["rank"] is None:
            continue
        found = candidate.get("explanation")
        if found:
            ran = candidate["num_examples"] if candidate.get("stopped") else None
            return {
                "name": code(name),
                "first": first,
                "rank": candidate["rank"],
                "ran": None if ran is None else f"{ran:,}",
                "useless": explanation.NO_USE if found["prior_weight"] is None else None,
                "classes": explanation.served_rows(found, _MOST_CLASSES, code),
                "sources": explanation.source_rows(found, _MOST_SOURCES, code),
                "examples": explanation.example_rows(found["examples"][:_MOST_EXAMPLES], code),
            }
        if first is None:
            reason = prose(explanation.unexplained(data, candidate))
            first = f"{code(name)} comes first, but nothing explains it: {reason}."
    return None


def _cell(candidate: Mapping[str, Any], measure: str, sort_by: str) -> str:
    """A score, with its error where it makes the order: more would not fit a page."""
    score = candidate["scores"].get(measure)
    return _whole(wording.with_error(score)) if measure == sort_by else number(score["value"] if score else None)


def _behind(candidate: Mapping[str, Any]) -> str:
    return "–" if candidate["rank"] in (1, None) else _whole(wording.with_error(candidate["behind_best"]))


def _whole(cell: str) -> str:
    """Keep a score and its error on one line."""
    return cell.replace(" ", "\u00a0")


def _linked(candidate: Mapping[str, Any], name: str) -> str:
    """A candidate's name, linked to the revision that was scored if it came from the Hub."""
    if on_hub(candidate["id"], candidate["revision"]):
        return f"[{code(name)}](https://huggingface.co/{candidate['id']}/tree/{candidate['revision']})"
    return code(name)
