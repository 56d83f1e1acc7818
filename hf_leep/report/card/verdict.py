"""The answer in a few sentences, the same on the card, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hf_leep.report.candidate_schema import CandidateData, RankedData
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
    to_choose_from,
)
from hf_leep.report.letters import told_apart
from hf_leep.report.schema import ReportData
from hf_leep.text import count, number, plain

_LIKELY, _MOST_LIKELY = 0.05, 4  # probability of being best that is worth a mention, and how many are mentioned
_SMALLER = 0.9  # of the first one's parameters: a candidate that has fewer is called smaller
_MOST_COPIES = 3  # sentences about candidates with the same scores
_MOST_LISTED = 5  # candidates that a sentence names


def verdict(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """Say which candidate to take, and how certain that is.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    candidates = to_choose_from(data, name)
    if not candidates:
        number = len(data["candidates"])
        which = "the only one was" if number == 1 else "both were" if number == 2 else f"all {number} were"
        return [f"No candidate could be ranked: {which} refused or failed."]
    tried, tuned = fine_tuning.lead(data, name), fine_tuning.advice(data, name)
    said = []
    if tried:
        rest = "The rest of this page is about the scores before any training."
        said = [*tried, *tuned, rest]
    said += [text for text in (contradiction(data, name), failed_sentence(data)) if text]
    if _uninformative(data, [candidate for _, candidate in candidates]):
        order = ": do not choose by this order" if len(candidates) > 1 else ""
        said += [
            f"By leave-one-out LEEP, no candidate is clearly better than guessing by class frequency{order}.",
            f"Try more {examples(data)}, other candidates, or a ranking by features: --sort-by auto.",
        ]
    said += [*_best(data, candidates), *_untrained(data, name), *_seen(data, candidates)]
    last = (confirmation(data, name), _calibrated(data, candidates), None if tuned else _advice(data, candidates))
    return [*said, *(text for text in last if text)]


def doubts(data: ReportData) -> list[str]:
    """Say what would change the verdict: the measure that checks the order, or more examples.

    Args:
        data: the content of report.json.
    """
    return [text for text in (disagreement(data), *settling(data)) if text]


def to_take(data: ReportData) -> CandidateData | None:
    """The candidate that the verdict says to take: the best once fine-tuned, or the most likely to be the best.

    It is the first in the ranking where the verdict names no other, or several; None where nothing is ranked, or where
    the verdict says not to choose by this order, or that none was ever trained.

    Args:
        data: the content of report.json.
    """
    tuned = (
        next((one for one in data["fine_tuning"]["candidates"] if one["place"] == 1), None)
        if ("fine_tuning" in data)
        else None
    )
    if tuned is not None:
        same = (c for c in data["candidates"] if (c["id"], c["revision"]) == (tuned["id"], tuned["revision"]))
        if (found := next(same, None)) is not None:
            return found
    candidates = to_choose_from(data)
    if not candidates or _uninformative(data, [candidate for _, candidate in candidates]):
        return None
    if candidates[0][1]["untrained"]:
        return None
    advised = _advice(data, candidates) is not None and not _calibrated(data, candidates)
    return _most_likely(candidates)[1] if advised else candidates[0][1]


def _most_likely(candidates: Sequence[tuple[str, RankedData]]) -> tuple[str, RankedData]:
    """Of the first candidate and those that are tied with it, the one that is the most likely to be the best."""
    best = candidates[0][1]
    close = [one for one in candidates[1:] if one[1]["tie_letters"] is not None and not told_apart(best, one[1])]
    return max([candidates[0], *close], key=lambda one: one[1]["probability_best"] or 0.0)


def _best(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """Which candidate is the best, or which may be."""
    measure, unit = title(data, data["sort_by"]), plain(data["measure_details"][data["sort_by"]]["unit"])
    name, best = candidates[0]
    value = number(best["scores"][data["sort_by"]]["value"]) + (f" {unit}" if unit else "")
    more = len(candidates) < len(ranked(data))  # that were never trained
    if len(candidates) == 1:
        return [
            f"{name} is the only {'trained ' if more else ''}candidate with a score: {measure} {value}. One score "
            f"says little: rank others on the same {examples(data)}."
        ]
    others = [(other, candidate) for other, candidate in candidates[1:] if candidate["tie_letters"] is not None]
    if best["tie_letters"] is None or not others or not all(told_apart(best, other) for _, other in others):
        extreme = "highest" if data["measure_details"][data["sort_by"]]["higher_is_better"] else "lowest"
        among = " of the trained candidates" if more else ""
        best_score = f"{name} has the {extreme} {measure}{among}, {value}."
        return [*_tied(data, candidates, best_score, more), *_chances(data, candidates)]
    second, gap = candidates[1][0], candidates[1][1]["behind_best"]
    lead = number(gap["value"]) + ("" if gap["half_width"] is None else f" ± {number(gap['half_width'])}")
    behind, of_second = "all others", f" over the second, {second},"
    if len(candidates) == 2:
        behind, of_second = second, ""
    elif len(others) < len(candidates) - 1:
        behind = "all others whose error is known"
    said = [
        f"{name} ranks first of {f'the {len(candidates)} trained candidates' if more else len(candidates)}, clearly "
        f"ahead of {behind}. Its {measure} is {value}; its lead{of_second} is {lead}.",
        *_without_error(candidates),
    ]
    if (best["rank_interval"] or [1, 1])[1] > 1:
        said.append(f"If all pairs are compared at once, its rank may be {rank_range(best)}.")
    return said


def _untrained(data: ReportData, name: Callable[[str], str]) -> list[str]:
    """Say which candidates were never trained, and are ranked last for that reason alone."""
    candidates = ranked(data, name)
    never = [(written, candidate) for written, candidate in candidates if candidate["untrained"]]
    if not never:
        return []
    names, was = _listed([written for written, _ in never]), "was" if len(never) == 1 else "were"
    if len(never) == len(candidates):
        if len(never) == 1:
            return [f"{names} was never trained, so fine-tuning it is training from scratch. Add trained candidates."]
        return [
            "None of these candidates was ever trained, so fine-tuning them is training from scratch. "
            "Add trained candidates."
        ]
    said = f"{names} {was} never trained, so {'it is' if len(never) == 1 else 'they are'} ranked last"
    sign = 1 if data["measure_details"][data["sort_by"]]["higher_is_better"] else -1
    first, *scores = (
        sign * (candidate["scores"][data["sort_by"]]["value"] or 0.0) for _, candidate in (candidates[0], *never)
    )
    return [f"{said}, whatever the score." if max(scores) > first else f"{said}."]


def _tied(data: ReportData, candidates: Sequence[tuple[str, RankedData]], best_score: str, more: bool) -> list[str]:
    """Which candidates may be the best, where the first is not told apart from all others.

    Args:
        data: the content of report.json.
        candidates: those to choose from, best first.
        best_score: a sentence about the score of the first.
        more: whether there are others, which were never trained.
    """
    trained = " trained" if more else ""
    best = candidates[0][1]
    if best["tie_letters"] is None:
        return [f"{best_score} Its error is not known, so any other{trained} candidate may be as good."]
    unknown = _without_error(candidates)
    tied = [(other, c) for other, c in candidates[1:] if c["tie_letters"] is not None and not told_apart(best, c)]
    if not tied:
        return [best_score, *unknown]
    names = _listed([other for other, _ in tied])
    which = f"{names} may be as good"
    if len(candidates) > 2:
        num_others = len(candidates) - 1
        others = f"other {num_others}{f'{trained} candidates' if more else ''}"
        who = f"{len(tied)} of the {others}"
        if len(tied) == num_others:
            who = "both" if num_others == 2 else f"all {num_others}"
            who += f" other{trained} candidates" if more else " others"
        which = f"{who} may be as good: {names}"
    sized = [(size, other) for other, candidate in tied if (size := candidate["num_parameters"])]
    size = min((size for size, _ in sized), default=0)
    smallest = [other for other_size, other in sized if count(other_size) == count(size)]
    smaller = f"{count(size)} parameters" if 0 < size < _SMALLER * (best["num_parameters"] or 0) else ""
    if smaller and len(tied) == 1:
        which += f", {'and' if len(candidates) == 2 else 'which'} is smaller ({smaller})"
    said = [f"{best_score} With these {examples(data)}, {which}."]
    if smaller and 1 < len(smallest) == len(tied):
        said.append(f"They are smaller than the first ({smaller}).")
    elif smaller and len(tied) > 1:
        said.append(f"The smallest of these {'is' if len(smallest) == 1 else 'are'} {_listed(smallest)} ({smaller}).")
    at_once = sum((candidate["rank_interval"] or [2])[0] == 1 for _, candidate in candidates)
    if at_once > 1 + len(tied):
        total = f"the {len(candidates)}{trained} candidates"
        if unknown:
            total = f"the {sum(c['tie_letters'] is not None for _, c in candidates)} whose error is known"
        said.append(f"If all pairs are compared at once, {at_once} of {total} may be the best.")
    return [*said, *unknown]


def _without_error(candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """Which candidates cannot be compared, as the errors of their scores are not known."""
    unknown = [name for name, candidate in candidates if candidate["tie_letters"] is None]
    if not unknown:
        return []
    if len(unknown) == 1:
        return [f"The error of the score of {unknown[0]} is not known, so its rank is uncertain."]
    return [f"The errors of the scores of {_listed(unknown)} are not known, so their ranks are uncertain."]


def _listed(names: Sequence[str]) -> str:
    """Some candidates in a few words."""
    if len(names) > _MOST_LISTED:
        return f"{', '.join(names[:_MOST_LISTED])} and {len(names) - _MOST_LISTED} more"
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def _chances(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """How probable it is that each candidate is the best, and which of them share that probability."""
    likely = sorted(candidates, key=lambda one: -(one[1]["probability_best"] or 0))[:_MOST_LIKELY]
    chances = [f"{chance(data, c)} for {name}" for name, c in likely if (c["probability_best"] or 0) >= _LIKELY]
    if not chances or num_compared(data) < 2 or _uninformative(data, [candidate for _, candidate in candidates]):
        return []
    by = title(data, data["best_by"])
    among = "" if num_compared(data) == len(candidates) or data["race"] else " among those with a known error"
    said = f"The probability of having the best {by}{among} is {_listed(chances)}."
    return [said, *_copies(data, candidates)]


def _copies(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """Which of those that may be the best have the same scores, so that no number of examples tells them apart."""
    same: dict[int, list[str]] = {}  # rank of the first of them → the names
    for name, candidate in candidates:
        if not told_apart(candidates[0][1], candidate):
            same.setdefault(candidate["same_as"] or candidate["rank"], []).append(name)
    return [
        f"{_listed(names)} have the same scores on all {examples(data)}, so they are probably copies. They share one "
        f"probability, and more {examples(data)} will not tell them apart."
        for names in same.values()
        if len(names) > 1
    ][:_MOST_COPIES]


def _calibrated(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> str | None:
    """Say that calibration would put a candidate first that is clearly behind; None if it would not."""
    if "leave-one-out-leep" not in (data["sort_by"], data["checked_by"]):
        return None
    first, best = candidates[0], _best_calibrated(candidates)
    if best is None or first[1]["calibration"] is None or not told_apart(first[1], best[2]):
        return None
    value, name, _ = best
    return (
        f"If all predictions were calibrated, {name} would be first: its leave-one-out LEEP would be "
        f"{number(value)}, and that of {first[0]} {number(first[1]['calibration']['value'])}."
    )


def _best_calibrated(candidates: Sequence[tuple[str, RankedData]]) -> tuple[float, str, RankedData] | None:
    """The highest score at its best temperature, and whose it is."""
    known = [(found["value"], name, c) for name, c in candidates if (found := c["calibration"]) is not None]
    return max(known, key=lambda one: one[0], default=None)


def _advice(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> str | None:
    """Which candidate to fine-tune; None where the other sentences say it, or where the order is noise."""
    first, best = candidates[0]
    opinion = data["second_opinion"]
    contradicted = opinion is not None and opinion["verdict"] == "contradicted"
    uncertain = best["untrained"] or best["trained_on_target"] or best["tie_letters"] is None or failed_sentence(data)
    if len(candidates) == 1 or contradicted or uncertain or _uninformative(data, [c for _, c in candidates]):
        return None
    if (calibrated := _best_calibrated(candidates)) is not None and _calibrated(data, candidates):
        return f"So fine-tune both {first} and {calibrated[1]}."
    close = [one for one in candidates[1:] if one[1]["tie_letters"] is not None and not told_apart(best, one[1])]
    if not close:
        unsure = opinion is not None and opinion["first"] != opinion["best"]
        return f"Fine-tune {first} first." if unsure else f"So fine-tune {first}."
    taken, chosen = _most_likely(candidates)
    others = [c["probability_best"] or 0.0 for _, c in [candidates[0], *close] if c is not chosen]
    why = "the most likely to be the best"
    if (chosen["probability_best"] or 0.0) <= max(others):
        why = (
            "the first of those that are equally likely to be the best" if any(others) else "the first in the ranking"
        )
    return f"If you can fine-tune only one of them, take {taken}, {why}."


def _seen(data: ReportData, candidates: Sequence[tuple[str, RankedData]]) -> list[str]:
    """A warning if the first candidate may have been trained on these examples."""
    name, best = candidates[0]
    if not best["trained_on_target"]:
        return []
    unseen = next((other for other, c in candidates if not c["trained_on_target"]), None)
    rest = f". The best candidate that is not known to have seen them is {unseen}" if unseen else ""
    return [f"But {name} may have been trained on these {examples(data)}, which would raise its score{rest}."]


def settling(data: ReportData) -> list[str]:
    """Say how many examples it takes at least to settle the first place, if these examples do not."""
    have = data["target"]["num_examples"]
    needed = next((found["num_examples"] for found in data["settling"] if found["places"] == 1), None)
    if needed is None or (at_least := _two_digits(needed)) <= have:
        return []
    return [
        f"At least about {at_least:,} {examples(data)} are needed to settle the first place with 80 % probability."
    ]


def _two_digits(number: int) -> int:
    """The number rounded down to two digits, as a lower bound has to be."""
    unit: int = 10 ** max(len(str(number)) - 2, 0)
    return number // unit * unit


def disagreement(data: ReportData) -> str | None:
    """Say that the measure that makes the order and the one that checks it disagree; None if they do not."""
    if not data["num_disagreements"] or not data["checked_by"]:
        return None
    pairs, check = data["num_pairs"], title(data, data["checked_by"])
    return (
        f"{title(data, data['sort_by'])} and {check} order {data['num_disagreements']} of {pairs} "
        f"{'pair' if pairs == 1 else 'pairs'} of candidates differently. Those count as tied; trust {check} more."
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
    """Whether the order is by predictions, and each leave-one-out LEEP within its error of the class frequencies'."""
    if data["measure_details"][data["sort_by"]]["needs"] != "probabilities":
        return False
    floor = data["target"]["leave_one_out_floor"]
    scores = [leave_one_out(data, candidate) for candidate in candidates]
    return all(
        score is not None and score["value"] is not None and score["value"] <= floor + (score["half_width"] or 0.0)
        for score in scores
    )
