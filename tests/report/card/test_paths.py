"""No page names a path of the machine that made it, wherever report.json holds one."""

import copy
import re

import pytest

from hf_leep.report import Report, card
from hf_leep.report.card import without_paths

USER = "/home/jane doe"
HOME = f"{USER}/work"


@pytest.fixture
def local(report):
    """A report on folders, with paths in every text that can hold one."""
    report["target"].update(dataset=f"{HOME}/flowers", revision=None)
    first, second, third, failed = report["candidates"]
    ids = f"{HOME}/one/best", f"{HOME}/two/best", f"{HOME}/weak", f"{HOME}/no head"
    for candidate, identity in zip((first, second, third, failed), ids, strict=True):
        candidate.update(id=identity, revision="sha256:" + "1" * 64)
    failed["reason"] = f"'{HOME}/no head' has no head (did you mean {HOME}/weak?); see {USER}/.cache/x/config.json"
    first["notes"] = [f"the licence is in file://{HOME}/one/best/LICENSE"]
    first["scores"]["leep"]["warnings"] = ["the processor of /opt/models/vit/preprocessor_config.json was used"]
    report["second_opinion"].update(first=ids[0], best=ids[1])
    for band, identity in zip(report["size"]["bands"], (ids[1], ids[0]), strict=True):
        band["best"]["id"] = identity
    report["target"]["warnings"] = [r"2 bad rows were left out: C:\Users\jane\a.png, '/home/jane doe/b.png'"]
    report["target"]["bad_rows"] = [
        {"row": 3, "name": f"3 ({HOME}/flowers/c.png)", "reason": "cut off", "drawn": True}
    ]
    report["run"]["command"] = (
        f"hf-leep rank --dataset '{HOME}/flowers' --models '{ids[0]}' --output='/home/jane doe/r'"
    )
    report["headless"]["command"] = f"hf-leep rank --models '{ids[3]}' --output /srv/reports/r-auto"
    return report


def test_no_file_of_a_report_but_report_json_and_its_table_names_a_path(local, tmp_path):
    saved = Report(local).save(tmp_path / "report")
    for name in ("README.md", "report.html"):
        text = (saved / name).read_text(encoding="utf-8")
        found = [word for word in ("jane", "/home", "/srv", "/opt/", "Users", str(tmp_path)) if word in text]
        assert not found, (name, found)
    assert f"{HOME}/one/best" in (saved / "report.json").read_text(encoding="utf-8")  # validate reads it


def test_a_command_without_its_paths_is_said_to_be_shortened(local, report, tmp_path):
    said = re.compile("Paths are shortened to names here: `?report.json`? has the whole command.")
    saved = Report(local).save(tmp_path / "report")
    local["run"]["command"] = "hf-leep rank --dataset flowers --models best"
    as_it_was = Report(local).save(tmp_path / "as it was")
    for name in ("README.md", "report.html"):
        assert said.search((saved / name).read_text(encoding="utf-8"))
        assert not said.search((as_it_was / name).read_text(encoding="utf-8"))
    pushed = card.render(without_paths(local), place=card.Place(repo_id="user/ranking"))
    assert not said.search(pushed["README.md"].decode())


def test_names_are_the_same_in_every_part_of_the_report(local):
    shown = without_paths(local)
    assert [candidate["id"] for candidate in shown["candidates"]] == ["one/best", "two/best", "weak", "no head"]
    assert (shown["second_opinion"]["first"], shown["second_opinion"]["best"]) == ("one/best", "two/best")
    assert shown["size"]["bands"][0]["best"]["id"] == "two/best"
    assert shown["target"]["dataset"] == "flowers"
    assert shown["candidates"][3]["reason"] == "'no head' has no head (did you mean weak?); see .cache/x/config.json"
    assert shown["candidates"][0]["notes"] == ["the licence is in one/best/LICENSE"]
    assert shown["run"]["command"] == "hf-leep rank --dataset 'flowers' --models 'one/best' --output='r'"
    assert shown["headless"]["command"] == "hf-leep rank --models 'no head' --output r-auto"
    assert shown["target"]["bad_rows"][0]["name"] == "3 (flowers/c.png)"
    assert without_paths(shown) == shown


def test_what_is_no_path_stays(report):
    report["target"]["class_names"][0] = "/m/04rlf"  # as AudioSet calls a class
    report["run"]["command"] = (
        "hf-leep rank --dataset user/flowers --models ./mine ../shared/vit hf://a/b user/vit@main"
    )
    report["target"]["warnings"] = ["read https://huggingface.co/user/vit/tree/main and/or n/a; 3/4 of 5 images/s"]
    before = copy.deepcopy(report)
    assert without_paths(report) == before
    assert report == before


@pytest.mark.parametrize(
    ("path", "name"),
    [("/x", "x"), ("/home/jane/", "jane"), ("/a/b c/d", "d"), ("C:\\m\\n", "n"), ("/ü/\udce9", "\udce9"), ("/", "/")],
)
def test_any_path_leaves_a_name(local, path, name):
    local["target"]["dataset"] = path
    assert without_paths(local)["target"]["dataset"] == name
    local["candidates"][2]["id"] = path
    assert card.render(local)
