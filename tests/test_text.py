"""Numbers and names as words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep.text import counted, form, shortened, with_article


@pytest.mark.parametrize(
    ("word", "said"), [("int", "an int"), ("str", "a str"), ("IterableDataset", "an IterableDataset")]
)
def test_the_article_goes_with_the_word(word, said):
    assert with_article(word) == said


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 rows have"), (1, "1 row has"), (2, "2 rows have"), (21_000, "21,000 rows have")]
)
def test_a_number_goes_with_its_words(number, said):
    assert f"{counted(number, 'row')} {form(number, 'has', 'have')}" == said


@given(st.lists(st.text("ab-/", min_size=1, max_size=12), max_size=6), st.integers(1, 12))
def test_a_cut_name_is_short_shows_two_ends_and_stays_different(names, width):
    cut = shortened(names, width)
    if cut is None:  # then no place of a cut will do
        for start in range(width):
            kept = {n if len(n) <= width else (n[:start], n[len(n) - width + 1 + start :]) for n in names}
            assert len(kept) < len(set(names)) or any("…" in name for name in names)
        return
    assert len(cut) == len(names)
    assert len(set(cut)) == len(set(names))
    for short, name in zip(cut, names, strict=True):
        if len(name) <= width:
            assert short == name
        else:
            start, end = short.split("…")
            assert len(short) == width
            assert name.startswith(start)
            assert name.endswith(end)


@pytest.mark.parametrize(
    ("names", "width", "cut"),
    [
        (["google/vit-base-patch16-224", "me/b"], 17, ["…base-patch16-224", "me/b"]),
        (["google/vit-base", "google/vit-large"], 10, ["…/vit-base", "…vit-large"]),
        (["a/resnet-18-one", "b/resnet-18-one"], 12, ["a/resnet…one", "b/resnet…one"]),
    ],
)
def test_names_are_cut_between_words_where_that_is_possible(names, width, cut):
    assert shortened(names, width) == cut
