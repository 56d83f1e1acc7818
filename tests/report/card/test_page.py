"""The card: a golden file, reviewed as a diff, and what names in a report must not do to it."""

import copy
import os
import re
from html import unescape
from pathlib import Path

import matplotlib
import pytest
import yaml
from PIL import ImageFont

from hf_leep.measures import MEASURES
from hf_leep.report.card import notebook, render
from hf_leep.report.card.next_steps import Place, fine_tuning, loading
from hf_leep.report.card.page import page
from hf_leep.report.card.second_opinion import confirmation
from hf_leep.report.card.verdict import to_take, verdict
from hf_leep.report.card.wording import short_names, with_error, with_interval
from hf_leep.text import classes, code, count, duration, number, percent, plain, prose
from tests.report.card.test_fine_tuning import row, with_rows
from tests.report.conftest import measure
from tests.test_readme import paragraphs

GOLDEN = Path(__file__).with_name("golden.md")

EVIL = "a|b`c`<script>alert(1)</script>[x](https://evil.example)\n# headline\x1b[31m![i](j)**b**../../etc"


def test_the_card_is_the_golden_one(report):
    """Set UPDATE_GOLDEN=1 to accept a change, then read the diff."""
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(page(report), encoding="utf-8")
    assert page(report) == GOLDEN.read_text(encoding="utf-8")


def test_the_metadata_is_yaml_that_names_the_scores(report):
    _, block, _ = page(report).split("---\n", 2)
    metadata = yaml.safe_load(block)
    assert metadata["configs"] == [{"config_name": "default", "data_files": "scores.parquet"}]
    assert metadata["task_categories"] == ["image-classification"]
    assert "leep" in metadata["tags"]


def _tables(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_names_change_nothing_outside_their_cell(report):
    clean = page(report)
    for candidate in report["candidates"]:
        candidate["id"] += EVIL
        candidate["reason"] = EVIL
        candidate["notes"] = [EVIL]
        candidate["stated_on"] = EVIL
    report["target"].update(dataset=EVIL, split=EVIL, config=EVIL, label_column=EVIL, warnings=[EVIL])
    for found in report["measure_details"].values():
        found.update(title=EVIL, unit=EVIL, reference=EVIL, summary=EVIL)
    report["certificate"].update(unchecked=[EVIL])
    report["baselines"][1]["name"] = EVIL
    report["run"]["command"] = EVIL
    report["run"]["versions"] = {EVIL: EVIL}
    for candidate in report["candidates"][:3]:
        candidate["run"].update(dtype=EVIL, processor_backend=EVIL, device=EVIL)
        for served in candidate["explanation"]["classes"]:
            served["name"] = EVIL
            served["sources"][0]["name"] = EVIL
        for used in candidate["explanation"]["source_classes"]:
            used["name"] = used["targets"][0]["name"] = EVIL
        for example in candidate["explanation"]["examples"]:
            example.update(label=EVIL, likely=EVIL, source=EVIL)
    dirty = page(report)
    assert "\x1b" not in dirty
    assert [line for line in dirty.splitlines() if line.startswith("#")] == [
        line.replace("`user/flowers`", "`etc`")  # the last part of a path
        for line in clean.splitlines()
        if line.startswith("#")
    ]
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in _tables(dirty)]
    assert cells == [len(re.findall(r"(?<!\\)\|", line)) for line in _tables(clean)]
    unescaped = re.sub(r"\\.", "", dirty)
    outside_code = re.sub(r"```.*?\n```|`[^`\n]*`", "", unescaped, flags=re.DOTALL)
    assert "<script" not in outside_code
    assert "](https://evil" not in outside_code
    assert "![i](j)" not in outside_code
    why = next(line for line in dirty.splitlines() if line.startswith("<summary>Why"))
    assert unescape(why) == f"<summary>Why {plain(f'big/resnet{EVIL}')}</summary>"


def test_the_table_shows_the_accuracy_that_a_card_states(report):
    rows = [
        line.split(" | ")
        for line in page(report).split("<summary>All columns</summary>")[1].splitlines()
        if line.startswith(("| # |", "| 1 |", "| 2 |", "| 3 |"))
    ]
    column = rows[0].index("stated accuracy")
    assert [row[column] for row in rows[1:4]] == ["76.1 % on `ImageNet-1k (validation)`", "–", "76.1 %"]
    for candidate in report["candidates"]:
        candidate["stated_accuracy"] = None
    assert "tated accuracy" not in page(report)  # neither the column nor the sentence about it


def test_a_command_cannot_leave_its_block(report):
    report["run"]["command"] = "hf-leep rank --dataset ```\n# free\n"
    block = page(report).split("<summary>How it was run</summary>")[1]
    assert "\n# free" not in block
    assert sum(line.startswith("```") for line in block.splitlines()) == 2


@pytest.mark.parametrize("opinion", ["agrees", "contradicted", "too few rows"])
@pytest.mark.parametrize("apart", [False, True])
def test_no_sentence_outside_the_folds_is_long(report, opinion, apart):
    report["second_opinion"]["verdict"] = opinion
    if apart:
        letters(report, "a", "b", "c")
    text = re.sub(r"<details>.*?</details>", "", page(report).split("---\n", 2)[2], flags=re.DOTALL)
    lines = [sentence for paragraph in paragraphs(text) for sentence in re.split(r"\n|(?<=[.:;?!])\s+", paragraph)]
    assert any("LEEP" in line for line in lines)
    assert max(len(line.split()) for line in lines) <= 30, max(lines, key=lambda line: len(line.split()))


def test_one_winner_is_named_with_its_lead(report):
    for candidate, letter in zip(report["candidates"], "abb", strict=False):
        candidate["tie_letters"] = letter
    report["num_disagreements"] = 0
    text = page(report)
    assert (
        "`big/resnet` ranks first of 3, clearly ahead of all others. Its LEEP is −0.812 nats; its lead over the "
        "second, `small/resnet`, is 0.018 ± 0.029." in text
    )
    assert "orders disagree" not in text


def test_of_two_candidates_the_lead_is_said_once(report):
    letters(report, "a", "b")
    del report["candidates"][2:]
    assert verdict(report, code)[0] == (
        "`big/resnet` ranks first of 2, clearly ahead of `small/resnet`. Its LEEP is −0.812 nats; its lead is 0.018 ± "
        "0.029."
    )


def test_long_names_can_be_broken_in_the_short_table(report):
    named = ("mobilenet_v1_0.25_224_imagenet_float", "x" * 40, "<b>`|*a*|<b>owner_of_a_long_name")
    for name, candidate in zip(named, report["candidates"], strict=False):
        candidate.update(id=name, revision="sha256:0")
    short, rest = page(report).split("## What to do next")
    rows = [line.split(" | ")[1] for line in short.splitlines() if re.match(r"\| \d\s", line)]
    assert rows[0].replace("&#95;", "_") == (
        "<code>mobilenet_<wbr>v1_<wbr>0.25_<wbr>224_<wbr>imagenet_<wbr>float</code>"
    )
    assert [unescape(row.replace("<wbr>", ""))[6:-7] for row in rows] == list(named)
    assert re.findall("x+", rows[1]) == ["x" * 10] * 4
    assert f"`{named[0]}`" in rest


def least_width(cell, bold=False):
    """Pixels that a browser needs for a cell in DejaVu Sans, the widest of the usual fonts, with GitHub's style."""
    inside = re.sub(r"\[(.*)\]\(.*\)", r"\1", cell)
    is_code = inside.startswith(("`", "<code>"))
    parts = re.split(r"<wbr>|(?<=-)|\u00ad| ", re.sub(r"</?code>|`", "", inside))
    font = "DejaVuSansMono.ttf" if is_code else "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    drawn = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font, 13.6 if is_code else 16)
    return 27 + max(map(drawn.getlength, map(unescape, parts))) + (11 if is_code else 0)


@pytest.mark.parametrize("title", sorted(found.title for found in MEASURES.values()))
def test_the_short_tables_fit_a_phone(report, title):
    names = ("microsoft/resnet-50", "facebook/deit-tiny-patch16-224", "timm/mobilenetv3_small_100")
    for name, candidate, found in zip(names, report["candidates"], ("a", "abcd", "aceg"), strict=False):
        candidate.update(id=name, tie_letters=found)
    rows = row(0, 1, 0.95, (0.0, 0.0)), row(1, 2, 0.90, (0.05, 0.02)), row(2, 12, in_round=(0.01, 0.04))
    data = with_rows(report, *({**one, "id": name} for one, name in zip(rows, names, strict=True)))
    data["measure_details"]["leep"]["title"] = title
    outside = re.sub(r"<details>.*?</details>", "", page(data).split("---\n", 2)[2], flags=re.DOTALL)
    tables = re.findall(r"(?:^\|.*\n)+", outside, flags=re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        headings, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        widths = [
            max(least_width(heading, bold=True), *(least_width(cell) for cell in cells))
            for heading, *cells in zip(headings, *lines, strict=True)
        ]
        assert 1 + sum(widths) <= 390 - 2 * 16, dict(zip(headings, widths, strict=True))


@pytest.mark.parametrize(
    ("title", "first"),
    [("ridge log-likelihood", "Ridge"), ("leave-one-out LEEP", "Leave-one-out"), ("kNN", "kNN"), ("LogME", "LogME")],
)
def test_a_sentence_begins_with_a_capital_also_where_a_title_begins_it(report, title, first):
    report["measure_details"]["leep"]["title"] = title
    assert re.search(rf"^{first}\b.* scores how well a checkpoint's predictions", page(report), flags=re.MULTILINE)


def test_one_score_alone_is_said_to_say_little(report):
    del report["candidates"][1:]
    assert verdict(report, code)[0] == (
        "`big/resnet` is the only candidate with a score: LEEP −0.812 nats. One score says little: rank others on the "
        "same images."
    )
    assert "are tied" not in page(report)


def test_predictions_that_say_nothing_are_called_that(report):
    words = "no candidate is clearly better than guessing by class frequency: do not choose by this order."
    for candidate in report["candidates"][:2]:
        candidate["scores"]["leave-one-out-leep"]["value"] = -2.31
    assert words not in page(report)  # the third does
    report["candidates"][2]["scores"]["leave-one-out-leep"]["value"] = -2.28
    report["candidates"][2]["scores"]["leave-one-out-leep"]["half_width"] = 0.0196
    assert words not in page(report)  # beyond its error
    report["candidates"][2]["scores"]["leave-one-out-leep"]["value"] = -2.29
    assert words in page(report)
    report.update(sort_by="leave-one-out-leep", checked_by=None, num_disagreements=0)
    assert words in page(report)
    for candidate in report["candidates"][:3]:
        del candidate["scores"]["leave-one-out-leep"]
    report.update(sort_by="leep", measures=["leep"], checked_by="leave-one-out-leep")
    assert words not in page(report)  # the checks say otherwise


def test_predictions_that_say_nothing_are_not_advice(report):
    for candidate in report["candidates"][:3]:
        candidate["scores"]["leave-one-out-leep"]["value"] = -2.31
    assert "The probability of having the best" not in page(report)
    assert "from_pretrained" not in page(report)
    assert "--fine-tune" in page(report)
    report["measure_details"]["leep"]["needs"] = "features"  # the order is of something else
    assert "do not choose by this order" not in page(report)
    assert "from_pretrained" in page(report)


def test_what_it_takes_at_least_to_settle_the_first_place_is_said(report):
    words = "At least about 6,600 images are needed to settle the first place with 80 % probability.\n"
    assert words in page(report)
    report["settling"] = [{"places": 1, "num_examples": 2599}]  # rounded down: it is a lower bound
    assert "needed to settle" not in page(report)
    for unknown in ([{"places": 1, "num_examples": None}], []):
        report["settling"] = unknown
        assert "needed to settle" not in page(report)


def test_the_likely_best_of_a_tie_are_named(report):
    words = (
        "The probability of having the best leave-one-out LEEP is 70\u00a0% for `small/resnet` and 30\u00a0% for "
        "`big/resnet`.\n"
    )
    assert words in page(report)
    for candidate in report["candidates"]:
        candidate["probability_best"] = None
    assert "The probability of having the best" not in page(report)


def test_it_says_that_only_candidates_with_a_known_error_have_a_probability(report):
    words = ("among those with a known error is", "The others get a dash, but may still be the best.")
    assert not any(part in page(report) for part in words)
    report["candidates"][2]["probability_best"] = None
    assert all(part in page(report) for part in words)


def test_copies_are_named_where_they_share_the_probability(report):
    words = (
        "`big/resnet` and `small/resnet` have the same scores on all images, so they are probably copies. They share "
        "one probability, and more images will not tell them apart.\n"
    )
    assert words not in page(report)
    report["candidates"][1]["same_as"] = 1
    assert words in page(report)
    report["candidates"][1]["probability_best"] = report["candidates"][0]["probability_best"]
    assert verdict(report, code)[-1].endswith(
        "take `big/resnet`, the first of those that are equally likely to be the best."
    )
    report["candidates"][1]["same_as"] = None
    report["candidates"].insert(3, {**report["candidates"][2], "id": "copied/resnet", "rank": 4, "same_as": 3})
    letters(report, "a", "a", "b", "b")
    assert "The probability of having the best" in page(report)
    assert "probably copies" not in page(report)  # nobody asks about those that are behind


def test_nothing_ranked_is_said_and_has_no_plot(report):
    report["candidates"] = report["candidates"][3:]
    report["size"]["bands"] = []
    files = render(report)
    assert set(files) == {"README.md", "report.html", "scores.parquet"}
    assert "No candidate could be ranked: the only one was refused or failed." in files["README.md"].decode()
    assert "plots/scores.png" not in files["README.md"].decode()
    assert "<details open>\n<summary>1 candidate not ranked, and why" in files["README.md"].decode()
    report["candidates"] *= 2
    assert "No candidate could be ranked: both were refused or failed." in verdict(report, code)


def test_notes_are_told_once_with_those_they_are_about(report):
    for candidate in report["candidates"]:
        candidate["notes"] = ["gated", f"licence {candidate['id']}"]
    section = page(report).split("--top 3 --budget 20m\n```\n\n")[1].split("\n\n")[0]
    assert section.splitlines()[2:] == [
        "- gated (all candidates)",
        "- licence big/resnet (`big/resnet`)",
        "- licence small/resnet (`small/resnet`)",
        "- licence weak/resnet (`weak/resnet`)",
    ]


def test_a_winner_that_saw_the_rows_is_said_to_have(report):
    first, second, third, _ = report["candidates"]
    words = "But `big/resnet` may have been trained on these images, which would raise its score"
    assert words not in page(report)
    first["trained_on_target"] = second["trained_on_target"] = True
    assert f"{words}. The best candidate that is not known to have seen them is `weak/resnet`.\n" in page(report)
    third["trained_on_target"] = True
    assert f"{words}.\n" in page(report)


def test_a_streamed_sample_is_not_called_stratified(report):
    report["target"]["streamed"] = True
    assert "| examples | 2,500 of 60,000, a streamed sample with seed 0 |" in page(report)
    report["target"]["num_rows"] = 2500
    assert "| examples | 2,500, a streamed sample with seed 0 |" in page(report)
    report["target"]["streamed"] = False
    assert "| examples | 2,500, the whole split |" in page(report)


def test_the_checks_of_the_measures_stand_on_the_page_and_before_everything_if_they_failed(report):
    report["certificate"]["unchecked"] = ["my-measure"]
    assert "All 10 checks of its measures passed" in page(report)
    assert "have no checks: my-measure." in page(report)
    report["certificate"]["failed"] = ["leep: constant predictions score −Ĥ(Y)"]
    assert "measures passed" not in page(report)
    assert "1 of 10 checks of the measures failed" in verdict(report, code)[0]


def test_a_first_place_that_holds_only_pair_by_pair_says_so(report):
    report["candidates"][0]["rank_interval"] = [1, 1]
    for group, candidate in enumerate(report["candidates"][:3], start=1):
        candidate.update(tie_group=group, tie_letters="abc"[group - 1])
    assert "first of 3, clearly ahead of all others." in verdict(report, code)[0]
    assert not any("compared at once" in sentence for sentence in verdict(report, code))
    report["candidates"][0]["rank_interval"] = [1, 2]
    assert verdict(report, code)[1] == "If all pairs are compared at once, its rank may be 1–2."


def test_the_verdict_ends_with_which_candidate_to_take(report):
    only = "If you can fine-tune only one of them, take"
    assert verdict(report, code)[-1] == f"{only} `small/resnet`, the most likely to be the best."  # 70 %
    report["candidates"][0]["probability_best"] = 0.8
    assert verdict(report, code)[-1] == f"{only} `big/resnet`, the most likely to be the best."
    letters(report, "a", "b", "c")
    assert _calibrated_best(report, 0)[-1] == "Fine-tune `big/resnet` first."  # another head is more accurate
    report["second_opinion"]["best"] = "big/resnet"
    assert _calibrated_best(report, 0)[-1] == "So fine-tune `big/resnet`."
    assert _calibrated_best(report, 2)[-1] == "So fine-tune both `big/resnet` and `weak/resnet`."
    letters(report, None, "a", "a")
    assert "ine-tune" not in verdict(report, code)[-1]  # the error of the first is not known


def letters(report, *texts):
    for candidate, text in zip(report["candidates"], texts, strict=False):
        candidate.update(tie_letters=text, tie_group=None if text is None else 1)


def test_in_a_chain_the_verdict_names_only_those_that_the_first_is_not_told_apart_from(report):
    letters(report, "a", "ab", "b")
    said = verdict(report, code)
    assert said[0] == (
        "`big/resnet` has the highest LEEP, −0.812 nats. With these images, 1 of the other 2 may be as good: "
        "`small/resnet`, which is smaller (5M parameters)."
    )
    assert any("`weak/resnet` would be first" in sentence for sentence in _calibrated_best(report, 2))
    assert not any("would be first" in sentence for sentence in _calibrated_best(report, 1))
    report["candidates"][2]["rank_interval"] = [1, 3]
    assert verdict(report, code)[1] == "If all pairs are compared at once, 3 of the 3 candidates may be the best."
    rows = [line for line in page(report).splitlines() if re.match(r"\| \d \| [a-z]+ \|", line)]
    assert [row.split(" | ")[1] for row in rows] == ["a", "ab", "b"]
    del report["candidates"][2]
    assert (
        "With these images, `small/resnet` may be as good, and is smaller (5M parameters)." in verdict(report, code)[0]
    )


def test_of_several_that_may_be_as_good_the_smallest_is_named(report):
    letters(report, "a", "a", "a")
    assert "both others may be as good: `small/resnet` and `weak/resnet`." in verdict(report, code)[0]
    assert verdict(report, code)[1] == "The smallest of these is `small/resnet` (5M parameters)."
    size, report["candidates"][2]["num_parameters"] = report["candidates"][2]["num_parameters"], 5_000_001
    assert verdict(report, code)[1] == "They are smaller than the first (5M parameters)."
    report["candidates"][2]["num_parameters"] = size
    report["candidates"][1]["num_parameters"] = 25_000_000  # of 25.6M
    assert "mallest" not in " ".join(verdict(report, code))


def _calibrated_best(report, position):
    for k, candidate in enumerate(report["candidates"][:3]):
        candidate["calibration"]["value"] = -0.5 if k == position else -1.5
    return verdict(report, code)


def test_a_candidate_without_an_error_is_not_told_apart_and_not_tied_either(report):
    letters(report, "a", "b", None)
    for candidate in report["candidates"]:
        candidate["rank_interval"] = None
    said = verdict(report, code)
    assert "first of 3, clearly ahead of all others whose error is known." in said[0]
    assert said[1] == "The error of the score of `weak/resnet` is not known, so its rank is uncertain."
    assert not any("would be first" in sentence for sentence in _calibrated_best(report, 2))
    assert "| 3 | – | " in page(report)
    assert "A dash means that the error of the score is not known" in page(report)
    letters(report, "a", None, None)
    assert verdict(report, code)[:2] == [
        "`big/resnet` has the highest LEEP, −0.812 nats.",
        "The errors of the scores of `small/resnet` and `weak/resnet` are not known, so their ranks are uncertain.",
    ]
    letters(report, "a", "a", None)
    assert (
        "1 of the other 2 may be as good: `small/resnet`, which is smaller (5M parameters)."
        in verdict(report, code)[0]
    )
    letters(report, None, "a", "b")
    assert "Its error is not known, so any other candidate may be as good." in verdict(report, code)[0]
    report["candidates"][1]["behind_best"].update(standard_error=None, half_width=None)
    letters(report, "a", None, "b")
    assert verdict(report, code)[0].endswith("its lead over the second, `small/resnet`, is 0.018.")


def test_a_page_without_a_rank_has_no_empty_tables(report):
    for candidate in report["candidates"]:
        candidate.update(rank=None, tie_group=None, tie_letters=None, scores={}, run=None, reason="it is no model")
    shown = page(report)
    assert "What the numbers mean" not in shown
    assert "image backend" not in shown


def test_what_is_explained_is_shown_wherever_a_candidate_has_it(report):
    report["measure_details"]["logme"] = measure("logme")
    report.update(measures=["logme"], sort_by="logme", checked_by=None, num_disagreements=0)
    for candidate in report["candidates"]:
        candidate["scores"] = {"logme": candidate["scores"]["leep"]} if candidate["scores"] else {}
        candidate["check"] = None
    report["candidates"][1]["entropy_explained"] = None
    report["candidates"][2]["entropy_explained"] = -0.2
    columns = page(report).split("<summary>All columns</summary>")[1]
    rows = [line.split(" | ") for line in columns.splitlines() if re.match(r"\| [#123] \|", line)][:4]
    assert [row[4] for row in rows] == ["entropy explained", "56 %", "–", "0 %"]
    assert "- **entropy explained**" in page(report)
    assert "<th>entropy explained</th>" in notebook(report)
    for candidate in report["candidates"]:
        candidate["entropy_explained"] = None
    assert "entropy explained" not in page(report)
    assert "<th>entropy explained</th>" not in notebook(report)


def test_rendering_is_repeatable(report):
    assert render(report) == render(report)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (-0.5, "−0.500"), (-0.0001, "0.000"), (0.0, "0.000"), (12.3456, "12.346")],
)
def test_numbers(value, text):
    assert number(value) == text


def test_counts_and_durations():
    assert [count(v) for v in (None, 5, 15674, 25_557_032, 7e9)] == ["–", "5", "15.7k", "25.6M", "7B"]
    assert [classes(v) for v in (None, 5, 21843)] == ["–", "5", "21,843"]
    assert [duration(v) for v in (2.34, 59.96, 61.2, 1200, 3600, 3720)] == [
        "2.3 s",
        "1 min",
        "1 min 1 s",
        "20 min",
        "1 h",
        "1 h 2 min",
    ]
    assert with_error({"value": -1.0, "half_width": None}) == "−1.000"
    assert with_error({"value": -1.0, "half_width": 0.196}) == "−1.00 ± 0.20"
    even = {"value": -1.0, "half_width": 0.196, "interval": [-1.196, -0.82]}
    assert with_interval(even) == "−1.00 ± 0.20"
    assert with_interval({"value": -0.01, "half_width": 0.05, "interval": [-0.06, 0.0]}) == "−0.01 (−0.06 to 0.00)"
    assert with_interval({"value": None, "half_width": None, "interval": None}) == with_interval(None) == "–"
    assert [percent(v) for v in (0.95, 0.9, 0.9999)] == ["95 %", "90 %", "99.99 %"]


def test_escaping():
    assert code("a`b|c\nd\x1b[0m") == "`a'b¦c d [0m`"
    assert prose("*a* <b> [c](d) http://e") == "\\*a\\* \\<b\\> \\[c\\](d) http:\u200b//e"


def test_short_names_are_the_last_part_of_a_path_where_that_tells_them_apart():
    def local(path):
        return {"id": path, "revision": "sha256:1"}

    hub = {"id": "user/model", "revision": "0" * 40}
    assert short_names([local("/a/b/model-1"), local("./c/model-2"), hub]) == ["model-1", "model-2", "user/model"]
    assert short_names([local("/a/best"), local("/b/best"), local("/c/a/best")]) == ["best (2)", "b/best", "c/a/best"]
    assert short_names([local("/x/a/best"), local("/x/b/best")]) == ["a/best", "b/best"]
    assert short_names([local("/user/model"), hub]) == ["model", "user/model"]
    assert short_names([local("/model"), {"id": "model", "revision": "0" * 40}]) == ["model (2)", "model"]
    assert short_names([local("/a/best"), local("/a/best")]) == ["best", "best"]


def test_the_first_screen_is_short_and_the_rest_is_folded(report):
    text = page(report).split("---\n", 2)[2]
    assert text.count("<details>") == text.count("</details>")
    outside = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert outside.count("\n| # |") == 1
    heading = next(line for line in outside.splitlines() if line.startswith("| # |"))
    assert heading.count("|") - 1 <= 6
    shown = re.sub(r"\]\([^)]*\)", "]", outside)
    assert len(shown.split()) < 400


def test_a_path_is_no_title(report):
    report["target"].update(dataset="/home/me/data/flowers", revision=None)
    assert "# Which checkpoint to fine-tune for `flowers`\n" in page(report)


def untrained(report, *places):
    for place in places:
        report["candidates"][place]["untrained"] = True
        report["candidates"][place].update(tie_letters="b", tie_group=2, probability_best=None)


def test_a_candidate_that_was_never_trained_is_said_to_be_last_for_that_reason(report):
    letters(report, "a", "a", "b")
    untrained(report, 2)
    said = verdict(report, code)
    assert said[0] == (
        "`big/resnet` has the highest LEEP of the trained candidates, −0.812 nats. With these images, `small/resnet` "
        "may be as good, and is smaller (5M parameters)."
    )
    assert "`weak/resnet` was never trained, so it is ranked last." in said
    report["candidates"][2]["scores"]["leep"]["value"] = -0.5
    assert "`weak/resnet` was never trained, so it is ranked last, whatever the score." in verdict(report, code)
    assert to_take(report)["id"] == "small/resnet"

    untrained(report, 1)
    said = verdict(report, code)
    assert said[0].startswith("`big/resnet` is the only trained candidate with a score: LEEP −0.812 nats.")
    assert (
        said[1] == "`small/resnet` and `weak/resnet` were never trained, so they are ranked last, whatever the score."
    )
    assert to_take(report)["id"] == "big/resnet"


def test_no_head_of_a_candidate_that_was_never_trained_counts_beside_those_that_were(report):
    untrained(report, 2)
    report["candidates"][2]["head_accuracy"]["value"] = 0.99
    for candidate, value in zip(report["candidates"], (0.85, 0.80), strict=False):
        candidate["head_accuracy"]["value"] = value
    opinion = {"verdict": "agrees", "first": "big/resnet", "best": "big/resnet", "gap": 0.0}
    report["second_opinion"].update(opinion, half_width=0.02)
    assert confirmation(report, code) == (
        "A linear head on the features of `big/resnet` is also the most accurate, 5.0 ± 2.0 points ahead of that of "
        "`small/resnet`."
    )


def test_where_none_was_trained_the_verdict_says_so(report):
    untrained(report, 0, 1, 2)
    words = (
        "None of these candidates was ever trained, so fine-tuning them is training from scratch. Add trained "
        "candidates."
    )
    said = verdict(report, code)
    assert words in said
    assert not [sentence for sentence in said if " take " in sentence or sentence.startswith("So ")]
    assert to_take(report) is None
    assert loading(report) is None
    del report["candidates"][1:3]
    assert (
        "`big/resnet` was never trained, so fine-tuning it is training from scratch. Add trained candidates."
        in verdict(report, code)
    )


def test_the_trained_candidates_are_counted_as_such(report):
    letters(report, "a", "a", "a")
    fourth = copy.deepcopy(report["candidates"][2])
    fourth.update(id="random/resnet", rank=4)
    report["candidates"].insert(3, fourth)
    untrained(report, 3)
    assert (
        "both other trained candidates may be as good: `small/resnet` and `weak/resnet`." in verdict(report, code)[0]
    )
    letters(report, "a", "a", "b")
    assert "1 of the other 2 trained candidates may be as good: `small/resnet`" in verdict(report, code)[0]
    letters(report, "a", "b", "b")
    assert verdict(report, code)[0].startswith(
        "`big/resnet` ranks first of the 3 trained candidates, clearly ahead of all others."
    )


def test_the_suggested_shortlist_is_of_trained_candidates(report):
    report["second_opinion"] = None
    assert "--top 3" in fine_tuning(report, Place("report"))[1]
    untrained(report, 2)
    assert "--top 2" in fine_tuning(report, Place("report"))[1]
    untrained(report, 1)
    assert fine_tuning(report, Place("report")) is None
    untrained(report, 0)
    assert fine_tuning(report, Place("report")) is None
