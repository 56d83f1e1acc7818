"""The ranked card: README.md of a report."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from hf_leep.report.candidate_schema import CandidateData
from hf_leep.report.card import explanation, fine_tuning, next_steps, order, plots, second_opinion, validation, wording
from hf_leep.report.card.certificate import passed_sentence
from hf_leep.report.card.metadata import metadata, on_hub, subject
from hf_leep.report.card.race import race_rows, race_sentence
from hf_leep.report.card.verdict import doubts, headless_note, verdict
from hf_leep.report.letters import in_short
from hf_leep.report.schema import MeasureData, ReportData
from hf_leep.text import classes, code, count, duration, number, percent, plain, prose

if TYPE_CHECKING:
    import jinja2

_MOST_CLASSES, _MOST_EXAMPLES = 4, 6  # of the best and of the worst predicted classes, and of unexpected labels
_UNBROKEN = re.compile(r"[^\s-]+-?")  # what a browser keeps on one line
_PART_END = re.compile(r"(?<=[/_])(?=.)|(?<=\.)(?=[^\W\d])")
_MOST_UNBROKEN = 11  # characters, so that the short tables fit a phone
_HYPHENATED = {  # the long words of the short tables' headings, with soft hyphens
    word.replace("\u00ad", ""): word
    for word in (
        "accu\u00adracy",
        "PAC\u00adTran",
        "likeli\u00adhood",
        "regu\u00adlar\u00adised",
        "Dirich\u00adlet",
        "Gauss\u00adian",
        "Trans\u00adRate",
    )
}
_MOST_ROWS = 20  # of the short table
_MOST_SOURCES = 6  # of the most used source classes


def page(
    data: ReportData,
    repo_type: str = "dataset",
    licence: str = "unknown",
    space: str | None = None,
    place: next_steps.Place = next_steps.Place(),  # noqa: B008 - frozen
    shortened: bool = False,
) -> str:
    """Write the card as Markdown with the Hub's metadata block in front.

    Args:
        data: the content of report.json.
        repo_type: the kind of repository that it is written for, ``dataset`` or ``model``.
        licence: the id of the report's licence on the Hub, such as ``cc-by-4.0``.
        space: address of the Space that shows report.html, if there is one.
        place: where the report is, for its commands.
        shortened: whether the command of the run lost its paths, which report.json has.
    """
    block, data = metadata(data, repo_type, licence), _escaped(data)
    rows = [_row(data, candidate, name) for name, candidate in wording.named(data)]
    ranked = [row for row in rows if row["rank"] is not None]
    return _template().render(
        data=data,
        metadata=block,
        level=wording.level(data),
        examples=wording.examples(data),
        verdict=verdict(data, code),
        auto=order.auto_sentence(data),
        ranked=ranked,
        letters_in_short=any("–" in str(row["tie_letters"]).strip("–") for row in ranked),
        letters_unknown=any(row["tie_letters"] == "–" for row in ranked),
        entropy_explained=wording.entropy_explained_cells([candidate for _, candidate in wording.ranked(data)]),
        heads=_breakable_cells(second_opinion.head_cells([candidate for _, candidate in wording.ranked(data)])),
        short_heads=_breakable_cells(
            second_opinion.head_cells([c for _, c in wording.ranked(data)], with_error=False)
        ),
        stated=wording.stated_cells([candidate for _, candidate in wording.ranked(data)], code),
        left_out=[row for row in rows if row["rank"] is None],
        measures=[data["measure_details"][name] for name in data["measures"]],
        order=wording.title(data, data["sort_by"]),
        short_order=_hyphenated(wording.title(data, data["sort_by"])),
        checked_by=wording.title(data, data["checked_by"]) if data["checked_by"] else None,
        best_by=wording.title(data, data["best_by"]),
        doubts=doubts(data),
        loading=next_steps.loading(data),
        fine_tuning=next_steps.fine_tuning(data, place),
        explaining=next_steps.explaining(place),
        costs=next_steps.costs(data, code),
        meaning=wording.meaning(data),
        sort_unit=prose(data["measure_details"][data["sort_by"]]["unit"]),
        most_rows=_MOST_ROWS,
        subject=subject(data),
        headless=headless_note(data),
        notes=wording.notes(data, code),
        warnings=wording.warnings(data, code),
        why=_why(data),
        from_store=sum(c["run"] is not None and c["run"]["from_store"] for c in data["candidates"]),
        certificate=passed_sentence(data),
        interactive=repo_type == "dataset",
        shortened=shortened,
        space=space,
        plots={name: prose(finding) for name, finding in plots.findings(data).items()},
        **_race(data),
        **_order_holds(data),
        validation=_validation(data) if "validation" in data else None,
        fine_tuned=_fine_tuned(data) if "fine_tuning" in data else None,
        code=code,
        prose=prose,
        plain=plain,
        number=number,
        percent=percent,
        classes=classes,
        count=count,
        duration=duration,
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - Markdown, not HTML: each name goes through code() or prose()
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(files("hf_leep.report.card").joinpath("page.md.jinja").read_text(encoding="utf-8"))


def _escaped(data: ReportData) -> ReportData:
    """The report with its texts about measures and checks escaped, so that they are safe inside sentences."""
    certificate = data["certificate"]
    changed = {
        "measure_details": {name: _escaped_measure(found) for name, found in data["measure_details"].items()},
        "baselines": [{**baseline, "name": prose(baseline["name"])} for baseline in data["baselines"]],
        "certificate": certificate
        and {
            **certificate,
            "failed": list(map(prose, certificate["failed"])),
            "unchecked": list(map(prose, certificate["unchecked"])),
        },
    }
    return cast(ReportData, {**data, **changed})


def _escaped_measure(found: MeasureData) -> MeasureData:
    texts = {key: prose(found[key]) for key in ("title", "unit", "reference", "summary")}
    return cast(MeasureData, {**found, **texts})


def _row(data: ReportData, candidate: CandidateData, name: str) -> dict[str, object]:
    """A candidate with the cells of its row."""
    return {
        **candidate,
        "name": _linked(candidate, code(name)),
        "narrow_name": _linked(candidate, _narrow(name)),
        "place": _place(candidate),
        "score": _breakable(wording.with_interval(candidate["scores"].get(data["sort_by"]))),
        "cells": [_cell(candidate, measure, data["sort_by"]) for measure in data["measures"]],
        "behind": "–" if candidate["rank"] == 1 else _breakable(wording.with_error(candidate["behind_best"])),
        "tie_letters": in_short(candidate),
        "rank_range": wording.rank_range(candidate),
        "chance": wording.chance(data, candidate),
        "head_note": second_opinion.head_note(candidate),
    }


def _race(data: ReportData) -> dict[str, object]:
    """What the template needs for the race."""
    return {
        "race": race_sentence(data),
        "race_rows": race_rows(data, code),
        "race_by": wording.title(data, data["race"]["decided_by"]) if data["race"] else None,
        "num_compared": wording.num_compared(data),
        "num_ranked": sum(1 for _ in wording.ranked(data)),
    }


def _order_holds(data: ReportData) -> dict[str, object]:
    """What the template needs for the section about whether the order holds."""
    return {
        "consensus": order.consensus(data, code),
        "agreement": order.agreement_table(data),
        "calibration": order.calibration_rows(data, code),
        "calibration_sentence": order.calibration_sentence(data),
        "bands": order.band_rows(data, code),
        "size_sentence": order.size_sentence(data),
        "baseline_sentence": order.baseline_sentence(data),
    }


def _validation(data: ReportData) -> dict[str, object]:
    """What the template needs for the trained heads."""
    return {
        "method": validation.method(data),
        "sentences": validation.sentences(data, code),
        "headings": validation.TRIAL_HEADINGS,
        "trials": validation.trial_rows(data, code),
        "failures": validation.failures(data, code),
        "agreement_headings": validation.AGREEMENT_HEADINGS,
        "agreement": validation.agreement_rows(data),
    }


def _fine_tuned(data: ReportData) -> dict[str, object]:
    """What the template needs for the fine-tuned shortlist."""
    return {
        "method": fine_tuning.method(data),
        "remarks": fine_tuning.remarks(data, code),
        "headings": list(map(_hyphenated, fine_tuning.HEADINGS)),
        "rows": [[*cells[:2], *map(_breakable, cells[2:])] for cells in fine_tuning.rows(data, _narrow)],
        "num_short": fine_tuning.NUM_SHORT,
        "notes": fine_tuning.notes(data, code),
        "agreement_headings": fine_tuning.AGREEMENT_HEADINGS,
        "agreement": fine_tuning.agreement_rows(data),
    }


def _why(data: ReportData) -> dict[str, object] | None:
    """The explanation of the best candidate that has one, as far as a page has room."""
    first = None
    names = {candidate["rank"]: name for name, candidate in wording.ranked(data)}
    for name, candidate in wording.ranked(data, code):
        found = candidate["explanation"]
        if found is not None:
            return {
                "name": name,
                "plain": _entities(names[candidate["rank"]]),
                "first": first,
                "rank": candidate["rank"],
                "ran": f"{candidate['num_examples']:,}" if candidate["stopped"] else None,
                "useless": explanation.USELESS if found["prior_weight"] is None else None,
                "classes": explanation.best_and_worst_rows(found, _MOST_CLASSES, code),
                "sources": explanation.source_rows(found, _MOST_SOURCES, code),
                "examples": explanation.example_rows(found["examples"][:_MOST_EXAMPLES], code),
                "example_headings": explanation.EXAMPLE_HEADINGS,
            }
        if first is None:
            reason = prose(explanation.why_unexplained(data, candidate))
            first = f"{name} ranks first, but has no explanation: {reason}."
    return None


def _entities(name: str) -> str:
    """A name inside HTML, where a renderer may read Markdown or not: whatever either could mean is an entity."""
    return "".join(c if c.isalnum() or c in " -./" else f"&#{ord(c)};" for c in plain(name))


def _cell(candidate: CandidateData, measure: str, sort_by: str) -> str:
    """A score, with its error if it makes the order; the errors of all would not fit on a page."""
    score = candidate["scores"].get(measure)
    return (
        _breakable(wording.with_interval(score)) if measure == sort_by else number(score["value"] if score else None)
    )


def _place(candidate: CandidateData) -> str:
    """A rank with its tie letters, on one line if that is short."""
    rank, letters = str(candidate["rank"]), in_short(candidate)
    return f"{rank}\u00a0{letters}" if len(rank + letters) == 2 else f"{rank} {letters.replace(',', ',<wbr>')}"


def _breakable(cell: str) -> str:
    """Let a phone break a score before its error, but nowhere else."""
    return cell.replace("± ", "±\u00a0").replace(" %", "\u00a0%")


def _breakable_cells(cells: list[str] | None) -> list[str] | None:
    return cells and [_breakable(cell) for cell in cells]


def _hyphenated(heading: str) -> str:
    """A heading in which a phone may break the long words."""
    return " ".join("-".join(_HYPHENATED.get(part, part) for part in word.split("-")) for word in heading.split(" "))


def _narrow(name: str) -> str:
    """A name as code; if a phone could not break it, as HTML that allows it after its parts or every few letters."""
    text = plain(name)
    if all(len(found) <= _MOST_UNBROKEN for found in _UNBROKEN.findall(text)):
        return code(name)
    return f"<code>{_UNBROKEN.sub(lambda found: '<wbr>'.join(map(_entities, _pieces(found[0]))), text)}</code>"


def _pieces(text: str) -> list[str]:
    """The parts of a text, the long ones in as few pieces of about the same length as a phone needs."""
    if len(text) <= _MOST_UNBROKEN:
        return [text]
    found = []
    for part in _PART_END.split(text):
        size = -(-len(part) // -(-len(part) // _MOST_UNBROKEN))
        found += [part[k : k + size] for k in range(0, len(part), size)]
    return found


def _linked(candidate: CandidateData, written: str) -> str:
    """A candidate's name, linked to the revision that was scored if it came from the Hub."""
    if on_hub(candidate["id"], candidate["revision"]):
        return f"[{written}](https://huggingface.co/{candidate['id']}/tree/{candidate['revision']})"
    return written
