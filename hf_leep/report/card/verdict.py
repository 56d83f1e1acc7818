"""The answer in a few sentences, the same on the card, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hf_leep.report.candidate_schema import RankedData
from hf_leep.report.card import fine_tuning
from hf_leep.report.card.certificate import failed_sentence
from hf_leep.report.card.second_opinion import confirmation, contradiction
from hf_leep.report.card.wording import (
    chance,
    examples,
    leave_one_out,
    num_compared,
    rank_range,
    ranked,
    title,
    titles,
)
from hf_leep.report.schema import ReportData
from hf_leep.text import count, number, plain

_LIKELY, _MOST_LIKELY = 0.05, 4  # probability of being the best that is worth a mention, and how many are mentioned
_MOST_TIMES = 100  # times as many examples; a larger estimate would be too uncertain to print


def verdict(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """Say which candidate to take, and how certain that is.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    candidates = ranked(data, name)
    if not candidates:
        return [f"No candidate could be ranked: all {len(data['candidates'])} were refused or failed."]
    tried = fine_tuning.lead(data, name)
    said = [*tried, "What follows is from the scores, before any training."] if tried else []
    said += [text for text in (contradiction(data, name), failed_sentence(data)) if text]
    if _uninformative(data, [candidate for _, candidate in candidates]):
        said.append(
            "By leave-one-out LEEP, no candidate explains these labels measurably better than the class frequencies "
            f"alone. Treat the order as noise; try more {examples(data)} or other candidates."
        )
    said += [*_best(data, candidates), *_seen(data, candidates)]
    said += [text for text in (confirmation(data, name), _calibrated(data, candidates)) if text]
    return [*said, *settling(data)]


def _best(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """Which candidate is the best, or which may be."""
    measure, unit = title(data, data["sort_by"]), plain(data["measure_details"][data["sort_by"]]["unit"])
    name, best = candidates[0]
    value = number(best["scores"][data["sort_by"]]["value"]) + (f" {unit}" if unit else "")
    if len(candidates) == 1:
        return [f"{name} is the only candidate with a score: {measure} {value}."]
    tied = [(other, candidate) for other, candidate in candidates if candidate["tie_group"] == 1]
    if len(tied) > 1:
        extreme = "highest" if data["measure_details"][data["sort_by"]]["higher_is_better"] else "lowest"
        best_score = f"{name} has the {extreme} {measure}, {value}."
        return [*_tied(data, tied, len(candidates), best_score), *_chances(data, candidates)]
    second, gap = candidates[1][0], candidates[1][1]["behind_best"]
    said = [
        f"{name} comes first of {len(candidates)}, with {measure} {value}. It is ahead of the second, {second}, by "
        f"{number(gap['value'])} ± {number(gap['half_width'])}. Compared with each other candidate in turn, its lead "
        "is larger than the sampling error."
    ]
    if (best["rank_interval"] or [1, 1])[1] > 1:
        said.append(
            f"If all pairs are compared at once, these {examples(data)} leave it the ranks {rank_range(best)}."
        )
    return said


def _tied(data: ReportData, tied: Sequence[tuple[str, RankedData]], num_ranked: int, best_score: str) -> list[str]:
    """Which candidates may be the best, where several share the first tie group."""
    # In a long list each candidate is like its neighbours and the group has no end: name those that may be first.
    among = [(name, c) for name, c in tied if (c["rank_interval"] or [1])[0] == 1]
    listed = ", ".join(name for name, _ in among[:5]) + (f" and {len(among) - 5} more" if len(among) > 5 else "")
    if len(among) == len(tied):
        said = [
            f"The first {len(tied)} of {num_ranked} candidates form one tie group, because these {examples(data)} do "
            f"not settle their order: {listed}. {best_score}"
        ]
    else:
        said = [
            f"{len(among)} of {num_ranked} candidates may be the best, according to these {examples(data)}: {listed}. "
            f"{best_score} The tie group reaches down to place {len(tied)}, because each candidate is close to its "
            "neighbours; the ranks say more."
        ]
    sized = [(size, name) for name, candidate in among if (size := candidate["num_parameters"])]
    size, smallest = min(sized, key=lambda one: one[0], default=(0, ""))
    if 0 < size < (tied[0][1]["num_parameters"] or 0):
        said.append(f"The smallest of them is {smallest} ({count(size)} parameters).")
    return said


def _chances(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """Which candidates would most often be the best, if the examples were drawn again."""
    likely = sorted(candidates, key=lambda one: -(one[1]["probability_best"] or 0))[:_MOST_LIKELY]
    chances = [f"{name} ({chance(data, c)})" for name, c in likely if (c["probability_best"] or 0) >= _LIKELY]
    if not chances or num_compared(data) < 2:
        return []
    by = title(data, data["best_by"])
    return [f"If such {examples(data)} were drawn again, the best by {by} would be {', '.join(chances)}."]


def _calibrated(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> str | None:
    """Say that calibration would put a candidate first that is clearly behind; None if it would not."""
    if "leave-one-out-leep" not in (data["sort_by"], data["checked_by"]):
        return None
    known = [(found["value"], name, c) for name, c in candidates if (found := c["calibration"]) is not None]
    first, best = candidates[0], max(known, key=lambda one: one[0], default=None)
    if best is None or first[1]["calibration"] is None or best[2]["tie_group"] == 1:
        return None
    value, name, _ = best
    return (
        f"With the confidence of each candidate's predictions calibrated, {name} would be first: leave-one-out LEEP "
        f"{number(value)}, against {number(first[1]['calibration']['value'])} for {first[0]}."
    )


def _seen(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """A warning if the first candidate may have been trained on these examples."""
    name, best = candidates[0]
    if not best["trained_on_target"]:
        return []
    unseen = next((other for other, c in candidates if not c["trained_on_target"]), None)
    rest = f". The best candidate that is not known to have seen them is {unseen}" if unseen else ""
    return [f"But {name} may have been trained on these {examples(data)}, which would raise its score{rest}."]


def settling(data: ReportData) -> list[str]:
    """Say about how many examples would settle the first places, if these examples do not."""
    have, what = data["target"]["num_examples"], examples(data)
    needed: dict[str, str] = {}  # how many → the places that they settle; later places include the earlier ones
    for found in data["settling"]:
        first = "the first place" if found["places"] == 1 else f"the first {found['places']} places"
        num_examples = found["num_examples"]
        if num_examples is None:
            why = "scores there are equal, or their errors are not known"
            if data["checked_by"]:
                by = titles(data, (data["sort_by"], data["checked_by"]))
                why = f"{by} disagree there, or scores are equal"
            return [*_enough(needed), f"As the scores stand, no number of {what} would settle {first}: {why}."]
        if num_examples > _MOST_TIMES * have:
            needed[f"more than {_MOST_TIMES} times as many {what}"] = first
        elif num_examples > have:
            needed[f"about {_two_digits(num_examples):,} {what}"] = first
    return _enough(needed)


def _enough(needed: Mapping[str, str]) -> list[str]:
    if not needed:
        return []
    listed = ", and ".join(f"{how_many} would settle {first}" for how_many, first in needed.items())
    return [f"If the gaps stay as they are, {listed}."]


def _two_digits(number: int) -> int:
    """The number rounded up to two digits."""
    unit: int = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit


def disagreement(data: ReportData) -> str | None:
    """Say that the measure that makes the order and the one that checks it disagree; None if they do not."""
    if not data["num_disagreements"] or not data["checked_by"]:
        return None
    pairs, check = data["num_pairs"], title(data, data["checked_by"])
    return (
        f"{title(data, data['sort_by'])} and {check} order {data['num_disagreements']} of {pairs} "
        f"{'pair' if pairs == 1 else 'pairs'} of candidates differently. Such pairs share a tie group; the order by "
        f"{check} is the safer one."
    )


def headless_note(data: ReportData) -> str | None:
    """Say how many candidates only lack a head, and introduce the command that ranks them too; None if none do."""
    missing = data["headless"]["count"]
    if not missing:
        return None
    subject, has = ("1 candidate", "it has") if missing == 1 else (f"{missing} candidates", "they have")
    return (
        f"{subject} could not be ranked because {has} no trained classification head. To rank all candidates by their "
        "features:"
    )


def _uninformative(data: ReportData, candidates: Sequence[RankedData]) -> bool:
    """Whether every ranked candidate's leave-one-out LEEP is within its error of that of the class frequencies."""
    floor = data["target"]["leave_one_out_floor"]
    scores = [leave_one_out(data, candidate) for candidate in candidates]
    return all(
        score is not None and score["value"] is not None and score["value"] <= floor + (score["half_width"] or 0.0)
        for score in scores
    )
