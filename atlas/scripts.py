"""How scripts write running text: what closes a sentence, and where blanks stand."""

import re
import unicodedata

# Unicode's Sentence_Terminal where it is in living use, the ellipses, and their full-width forms.
_SENTENCE_ENDS = frozenset(
    ".!?…‥⋯‼⁇⁈⁉‽⸮。．｡！？﹒﹖﹗︒︕︖"  # noqa: RUF001
    "؟۔؝܀܁܂߹։՜՞"  # noqa: RUF001
    "।॥෴༎།၊။។៕៖๏๚๛።፧፨᠃᠉᙮᭚᭛꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫"  # noqa: RUF001
)
_QUOTES = frozenset("\"'`")
_CLOSING = ("Pe", "Pf", "Pi")  # “ opens in English and closes in German
_OPENING = ("Ps", "Pi", "Sc")  # no blank stands behind a currency sign either
_JOINING = frozenset("/\\@#_")
_ELISION = re.compile("(?<!\\w)\\w{1,2}['\u2019]$")  # l', d', qu'
_WITHOUT_BLANKS = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x312F),  # radicals, CJK punctuation, kana, Bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFE30, 0xFE4F),
    (0xFF00, 0xFF9F),  # full-width forms, half-width kana
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)


def closes(text: str) -> bool:
    """Whether nothing is said in the text: sentence ends, closing quotes and brackets, blanks."""
    return all(
        mark.isspace()
        or mark in _SENTENCE_ENDS
        or mark in _QUOTES
        or unicodedata.category(mark) in _CLOSING
        for mark in text
    )


def blank_between(text: str, following: str) -> str:
    """The blank that running text has between the two, or nothing.

    There is none behind white space, an opening bracket or quote, what joins words, and in scripts
    that write words without blanks.
    """
    last, before = text[-1:], text[-2:-1]
    if not last or last.isspace() or _without_blanks(last) or last in _JOINING:
        return ""
    if unicodedata.category(last) in _OPENING or _ELISION.search(text):
        return ""
    if last in _QUOTES and (not before or before.isspace() or unicodedata.category(before) == "Ps"):
        return ""
    if last == "-" and before.isalnum():
        return ""
    letter = next((mark for mark in reversed(text) if mark.isalnum()), "")
    return "" if _without_blanks(letter) and _without_blanks(following[:1]) else " "


def _without_blanks(mark: str) -> bool:
    return bool(mark) and any(first <= ord(mark) <= last for first, last in _WITHOUT_BLANKS)
