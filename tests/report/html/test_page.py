import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from hf_leep.report.html import details, interactive

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&amp;\u2028\u202e\x00\x1b[31m\ud800"
ASKS = {"src", "srcset", "data", "action", "formaction", "poster", "ping", "background"}  # attributes with addresses


class Page(HTMLParser):
    """Tags with their attributes, the text outside scripts, and the texts of scripts and styles."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.raw, self.within = [], [], [], None
        self.feed(content.decode())

    def handle_starttag(self, tag, attributes):
        if tag == "wbr":  # where a long name may be broken
            return
        self.tags.append((tag, dict(attributes)))
        self.within = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, text):
        (self.raw if self.within else self.text).append(text)


def embedded(content):
    found = re.findall(rb'<script type="application/json" id="data">(.*?)</script>', content, re.DOTALL)
    return json.loads(found[0])


@pytest.fixture
def hostile(report):
    """A report in which every text from elsewhere tries to get out."""

    def spoil(value, key=None):
        if isinstance(value, dict):
            return {k: spoil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(v, key) for v in value]
        free = ("id", "name", "label", "likely", "source", "license", "reason", "warnings", "notes", "dataset")
        more = ("config", "split", "command", "title", "unit", "trained_on", "stated_on", "device", "dtype", "first")
        return value + HOSTILE if isinstance(value, str) and key in (*free, *more, "best", "summary") else value

    return spoil(report)


def test_hostile_names_are_text(report, hostile):
    plain, spoilt = Page(interactive(report)), Page(interactive(hostile))
    kinds = [(tag, set(attributes)) for tag, attributes in plain.tags]
    assert [(tag, set(attributes)) for tag, attributes in spoilt.tags] == kinds or len(spoilt.tags) == len(kinds)
    assert [tag for tag, _ in spoilt.tags].count("script") == 2
    assert not {"img", "iframe", "object", "embed", "link", "base"} & {tag for tag, _ in spoilt.tags}
    assert not any(name.startswith("on") or name == "style" for _, attributes in spoilt.tags for name in attributes)
    assert any("<script>alert(1)</script>" in text for text in spoilt.text)  # shown as it is


def test_long_names_break_after_their_parts_and_numbers_do_not(report):
    name = "mobilenet_v1_0.25_224_imagenet_float"
    report["candidates"][0]["id"] = name
    content = interactive(report).decode()
    assert ">mobilenet_<wbr>v1_<wbr>0.25_<wbr>224_<wbr>imagenet_<wbr>float</button>" in content
    assert name in "".join(Page(content.encode()).text)
    assert not re.search(r"\d\.<wbr>", content)


def test_the_embedded_data_cannot_end_its_element(hostile):
    content = interactive(hostile)
    (text,) = re.findall(rb'id="data">(.*?)</script>', content, re.DOTALL)
    assert not set(b"<>&\x00\x1b") & set(text)
    assert text.isascii()  # U+2028, which ends a line of JavaScript, is an escape
    assert "alert(1)" in embedded(content)["candidates"][0]["name"]
    assert "\x1b" not in content.decode()
    assert "\u202e" not in content.decode()


def test_it_asks_for_nothing_and_allows_only_its_own_script_and_style(report):
    content = interactive(report)
    page = Page(content)
    for tag, attributes in page.tags:
        assert not ASKS & set(attributes), (tag, attributes)
        if tag == "a":
            assert attributes["href"].startswith("#")
    code = "".join(page.raw)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(|WebSocket|innerHTML|eval\(", code)
    assert set(re.findall(rb"https?://[^\s\"'<]+", content)) <= {b"http://www.w3.org/2000/svg"}
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for kind, of in (("script-src", "script"), ("style-src", "style")):
        (own,) = re.findall(rf"<{of}>(.*?)</{of}>".encode(), content, re.DOTALL)
        assert rules[kind] == f"'sha256-{base64.b64encode(hashlib.sha256(own).digest()).decode()}'"


def test_the_table_says_what_the_report_says(report):
    page = Page(interactive(report))
    text = " ".join("".join(page.text).split())
    for found in ("big/resnet", "−0.812", "25.6M", "cc-by-nc-4.0", "1–2", "30 %", "base/bert", "no trained"):
        assert found.replace("\u00a0", " ") in text.replace("\u00a0", " ")
    rows = [attributes for tag, attributes in page.tags if tag == "tr" and "data-index" in attributes]
    assert [("data-tied" in row, row["class"], row["data-size"]) for row in rows] == [
        (True, "group0", "25557032"),
        (True, "group0", "5000000"),
        (False, "group1", "25557032"),
    ]
    tips = [attributes["data-tip"] for tag, attributes in page.tags if tag == "button" and "data-tip" in attributes]
    assert tips[0] == "big/resnet: LEEP −0.81 ± 0.04; 95 % interval from −0.851 to −0.773; ranks 1–2"


def test_the_title_of_the_plot_begins_with_a_capital(report):
    report["measure_details"]["leep"]["title"] = "leave-one-out LEEP"
    assert embedded(interactive(report))["measure_at_start"] == "Leave-one-out LEEP"


def test_the_details_are_those_of_the_report(report):
    found = embedded(interactive(report))
    first = found["candidates"][0]
    assert ["leave-one-out LEEP", "−1.02 ± 0.05"] in first["facts"]
    assert not any("same scores as" in fact for candidate in found["candidates"] for fact in candidate["facts"])
    report["candidates"][1]["same_as"] = 1
    second = embedded(interactive(report))["candidates"][1]
    assert ["same scores as", "big/resnet"] in second["facts"]
    target, examples, right, times, sources = first["explanation"]["classes"][0]
    assert (found["names"][target], examples, right, times) == ("daisy", 250, 0.9003, 8.998)
    assert [found["names"][source] for source, *_ in sources] == ["daisy, Bellis perennis, a name that is long", "bee"]
    assert found["cost"]["points"] == [
        [1, 5_000_000, -0.83, True],
        [0, 25_557_032, -0.812, True],
        [2, 25_557_032, -1.512, False],
    ]


def test_thumbnails_are_in_the_page_and_only_then_may_it_show_images(report):
    row = report["candidates"][0]["explanation"]["examples"][0]["row"]
    bare, pictured = interactive(report), interactive(report, {row: b"\xff\xd8\xffpixels"})
    assert b"img-src" not in bare
    assert embedded(bare)["thumbnails"] == {}
    assert b'; img-src data:"' in pictured
    assert base64.b64decode(embedded(pictured)["thumbnails"][str(row)]) == b"\xff\xd8\xffpixels"


def test_thumbnails_that_do_not_fit_are_left_out_from_the_last_on(report, monkeypatch):
    fits = len(interactive(report)) + 5_000
    monkeypatch.setattr(details, "MOST_IN_ALL", 60_000)
    content = interactive(report, {row: bytes(3_000) for row in range(100)})
    shown = embedded(content)["thumbnails"]
    assert list(shown) == [str(row) for row in range(len(shown))]
    assert 3 < len(shown) < 100
    assert len(content) < fits + 60_000


def many(report, num_candidates, num_classes):
    """A large report, in which each candidate has class names of its own."""
    found = report["candidates"][0]
    for k in range(num_candidates):
        explanation = copy.deepcopy(found["explanation"])
        explanation["classes"] = [
            {**explanation["classes"][j % 10], "name": f"class {j}", "sources": [
                {"name": f"source {j} of {k}, long name", "weight": 0.123456789, "conditional": 0.2, "share": 0.1}
            ] * 3}
            for j in range(num_classes)
        ]  # fmt: skip
        yield {**found, "id": f"organisation/model-{k}", "rank": k + 1, "explanation": explanation}


def test_three_hundred_candidates_are_less_than_ten_megabytes(report):
    report["candidates"] = list(many(report, 300, 100))
    content = interactive(report, {row: bytes(4_000) for row in range(3_000)})
    assert len(content) < 10_000_000
    assert len(embedded(content)["thumbnails"]) > 50
    assert len(embedded(content)["candidates"]) == 300


def test_what_does_not_fit_is_left_out_from_the_last_candidate_on_and_said(report, monkeypatch):
    report["candidates"] = list(many(report, 12, 40))
    monkeypatch.setattr(details, "MOST_BYTES", 40_000)
    content = interactive(report)
    found = embedded(content)
    explained = ["explanation" in candidate for candidate in found["candidates"]]
    assert explained == sorted(explained, reverse=True)
    assert 0 < sum(explained) < 12
    assert "hf-leep explain FOLDER NAME" in found["candidates"][-1]["unexplained"]
    assert not any("of 11," in name for name in found["names"])


def test_lower_is_better_races_and_unknown_errors(report):
    report["measure_details"]["leep"]["higher_is_better"] = False
    report["candidates"][1]["stopped"] = {"look": 0, "behind": "big/resnet", "gap": 0.5, "margin": 0.1}
    report["candidates"][2].update(
        tie_group=None, tie_letters=None, interval=None, rank_interval=None, probability_best=None
    )
    content = interactive(report)
    rows = [attributes["class"] for tag, attributes in Page(content).tags if "data-index" in attributes]
    assert rows == ["group0", "groupx", "group-"]
    assert embedded(content)["higher"] is False


def test_nothing_ranked_has_no_table(report):
    report["candidates"] = report["candidates"][3:]
    page = Page(interactive(report))
    assert "table" not in [tag for tag, _ in page.tags]
    assert any("base/bert" in text for text in page.text)
