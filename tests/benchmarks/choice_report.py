"""The tables of `choice.py`: points of accuracy lost by the first of each rule, in each cell and over kinds."""

import json
from collections import defaultdict

import choice
import choice_pools
import numpy as np

from hf_leep.measures import MEASURES, find
from hf_leep.ranking.consensus import voters
from hf_leep.ranking.scoring import AUTO_MEASURE

FOLDS, REPEATS = 5, 4
FEW = 30  # rows a class
COMBINED = ("mean rank", "majority")
ALL_ALIKE = "auto, untrained too"  # without the rule that untrained candidates come last


def report(folder, data):
    """Print everything."""
    losses = {}  # truth, cell → rule → losses by draw
    pools = {kind: choice_pools.prepare(kind, data, folder) for kind in choice_pools.KINDS}
    for truth, cells in (("heads", choice.CELLS), ("networks", choice.TUNED)):
        for kind, t, rows in cells:
            found = cell(pools[kind], truth, t, rows)
            if found:
                losses[truth, kind, t, rows] = found
                print_cell((truth, kind, t, rows), found)
    print_kinds(losses)
    print_worse(losses)
    print_groups(pools)


def cell(pool, truth, t, rows):
    """Rule → points lost in each draw, NaN where the rule has no first; "best" holds the best accuracies."""
    found = defaultdict(list)
    for draw in range(99):
        read = draw_of(pool, truth, t, rows, draw)
        if read is None:
            break
        names, outcomes, scores = read
        for rule, values in rules(pool, names, scores, draw).items():
            found[rule].append(lost(outcomes, values))
        found["best"].append(100 * outcomes.mean(axis=2).max(axis=1).max())
        found["at random"].append(lost(outcomes, np.zeros(len(names))))
    return {rule: np.array(values) for rule, values in found.items()}


def draw_of(pool, truth, t, rows, draw):
    """The candidates of a draw, their outcomes ``[c, rates, m]`` and scores; None where it was not computed."""
    stem = f"{pool.kind}-{t}-{rows}-{draw}"
    scores = pool.folder / "scores" / f"{stem}.json"
    if truth == "heads":
        file, names = pool.folder / "heads" / f"{stem}.npy", pool.names
        if not (file.exists() and scores.exists()):
            return None
        outcomes = np.load(file)
    else:
        names = [name for name in pool.names if name in pool.stated or "untrained" in name]
        files = [pool.folder / "networks" / stem / f"{name}.npy" for name in names]
        if not (scores.exists() and all(file.exists() for file in files)):
            return None
        outcomes = np.stack([np.load(file) for file in files])
    at = [pool.names.index(name) for name in names]
    read = json.loads(scores.read_text())
    read.pop("seconds")
    read.pop("weight", None)
    return names, outcomes, {name: np.array(values, dtype=float)[at] for name, values in read.items()}


def rules(pool, names, scores, draw):
    """Rule → score of each candidate, higher for better."""
    voting = [name for name in voters([name for name in scores if name in MEASURES]) if name in scores]
    found = dict(scores)
    found["mean rank"] = mean_rank(np.stack([scores[name] for name in voting]))
    found["majority"] = majority(np.stack([scores[name] for name in voting]))
    found["parameters"] = np.array([pool.parameters[name] for name in names], dtype=float)
    found["auto"] = scores[AUTO_MEASURE]
    found[ALL_ALIKE] = scores[AUTO_MEASURE]
    hidden = np.random.default_rng(draw).permutation(len(names)) % 2 == 0
    found["auto, mixed"] = np.where(hidden, scores[find(AUTO_MEASURE).instead], scores[AUTO_MEASURE])
    untrained = np.array(["untrained" in name for name in names])
    return {
        rule: values if rule in ("parameters", ALL_ALIKE) else untrained_last(values, untrained)
        for rule, values in found.items()
    }


def untrained_last(scores, untrained):
    """The scores with those of untrained candidates below all others, as a ranking has them."""
    known = np.isfinite(scores)
    if not (known & ~untrained).any():
        return scores
    return np.where(known & untrained, scores[known].min() - 1, scores)


def mean_rank(scores):
    """Minus the mean rank over measures, ``[m, c]``; without a score a candidate is last."""
    filled = np.where(np.isfinite(scores), scores, -np.inf)
    return -np.mean(
        [(row[None] > row[:, None]).sum(axis=1) + (row[None] == row[:, None]).sum(axis=1) / 2 for row in filled],
        axis=0,
    )


def majority(scores):
    """Pairs won minus pairs lost by the majority of measures (Copeland), ``[c]``."""
    difference = np.nan_to_num(np.sign(scores[:, :, None] - scores[:, None, :]))
    return np.sign(difference.sum(axis=0)).sum(axis=1)


def lost(outcomes, values):
    """Points of accuracy lost by the first, against the best as the other rows show it."""
    if not np.isfinite(values).any():
        return np.nan
    chosen = np.flatnonzero(values == np.nanmax(values))
    num, losses = outcomes.shape[2], []
    for repeat in range(REPEATS):
        fold = np.random.default_rng(repeat).permutation(num) % FOLDS
        for k in range(FOLDS):
            seen, judged = outcomes[:, :, fold != k].mean(axis=2), outcomes[:, :, fold == k].mean(axis=2)
            each = np.take_along_axis(judged, seen.argmax(axis=1)[:, None], axis=1)[:, 0]
            losses.append(each[seen.max(axis=1).argmax()] - each[chosen].mean())
    return 100 * float(np.mean(losses))


def paired(first, second):
    """Mean difference over the draws that have both, and its standard error."""
    difference = first - second
    difference = difference[np.isfinite(difference)]
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return (difference.mean() if len(difference) else np.nan), error


def print_cell(key, found):
    truth, kind, t, rows = key
    best, number = found["best"].mean(), len(found["best"])
    print(f"\n{truth}: {kind}, {t} classes, {rows} rows a class; {number} draws, best {best:.1f} %", flush=True)
    auto = found["auto"]
    order = sorted(
        (rule for rule in found if rule != "best"),
        key=lambda rule: np.nan_to_num(np.nanmean(found[rule]) if np.isfinite(found[rule]).any() else 99, nan=99),
    )
    for rule in order:
        values = found[rule]
        size = min(len(values), len(auto))
        difference, error = paired(values[:size], auto[:size])
        known = np.isfinite(values)
        mean = values[known].mean() if known.any() else np.nan
        print(f"    {rule:24} lost {mean:5.1f}   against auto {difference:+5.1f} ± {error:4.1f}   {known.sum()} draws")


def print_kinds(losses):
    """Rule × truth and kind: mean loss over cells of fewer than 30 rows a class, and of 30 and more."""
    columns = sorted({(truth, kind.removesuffix("-2")) for truth, kind, _, _ in losses})
    print("\npoints lost, means over cells: of 10 rows a class / of 30 and more")
    print(f"    {'':24}" + "".join(f"{truth + ' ' + kind:>18}" for truth, kind in columns) + f"{'all heads':>18}")
    for rule in (
        *MEASURES,
        choice.ADJUSTED,
        *choice.MIXTURES,
        *COMBINED,
        "parameters",
        "at random",
        "auto",
        "auto, mixed",
        ALL_ALIKE,
    ):
        shown = []
        for column in (*columns, None):
            means = []
            for few in (True, False):
                cells = [
                    np.nanmean(found[rule])
                    for (truth, kind, _, rows), found in losses.items()
                    if (truth == "heads" if column is None else (truth, kind.removesuffix("-2")) == column)
                    and (rows < FEW) == few
                    and np.isfinite(found.get(rule, np.nan)).any()
                ]
                means.append(f"{np.mean(cells):.1f}" if cells else "–")
            shown.append(" / ".join(means))
        print(f"    {rule:24}" + "".join(f"{value:>18}" for value in shown))


def print_worse(losses):
    """The cells in which a single measure beats `auto` by more than its paired error over draws."""
    from scipy.stats import t as student

    print("\nmeasures that lose less than auto beyond the 95 % paired error")
    for key, found in losses.items():
        for rule in MEASURES:
            values = found.get(rule, np.array([]))
            size = min(len(found["auto"]), len(values))
            difference, error = paired(found["auto"][:size], values[:size])
            number = np.isfinite(values[:size]).sum()
            if number < 2:
                continue
            half = student.ppf(0.975, number - 1) * error
            if difference > max(half, 1e-9):
                print(f"    {key}: {rule} by {difference:.1f} ± {half:.1f}, {number} draws")


def print_groups(pools):
    """The accuracy that a card states, within the candidates of one source data set."""
    print("\nwithin candidates of one source data set: points lost by stated accuracy, and by measures there")
    rules_shown = ("stated", "auto", "ridge", "leave-one-out-leep", "leep", "logme", "knn", "parameters")
    print(f"    {'':44}" + "".join(f"{rule:>20}" for rule in rules_shown))
    for truth, cells in (("heads", choice.CELLS), ("networks", choice.TUNED)):
        found = defaultdict(lambda: defaultdict(list))
        for kind, t, rows in cells:
            pool = pools[kind]
            for draw in range(99):
                read = draw_of(pool, truth, t, rows, draw)
                if read is None:
                    break
                names, outcomes, scores = read
                all_rules = rules(pool, names, scores, draw)
                for source in sorted({source for source, _ in pool.stated.values()}):
                    at = [i for i, name in enumerate(names) if pool.stated.get(name, ("",))[0] == source]
                    if len(at) < 2:
                        continue
                    for rule in rules_shown:
                        if rule == "stated":
                            values = np.array([pool.stated[names[i]][1] for i in at])
                        elif rule in all_rules:
                            values = all_rules[rule][at]
                        else:
                            continue
                        found[kind, source][rule].append(lost(outcomes[at], values))
        for (kind, source), by_rule in found.items():
            means = "".join(f"{np.nanmean(by_rule[rule]) if by_rule[rule] else np.nan:20.1f}" for rule in rules_shown)
            print(f"    {truth + ': ' + kind + ', ' + source:44}" + means)
