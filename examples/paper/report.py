"""The report of a study: README.md, results.json and plots/ in its folder, made from the finished tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from examples.paper import plots, results
from examples.paper.study import write_json
from examples.paper.tasks import EXPERIMENTS
from hf_leep.measures import MEASURES
from hf_leep.ranking.uncertainty import CONFIDENCE, miss_probability
from hf_leep.report.card.wording import title
from hf_leep.text import code, number, prose

# The paper's table: correlations with the accuracy of a re-trained head and of fine-tuning; ∗ is not significant. Our
# source of the table has only one p-value, and the number of tasks for these settings alone.
PAPER_TASKS = {"large-balanced": "200", "small-balanced": "200", "noisy-labels": "200"}
PAPER: dict[str, list[tuple[str, str, str, str]]] = {
    "large-balanced": [
        ("CIFAR10 → CIFAR100, ResNet20", "0.982 / 0.967", "0.982 / 0.967", "0.831 / 0.787"),
        ("ImageNet → CIFAR100, ResNet18", "0.974 / 0.944", "0.973 / 0.945", "0.924 / 0.875"),
    ],
    "small-balanced": [
        ("CIFAR10 → CIFAR100, ResNet20", "0.744 / 0.396", "0.743 / 0.401", "0.877 / 0.737"),
        ("ImageNet → CIFAR100, ResNet18", "0.798 / 0.762", "0.715 / 0.584", "0.026∗ / −0.029∗"),
        ("CIFAR10 → FashionMNIST, ResNet20", "0.518 / 0.339", "0.429 / 0.258", "0.787 / 0.826"),
        ("ImageNet → FashionMNIST, ResNet18", "0.631 / 0.609", "0.622 / 0.578", "0.005∗ / 0.018∗"),
    ],
    "noisy-labels": [("ImageNet → CIFAR100, ResNet18", "0.612 / 0.348", "0.579 / 0.324", "0.017∗ / 0.06∗")],
    "small-imbalanced": [
        ("CIFAR10 → CIFAR100, ResNet20", "0.862 / 0.597", "0.847 / 0.582", "0.787 / 0.758"),
        ("ImageNet → CIFAR100, ResNet18", "0.522", "0.484", "−0.058∗"),
        ("CIFAR10 → FashionMNIST, ResNet20", "0.704", "0.688", "0.822"),
        ("ImageNet → FashionMNIST, ResNet18", "0.645", "0.624", "0.059∗"),
    ],
    "meta-transfer": [("CNAPs on CIFAR100 tasks", "0.591, p < 0.001", "–", "–")],
}
COMPARED = ("leep", "nce", "h-score")
TRANSFER = {
    "head": "re-trained head",
    "head-sgd": "re-trained head, SGD",
    "fine-tuning": "fine-tuning",
    "cnaps": "CNAPs",
}


def write(folder: Path) -> None:
    """Write the report of the finished tasks.

    Args:
        folder: folder of the study.

    Raises:
        UserError: there is no study, or no finished task.
        CandidateError: all tasks failed.
    """
    found = results.collect(folder)
    (folder / "plots").mkdir(exist_ok=True)
    pictures: dict[str, bytes] = {}
    for name in EXPERIMENTS:
        rows = [row for row in found["rows"] if row["experiment"] == name]
        rows = [row for row in rows if row["num_tasks"] >= results.FEWEST_TASKS]
        if rows and any(point["score"] is not None for row in rows for point in row["points"]):
            pictures[f"{name}.png"] = plots.scatter(rows)
    if drawn := [one for one in found["convergence"] if one["bins"]]:
        pictures["convergence.png"] = plots.convergence(drawn)
    if found["selection"] and found["selection"]["whole"]:
        whole = found["selection"]["whole"].values()
        if drawn := [m for m in found["study"]["measures"] if all(o["scores"].get(m) is not None for o in whole)]:
            pictures["source-selection.png"] = plots.selection(found["selection"], drawn)
    for name, content in pictures.items():
        (folder / "plots" / name).write_bytes(content)
    write_json(folder / "results.json", found)
    (folder / "README.md").write_text(page(found, set(pictures)), encoding="utf-8")


def page(found: Mapping[str, Any], pictures: set[str]) -> str:
    """Render the report as Markdown.

    Args:
        found: the results, as from `results.collect`.
        pictures: names of the files under plots/.
    """
    environment = jinja2.Environment(  # Markdown, not HTML: each name goes through code()
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("page.md.jinja").read_text(encoding="utf-8"))
    measures = found["study"]["measures"]
    return template.render(
        study=found["study"],
        dataset=_called(found["study"]["dataset"]),
        short=_in_short(found["rows"], measures),
        compared=_compared(found["rows"]),
        sections=[
            (EXPERIMENTS[name], rows, [_lines(row, measures) for row in rows])
            for name in EXPERIMENTS
            if (rows := [row for row in found["rows"] if row["experiment"] == name])
        ],
        trained=bool(found["convergence"])
        or any(row["transfer"] in ("fine-tuning", "cnaps") for row in found["rows"]),
        trained_head=any(row["transfer"] == "head-sgd" for row in found["rows"]),
        failures=found["failures"],
        num_failed=sum(len(one["tasks"]) for one in found["failures"]),
        meta_training=found["meta_training"],
        convergence=[(EXPERIMENTS[one["experiment"]], one, _speeds(one, measures)) for one in found["convergence"]],
        selection=found["selection"],
        pictures=pictures,
        left_out=[name for name in MEASURES if name not in measures],
        transfer=TRANSFER,
        kinds={**TRANSFER, "curves": "fine-tuning and training from scratch", "meta-training": "meta-training"},
        titles=title,
        code=code,
        prose=prose,
        number=number,
        level=f"{100 * CONFIDENCE:g} %",
        miss=f"{100 * miss_probability():g} %",
        correlation=correlation,
        p_value=p_value,
        span=span,
        ranges=_ranges,
        fewest=results.FEWEST_TASKS,
        drawn={row["experiment"] for row in found["rows"]},
        partly=_partly(found["selection"]),
    )


def _called(dataset: str) -> str:
    """Return the name of a data set; for a folder, its last part."""
    return Path(dataset).name if dataset.startswith((".", "/", "~")) else dataset


def _ranges(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Format the range over all rows of something that each row has a range of."""
    ends = (min(row[name][0] for row in rows), max(row[name][1] for row in rows))
    return " to ".join(dict.fromkeys(f"{end:,}" for end in ends))


def _partly(selection: Mapping[str, Any] | None) -> list[str]:
    """Return the measures that do not score every source of the selection."""
    measures = selection["measures"] if selection else {}
    return [title(m) for m, one in measures.items() if one["num_sources"] < len(selection["sources"])]


def _in_short(rows: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> list[list[str]]:
    """Summarise each setting and kind of transfer over its sources: LEEP's r, the highest r, and how LEEP compares."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["experiment"], row["transfer"]), []).append(row)
    lines = []
    for (name, transfer), found in groups.items():
        values = {m: [r for row in found if (r := row["measures"][m]["pearson"]) is not None] for m in measures}
        everywhere = {m: v for m, v in values.items() if len(v) == len(found)}
        if not everywhere.get("leep"):
            continue
        best = max(everywhere, key=lambda m: sum(everywhere[m]))
        gaps = [row["measures"][m]["ahead_of_leep"] for row in found for m in measures]
        intervals = [gap["interval"] for gap in gaps if gap is not None]
        ahead, behind = (sum(sign * (a if sign > 0 else b) > 0 for a, b in intervals) for sign in (1, -1))
        baseline = [row["baseline"]["pearson"] for row in found if row["baseline"]["pearson"] is not None]
        partial = [row["measures"]["leep"]["partial"] for row in found if row["measures"]["leep"]["partial"]]
        lines.append(
            [
                EXPERIMENTS[name].title,
                TRANSFER[transfer],
                str(len(found)),
                spread([row["num_tasks"] for row in found], 0),
                spread(everywhere["leep"]),
                spread(baseline),
                spread([one["value"] for one in partial]),
                spread(everywhere.get("nce", [])),
                f"{title(best)} {spread(everywhere[best])}",
                f"{behind} / {len(intervals) - ahead - behind} / {ahead}",
            ]
        )
    return lines


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the paper's table and ours, by lines: experiment, whose, source and transfer, n, LEEP, NCE, H-score."""
    lines = []
    shown = set()
    for name, experiment in EXPERIMENTS.items():
        group = "noisy-labels" if name.startswith("noisy-labels") else name
        ours = [row for row in rows if row["experiment"] == name]
        if ours and group not in shown:
            label = "small balanced, noisy" if group == "noisy-labels" else experiment.title
            lines += [
                [label, "paper", setting, PAPER_TASKS.get(group, "–"), *cells]
                for setting, *cells in PAPER.get(group, [])
            ]
            shown.add(group)
        for row in ours:
            what = f"{code(row['source'])}, {TRANSFER[row['transfer']]}"
            cells = [_with_p_value(row["measures"].get(m)) for m in COMPARED]
            lines.append([experiment.title, "**ours**", what, str(row["num_tasks"]), *cells])
    return lines


def _with_p_value(found: Mapping[str, Any] | None) -> str:
    """Format Pearson's r with its interval and p-value."""
    text = correlation(found, "pearson")
    if not found or found["pearson_p_value"] is None:
        return text
    p = p_value(found["pearson_p_value"])
    return f"{text}, p {p if p.startswith('<') else f'= {p}'}"


def _speeds(one: Mapping[str, Any], measures: Sequence[str]) -> list[list[str]]:
    """Return how each measure correlates with the speed of fine-tuning, the baseline last."""
    named = [(title(m), one["measures"][m]) for m in measures]
    return [
        [
            name,
            str(found["speed"]["num_candidates"]),
            correlation(found["speed"], "kendall", 2),
            p_value(found["speed"]["kendall_p_value"]),
            correlation(found["first_epoch"], "pearson", 2),
            p_value(found["first_epoch"]["pearson_p_value"]),
            correlation(found["first_epoch_partial"], "value", 2),
        ]
        for name, found in (*named, ("*baseline: −log t*", one["baseline"]))
    ]


def _lines(row: Mapping[str, Any], measures: Sequence[str]) -> list[list[str]]:
    """Return a row's correlations for each measure, the baseline last."""
    lines = []
    for measure in measures:
        found = row["measures"][measure]
        ahead = found["ahead_of_leep"]
        lines.append(
            [
                title(measure),
                str(found["num_candidates"]),
                correlation(found, "pearson"),
                p_value(found["pearson_p_value"]),
                correlation(found["partial"], "value"),
                correlation(found["partial_rank"], "value"),
                correlation(found, "kendall", 2),
                number(found["weighted_tau"], 2),
                number(found["weighted_tau_by_accuracy"], 2),
                "–" if ahead is None else f"{number(ahead['value'], 2)} {span(ahead['interval'])}",
            ]
        )
    base = row["baseline"]
    lines.append(
        [
            "*baseline: −log t*",
            str(base["num_candidates"]),
            correlation(base, "pearson"),
            p_value(base["pearson_p_value"]),
            "–",
            "–",
            correlation(base, "kendall", 2),
            number(base["weighted_tau"], 2),
            number(base["weighted_tau_by_accuracy"], 2),
            "–",
        ]
    )
    return lines


def correlation(found: Mapping[str, Any] | None, name: str, digits: int = 3) -> str:
    """Format a correlation with its interval; ∗ where it is not significant, a dash where it is not defined."""
    if not found or found[name] is None:
        return "–"
    p = found["p_value" if name == "value" else f"{name}_p_value"]
    interval = found["interval" if name == "value" else f"{name}_interval"]
    # A bootstrap gives no p-value: there a correlation is not significant if its interval contains 0.
    chance = p >= miss_probability() if p is not None else interval is not None and interval[0] <= 0 <= interval[1]
    return f"{number(found[name], digits)}{'∗' if chance else ''} {span(interval) or '[–]'}"


def p_value(p: float | None) -> str:
    """Format a p-value."""
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def span(interval: Sequence[float] | None) -> str:
    """Format an interval in brackets; empty if there is none."""
    return f"[{number(interval[0], 2)}, {number(interval[1], 2)}]" if interval else ""


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the range of some numbers, or the only one."""
    ends = list(dict.fromkeys(number(end, digits) for end in (min(values), max(values)))) if values else ["–"]
    return " to ".join(ends)
