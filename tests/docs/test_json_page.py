"""docs/json.md says what the dataclasses say."""

from json_page import PAGE, answers, page

from atlas.answers import SCHEMA_VERSION


def test_the_page_is_what_the_dataclasses_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/support/json_page.py"
    assert f'"schema_version": {SCHEMA_VERSION}' in page()


def test_every_answer_is_on_the_page_with_every_field() -> None:
    text = page()
    assert len(answers()) > 15
    for kind in answers():
        assert f"## {kind.__name__}\n" in text
