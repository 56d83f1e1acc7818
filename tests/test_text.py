"""Numbers and names as words."""

import pytest

from hf_leep.text import with_article


@pytest.mark.parametrize(
    ("word", "said"), [("int", "an int"), ("str", "a str"), ("IterableDataset", "an IterableDataset")]
)
def test_the_article_goes_with_the_word(word, said):
    assert with_article(word) == said
