"""The tree in docs/architecture.md is the tree that is there."""

from architecture import PAGE, page


def test_the_page_says_what_the_files_say_of_themselves() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/support/architecture.py"
