import io

import numpy as np
from PIL import Image

from hf_leep.report.card.plot import _axis_label, plot_scores


def pixels(report):
    return np.asarray(Image.open(io.BytesIO(plot_scores(report))).convert("RGB"))


def test_it_is_a_picture_with_the_colours_of_the_tie_groups(report):
    colours = {tuple(c) for c in pixels(report).reshape(-1, 3)}
    assert {(0x25, 0x63, 0xEB), (0xD9, 0x77, 0x06)} <= colours  # group 1 blue, group 2 orange
    report["candidates"][2]["tie_group"] = 1
    assert (0xD9, 0x77, 0x06) not in {tuple(c) for c in pixels(report).reshape(-1, 3)}


def test_a_candidate_without_an_error_has_no_colour_of_a_group(report):
    report["candidates"][2].update(tie_group=None, tie_letters=None, interval=None, rank_interval=None)
    colours = {tuple(c) for c in pixels(report).reshape(-1, 3)}
    assert (0x25, 0x63, 0xEB) in colours
    assert (0xD9, 0x77, 0x06) not in colours


def test_the_letters_are_drawn(report):
    before = pixels(report)
    for candidate, letters in zip(report["candidates"], ("ab", "b", "c"), strict=False):
        candidate["tie_letters"] = letters
    assert (before != pixels(report)).any()


def test_it_grows_with_the_candidates_and_stops_at_forty(report):
    few = pixels(report).shape[0]
    many = [{**report["candidates"][0], "id": f"model/{k}", "rank": k + 1} for k in range(300)]
    report["candidates"] = many
    assert few < pixels(report).shape[0] < 2400


def test_names_that_look_like_mathematics_are_drawn_as_they_are(report):
    report["candidates"][0]["id"] = "$\\frac{" + "x" * 80 + "\n"
    assert pixels(report).size > 0


def test_the_axis_names_measure_unit_and_orientation(report):
    assert _axis_label(report) == "LEEP (nats), higher is better"
    report["measure_details"]["leep"].update(title="$x^{$", unit="", higher_is_better=False)
    assert _axis_label(report) == "$x^{$, lower is better"
    assert pixels(report).size > 0  # as text: as mathematics it would be an error
