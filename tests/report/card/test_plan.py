"""The plan as people see it, at the widths of their terminals."""

import io

import pytest
from rich.console import Console

from hf_leep.report.card.plan import planned

CANDIDATE = {
    "id": "somebody-with-a-long-name/vit-large-patch32-384-in21k-finetuned",
    "revision": "0123456789abcdef",
    "action": "run",
    "reason": None,
    "num_source_classes": 21_843,
    "num_parameters": 303_000_000,
    "license": "cc-by-nc-sa-4.0",
    "gated": True,
    "headless": False,
    "for_features": False,
    "download_bytes": 1_210_000_000,
}
HEADLESS = {
    **CANDIDATE,
    "id": "some/encoder",
    "action": "skip",
    "reason": "no trained classification head",
    "headless": True,
    "for_features": True,
}
PLAN = {
    "target": {},
    "candidates": [CANDIDATE, {**CANDIDATE, "id": "me/b", "action": "stored", "download_bytes": 0}, HEADLESS],
    "download_bytes": 2_420_000_000,
}


def shown(width, plan=PLAN):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(planned(plan, width), crop=False)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_and_says_what_is_downloaded(width):
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    joined = "".join(text.split())
    for word in ("1.21GB", "inthestore", "gated", "✗some/encoder", "todownload:2.42GB"):
        assert word in joined
    assert text.count("…") == (width < 200)  # a name is cut, and nothing else
    assert "cc-by-nc-sa" in joined


def test_a_narrow_terminal_goes_without_the_least_important_columns():
    assert all(word in shown(120) for word in ("revision", "0123456", "classes", "21,843", "303M"))
    narrow = shown(60)
    assert not any(word in narrow for word in ("revision", "0123456"))
    assert "licence" in narrow


def test_in_a_file_every_line_is_whole():
    console = Console(width=80, file=io.StringIO(), color_system=None)
    long = {**CANDIDATE, "id": f"somebody/{'a-long-name-' * 20}"}
    console.print(planned({**PLAN, "candidates": [*PLAN["candidates"], long]}), crop=False)
    lines = console.file.getvalue().splitlines()
    for candidate in (CANDIDATE, long):
        (line,) = [line for line in lines if line.startswith(candidate["id"])]
        assert line.endswith("0123456   21,843    303M       1.21 GB  cc-by-nc-sa-4.0 (gated)")


def test_where_no_candidate_has_a_head_it_says_how_to_rank_them():
    alone = {**HEADLESS, "for_features": False, "download_bytes": 0}
    refused = {**alone, "id": "me/refused", "reason": "pickled weights only", "headless": False}
    for candidates, subject, them in (
        ([alone, refused], "1 candidate has", "it"),
        ([alone, alone], "2 candidates have", "them"),
    ):
        text = shown(200, {**PLAN, "candidates": candidates})
        advice = f"{subject} no trained classification head. To rank {them} by features, add --sort-by auto."
        assert text.splitlines()[-1] == advice
    for candidates in ([refused], PLAN["candidates"]):
        assert "--sort-by auto" not in shown(200, {**PLAN, "candidates": candidates})
