from itertools import combinations

import pytest

from hf_leep.report.palette import DARK, LIGHT
from tests.colour_vision import SIGHTS, ciede2000, contrast, lab


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [  # of the test data of Sharma, Wu and Dalal (2005), table 1
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_difference_is_that_of_the_published_pairs(one, other, difference):
    assert ciede2000(one, other) == pytest.approx(difference, abs=5e-5)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_groups_of_candidates_are_told_apart_by_colour(palette, sight):
    seen = {"first": palette.groups[0], "second": palette.groups[1], "unknown": palette.ink}
    for (one, a), (other, b) in combinations(seen.items(), 2):
        assert ciede2000(lab(a, sight), lab(b, sight)) > 15, (one, other)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_the_ground(palette):
    for ground in (palette.ground, palette.band):
        assert contrast(palette.ink, ground) > 7
        assert contrast(palette.quiet, ground) > 4.5  # text
        assert all(contrast(colour, ground) > 3 for colour in palette.groups)  # marks
