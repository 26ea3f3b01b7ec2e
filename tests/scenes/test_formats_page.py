"""docs/formats.md is made from the tables of readers."""

from __future__ import annotations

from tests.helpers.formats_page import PAGE, page


def test_the_page_is_that_of_the_tables():
    """`python -m tests.helpers.formats_page` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_row_says_what_is_used():
    from hyperpeft.scenes.labels.table import LABEL_READERS
    from hyperpeft.scenes.readers.table import READERS

    for row in (*READERS, *LABEL_READERS):
        assert row.files, row.kind
        assert row.used, row.kind
