import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from hf_leep.report.card import render
from hf_leep.report.card.plots import FILES, draw, findings
from hf_leep.report.card.plots.scores import axis_label, draw_scores
from hf_leep.report.card.plots.style import FONT
from hf_leep.report.card.plots.tradeoff import draw_cost
from hf_leep.report.html import interactive
from hf_leep.report.palette import LIGHT

SVG = "{http://www.w3.org/2000/svg}"


def picture(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def pixels(report, name="scores"):
    return picture(draw(report)[f"plots/{name}.png"])


def colours(report, name="scores"):
    return {"#{:02x}{:02x}{:02x}".format(*c) for c in pixels(report, name).reshape(-1, 3)}


def words(report, name):
    root = ElementTree.fromstring(draw(report)[f"plots/{name}.svg"])
    return ["".join(found.itertext()).strip() for found in root.iter(f"{SVG}text")]


@pytest.fixture
def many(report):
    report["candidates"] = [
        {**report["candidates"][0], "id": f"model/{k}", "rank": k + 1, "num_parameters": 10**6 + k**3}
        for k in range(300)
    ]
    return report


def test_every_plot_is_drawn_twice_and_the_same_each_time(report):
    files = draw(report)
    assert set(files) == FILES
    assert draw(report) == files


@pytest.mark.parametrize("name", ["scores", "ranks", "cost", "calibration", "classes"])
def test_it_is_720_pixels_wide_with_text_that_can_be_read_at_390(report, name):
    assert pixels(report, name).shape[1] == 720
    sizes = [float(s) for s in re.findall(rb"font-size: ([\d.]+)px", draw(report)[f"plots/{name}.svg"])]
    width = 360  # user units of the SVG: points
    assert sizes
    assert min(sizes) * 390 / width >= 10  # the smallest text, shown on 390 pixels
    assert FONT * 390 / width >= 10


@pytest.mark.parametrize("name", ["scores", "ranks", "cost", "calibration", "classes"])
def test_nothing_reaches_beyond_the_edge(many, name):
    many["candidates"][0]["id"] = "organisation-with-a-name/" + "model-with-a-long-name-" * 5
    edge = pixels(many, name)
    for side in (edge[:, 0], edge[:, -1], edge[0], edge[-1]):
        assert (side == 255).all() or set(map(tuple, side)) <= {(255, 255, 255), (243, 244, 246)}


def test_ranks_beside_their_points_touch_neither_one_another_nor_another_point(many):
    for k, candidate in enumerate(many["candidates"]):
        candidate["num_parameters"] = 10**6 * (1 + 37 * k % 101)
        score = candidate["scores"]["leep"]
        candidate["scores"] = {**candidate["scores"], "leep": {**score, "value": -k / 100}}
    figure = draw_cost(many)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    points = [axes.transData.transform(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert len(points) == 300
    assert 10 < len(boxes) < 300
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert not any(box.contains(*point) for box in boxes for point in points)


def test_svg_keeps_text_as_text_and_asks_for_nothing(report):
    report["candidates"][0]["id"] = "</text><script>alert(1)</script>&\x1b\u2028"
    for path, content in draw(report).items():
        if path.endswith(".svg"):
            root = ElementTree.fromstring(content)
            assert root.get("role") == "img"
            assert root.find(f"{SVG}title").text
            assert not {element.tag for element in root.iter()} & {f"{SVG}script", f"{SVG}image", f"{SVG}a"}
            links = re.findall(rb'(?:href|src)="([^"]*)"|url\(([^)]*)\)', content)
            assert all(link.startswith(b"#") for pair in links for link in pair if link)
            addresses = set(re.findall(rb"https?://[^\"'< ]+", content))
            assert addresses <= {b"http://www.w3.org/2000/svg", b"http://www.w3.org/1999/xlink"}
    assert "script>&" in words(report, "scores")  # the last part of what reads as a path


def test_tie_groups_take_turns_in_colour_and_letters_are_on_the_rows(report):
    assert set(LIGHT.groups) <= colours(report)
    assert {"a", "b"} <= set(words(report, "scores"))
    report["candidates"][2].update(tie_group=1, tie_letters="a")
    assert LIGHT.groups[1] not in colours(report)


def test_a_candidate_without_an_error_has_no_colour_of_a_group_and_another_shape(report):
    report["candidates"][2].update(tie_group=None, tie_letters=None, interval=None, rank_interval=None)
    assert LIGHT.groups[1] not in colours(report)
    assert "the error is not known" in words(report, "scores")
    markers = {line.get_marker() for line in draw_scores(report).axes[0].get_lines()}
    assert {"o", "s"} <= markers


def test_a_stopped_candidate_is_hollow(report):
    report["candidates"][2]["stopped"] = {"look": 0, "behind": "big/resnet", "gap": 0.5, "margin": 0.1}
    assert "stopped early, on fewer images" in words(report, "scores")
    hollow = [line for line in draw_scores(report).axes[0].get_lines() if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == LIGHT.ground for line in hollow] == [False, False, True]


def test_it_grows_with_the_candidates_and_stops_at_twenty_five(report, many):
    assert "The first 25 of 300 candidates." in words(many, "scores")
    assert pixels(many).shape[0] < 1900


def test_names_that_look_like_mathematics_are_drawn_as_they_are(report):
    report["candidates"][0]["id"] = "$\\frac{" + "x" * 80 + "\n"
    assert any(word.startswith("$\\frac{xxx") and "…" in word for word in words(report, "scores"))


def test_names_in_other_scripts_are_drawn_without_a_warning(report):
    report["candidates"][0]["id"] = "模型/猫"
    assert "模型/猫" in words(report, "scores")


def test_the_axis_names_measure_unit_and_orientation(report):
    assert axis_label(report) == "LEEP (nats), higher is better"
    report["measure_details"]["leep"].update(title="$x^{$", unit="", higher_is_better=False)
    assert axis_label(report) == "$x^{$, lower is better"
    assert "$x^{$, lower is better" in words(report, "scores")  # as text: as mathematics it would be an error


def test_the_findings_say_what_the_plots_show(report):
    found = findings(report)
    assert found["scores"] == (
        "big/resnet has the highest LEEP, −0.81 ± 0.04; 1 of the other 2 is not told apart from it."
    )
    assert found["ranks"] == (
        "With 95 % confidence for all at once, 2 of 3 candidates may be first; the rank of big/resnet is 1–2."
    )
    assert found["cost"] == "Best among candidates with as few parameters: big/resnet (25.6M), small/resnet (5M)."
    assert found["calibration"].endswith("big/resnet gains most, +0.05 nats at temperature 1.41.")
    assert found["classes"].endswith("80\u00a0% of that is daisy.")


def test_a_finding_claims_nothing_where_errors_are_not_known(report):
    ordered = sorted((c for c in report["candidates"] if c["rank"]), key=lambda c: c["rank"])
    ordered[1]["tie_letters"] = None
    assert findings(report)["scores"].endswith(", and is told apart from the other one.")
    for candidate in ordered:
        candidate["tie_letters"] = None
    assert findings(report)["scores"].endswith("The error of its lead is not known.")
    assert "is half of a" not in render(report)
    assert "Bars show" not in interactive(report).decode()


def test_where_there_is_nothing_to_show_there_is_no_plot(report):
    for candidate in report["candidates"]:
        candidate.update(calibration=None, explanation=None, num_parameters=None, run=None, rank_interval=None)
    assert set(findings(report)) == {"scores"}
    for candidate in report["candidates"]:
        candidate.update(rank=None, scores={})
    assert draw(report) == {}
