import pytest

from hf_leep.report.letters import WRITTEN, in_short, told_apart


def lettered(text):
    return {"tie_letters": text}


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [("a", "b", True), ("ab", "bc", False), ("a", "a2", True), ("a2b", "ba2", False), ("a12", "a1", True)],
)
def test_two_are_told_apart_where_they_share_no_letter(one, other, apart):
    assert told_apart(lettered(one), lettered(other)) is apart
    assert told_apart(lettered(other), lettered(one)) is apart


def test_nothing_is_told_apart_from_a_score_whose_error_is_not_known():
    assert not told_apart(lettered(None), lettered("a"))
    assert not told_apart(lettered("a"), lettered(None))
    assert not told_apart(lettered(None), lettered(None))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (None, "–"),
        ("a", "a"),
        ("abc", "abc"),
        ("abcd", "a–d"),
        ("acdefh", "a,c–f,h"),
        ("xyza2b2", "x–b2"),
        ("acegik", "a,c,e,g,…"),
        ("ac", "ac"),
    ],
)
def test_many_letters_are_written_as_ranges(text, short):
    assert in_short(lettered(text)) == short


def test_the_pattern_knows_the_letters_that_are_given():
    assert all(WRITTEN.fullmatch(text) for text in ("a", "abz", "za2", "y9z9a10", "b27"))
    assert not any(WRITTEN.fullmatch(text) for text in ("", "a1", "a0", "A", "2", "a–b", "a2 "))
