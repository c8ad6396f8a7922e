"""The lines of a configuration file as Asterisk reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.host.asterisk_syntax import lines


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a ; b", ["a"]),
        ("a \\; b", ["a ; b"]),
        ("; a\n\n b \r\n", ["b"]),
        (";-- a\nb\n--; c", ["c"]),
        (";-- a ;-- b --;\nc --; d", ["d"]),
        (";--- a\nb", ["b"]),
        ("a ;-- b --; c ; d", ["a  c"]),
        ("\ufeffa", ["a"]),
        (";-- never ends\na\n", []),
        ("--; a", ["--"]),
        ("\\;", [";"]),
        (";", []),
    ],
)
def test_comments_are_those_of_asterisk(text: str, left: list[str]) -> None:
    assert [line.text for line in lines(text) if line.text] == left


def test_what_a_line_is() -> None:
    header, key, arrow, include, tried = lines(
        '\ufeff [a](!,b) ; x\nkey = a=b\nKey=>\\;x\n#include <b.conf>\n # tryinclude "c d"'
    )
    assert header.header == ("a", "!,b")
    assert (header.pair, header.include, key.header) == (None, None, None)
    assert (key.pair, arrow.pair) == (("key", "a=b"), ("Key", ";x"))
    assert (include.include, tried.include) == (("include", "b.conf"), ("tryinclude", "c d"))


@given(st.text(alphabet="a\n\r;-\\ \ufeff"))
def test_each_line_stands_where_it_says(text: str) -> None:
    read = list(lines(text))
    assert [line.number for line in read] == list(range(1, text.count("\n") + 2))
    for line in read:
        whole = line.raw.removeprefix("\ufeff")
        assert text.startswith(whole, line.start)
        assert len(line.content) <= len(line.raw)
