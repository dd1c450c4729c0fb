"""Foreign text made safe to show."""

import time

import pytest

from node.text import clean, markdown_escape


@pytest.mark.parametrize(
    ("dirty", "plain"),
    [
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mx\x9d0;t\x07y", "xy"),
        ("a\u202eb\u200b\ufeffc\ud800d", "abcd"),
        ("two\r\nlines\u2028here\ttab", "two lines here tab"),
        ("x" * 50, "x" * 9 + "…"),
    ],
)
def test_clean_leaves_one_visible_line(dirty, plain):
    assert clean(dirty, 10 if dirty[0] == "x" else 100) == plain


def test_clean_keeps_lines_and_tabs_on_request():
    assert clean("a\r\n\tb\x07\x1b[2J\nc", 100, lines=True) == "a\n\tb\nc"
    assert clean("abc", 0) == ""


@pytest.mark.parametrize(
    ("text_in", "escaped"),
    [
        ("learning_rate 0.001 → 0.003, width 64", "learning_rate 0.001 → 0.003, width 64"),
        ("a|b", "a&#124;b"),
        ("![x](http://e/p)", "!\\[x\\](http&#58;//e/p)"),
        ("<script>&lt;", "&lt;script&gt;&amp;lt;"),
        ("*bold* _it_ `code`", "\\*bold\\* \\_it\\_ \\`code\\`"),
        ("# head", "\\# head"),
        ("12. item", "12\\. item"),
        ("- item\n\n---", "\\- item ---"),
        ("www.evil.com", "www&#46;evil.com"),
    ],
)
def test_markdown_escape_makes_text_inert(text_in, escaped):
    assert markdown_escape(text_in) == escaped


@pytest.mark.parametrize("piece", ["\x1b]", "\x9d", "\x1b[0", "\u202e", "_", "&", "://", "\ud800"])
def test_hostile_repetition_takes_linear_time(piece):
    text, start = piece * 100_000, time.monotonic()
    markdown_escape(clean(text, 1_000_000, lines=True))
    assert time.monotonic() - start < 5  # seconds; a quadratic rule would need minutes
