"""The answer in a few sentences, the same in card and terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hf_leep.measures import find
from hf_leep.report.card.certificate import failed_sentence
from hf_leep.report.card.wording import (
    chance,
    examples,
    half_width,
    leave_one_out,
    num_compared,
    places,
    short_names,
    title,
)
from hf_leep.text import count, number

_LIKELY, _MOST_LIKELY = 0.05, 4  # a chance of being the best that is worth a word, and how many
_MOST_TIMES = 100  # as many examples, beyond which a number would be more precise than it is known


def verdict(data: Mapping[str, Any], name: Callable[[str], str]) -> list[str]:
    """Say which candidate to take and how sure that is.

    Args:
        data: the content of report.json.
        name: how to write a candidate's name, such as `hf_leep.text.code`.
    """
    candidates = data["candidates"]
    names = dict(zip(map(id, candidates), map(name, short_names(candidates)), strict=True))
    ranked = [c for c in candidates if c["rank"] is not None]
    if not ranked:
        return [f"No candidate could be ranked: {len(candidates)} refused or failed, none left."]
    measure = title(data["sort_by"])
    unit = find(data["sort_by"]).unit
    unit = f" {unit}" if unit else ""
    best, top = ranked[0], [c for c in ranked if c["tie_group"] == 1]
    value = number(best["scores"][data["sort_by"]]["value"])
    if len(ranked) == 1:
        said = [f"{names[id(best)]} is the only candidate with a score: {measure} {value}{unit}."]
    elif len(top) == 1:
        gap = ranked[1]["behind_best"]
        said = [
            f"{names[id(best)]} comes first of {len(ranked)}, with {measure} {value}{unit}: ahead of the second, "
            f"{names[id(ranked[1])]}, by {number(gap['value'])} ± {number(half_width(gap))}, "
            "and different from each of the others, taken alone, beyond the paired sampling error."
        ]
        if (best.get("rank_interval") or [1, 1])[1] > 1:
            said.append(f"With all taken at once, these {examples(data)} leave it the ranks {places(best)}.")
    else:
        # In a long list each candidate is like its neighbours and the group has no end: those of it that may be first.
        among = [c for c in top if (c.get("rank_interval") or (1, 1))[0] == 1]
        listed = ", ".join(names[id(c)] for c in among[:5]) + (f" and {len(among) - 5} more" if len(among) > 5 else "")
        highest = f"{names[id(best)]} has the highest {measure}, {value}{unit}."
        if len(among) == len(top):
            said = [
                f"The first {len(top)} of {len(ranked)} form one tie group, in which these {examples(data)} cannot "
                f"settle the order: {listed}. {highest}"
            ]
        else:
            said = [
                f"{len(among)} of {len(ranked)} may be the first, as far as these {examples(data)} tell: {listed}. "
                f"{highest} The tie group goes on to place {len(top)}, each candidate being like its neighbours: "
                "go by the ranks."
            ]
        sized = [c for c in among if c["num_parameters"]]
        smallest = min(sized, key=lambda c: c["num_parameters"], default=None)
        if smallest is not None and smallest is not best and smallest["num_parameters"] < best["num_parameters"]:
            said.append(
                f"The smallest of them is {names[id(smallest)]} ({count(smallest['num_parameters'])} parameters)."
            )
        likely = sorted(ranked, key=lambda c: -(c.get("probability_best") or 0))[:_MOST_LIKELY]
        chances = [
            f"{names[id(c)]} ({chance(data, c)})" for c in likely if (c.get("probability_best") or 0) >= _LIKELY
        ]
        if chances and num_compared(data) > 1:
            by = title(data["best_by"])
            said.append(f"If such {examples(data)} were drawn again, the best by {by} would be {', '.join(chances)}.")
    if best.get("trained_on_target"):
        unseen = next((names[id(c)] for c in ranked if not c.get("trained_on_target")), None)
        rest = f": the best of those of which nothing of the kind is known is {unseen}" if unseen else ""
        said.append(
            f"But {names[id(best)]} may have seen these {examples(data)} in training, which would flatter it{rest}."
        )
    if _uninformative(data, ranked):
        said.insert(
            0,
            "Leave-one-out, no candidate explains these labels measurably better than the class frequencies alone: "
            f"take the order for noise, and more {examples(data)} or other candidates.",
        )
    if wrong := failed_sentence(data):
        said.insert(0, wrong)
    return said + settling(data)


def settling(data: Mapping[str, Any]) -> list[str]:
    """Say about how many examples would settle the first places, where these do not."""
    have, what = data["target"]["num_examples"], examples(data)
    said: dict[str, str] = {}  # what it takes → the places that it settles; the later, which take in the earlier, win
    for found in data.get("settling") or ():
        places = "the first place" if found["places"] == 1 else f"the first {found['places']} places"
        needed = found["num_examples"]
        if needed is None:
            why = "scores there are the same, or have no error"
            if data["checked_by"]:
                why = (
                    f"{title(data['sort_by'])} and {title(data['checked_by'])} disagree there, or scores are the same"
                )
            return [*_enough(said), f"No number of {what} would settle {places} as the scores stand: {why}."]
        if needed > _MOST_TIMES * have:
            said[f"more than {_MOST_TIMES} times as many {what}"] = places
        elif needed > have:
            said[f"about {_two_digits(needed):,} {what}"] = places
    return _enough(said)


def _enough(said: Mapping[str, str]) -> list[str]:
    if not said:
        return []
    listed = ", and ".join(f"{takes} would settle {places}" for takes, places in said.items())
    return [f"If the gaps stay as they are, {listed}."]


def _two_digits(number: int) -> int:
    """The number rounded up to two digits."""
    unit: int = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit


def disagreement(data: Mapping[str, Any]) -> str | None:
    """Say that the order and its check disagree, if they do."""
    if not data["num_disagreements"]:
        return None
    pairs = data["num_pairs"]
    return (
        f"{title(data['sort_by'])} and {title(data['checked_by'])} order {data['num_disagreements']} of "
        f"{pairs} {'pair' if pairs == 1 else 'pairs'} of candidates differently. Such pairs share a tie group; "
        "the leave-one-out order is the safer one."
    )


def headless_note(data: Mapping[str, Any]) -> str | None:
    """Say how many candidates lack only a head, and which measure would rank them."""
    missing = data["headless"]["count"]
    if not missing:
        return None
    subject = "1 candidate was" if missing == 1 else f"{missing} candidates were"
    return f"{subject} refused only for want of a trained classification head. To rank all of them on their features:"


def _uninformative(data: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every ranked candidate's leave-one-out LEEP is within its error of the floor."""
    scores = [leave_one_out(data, candidate) for candidate in ranked]
    floor = data["target"]["leave_one_out_floor"]
    return bool(scores) and all(
        score is not None and score["value"] <= floor + (half_width(score) or 0.0) for score in scores
    )
