"""Lists as people save them, and texts with columns."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dialplan_sms.cli.send.listfile import ListError, read_list
from dialplan_sms.cli.send.plan import columns_in, fill

ROWS = "Number, First  Name ,City\n+39333123456,Zoë,Roma\n"


def cells(content: bytes) -> list[tuple[int, dict[str, str]]]:
    return [(line, dict(row)) for line, row, _ in read_list(content, "list.csv")[1]]


@pytest.mark.parametrize(
    "content",
    [ROWS.encode(), ROWS.encode("utf-8-sig"), ROWS.encode("utf-16"), ROWS.replace("\n", "\r\n").encode(),
     ROWS.replace("\n", "\r").encode(), ROWS.replace(",", ";").encode(),
     ROWS.replace(",", "\t").encode("utf-16"), ROWS.removesuffix("\n").encode()],
)  # fmt: skip
def test_what_spreadsheets_save_is_read(content: bytes) -> None:
    expected = {"number": "+39333123456", "first name": "Zoë", "city": "Roma"}
    assert cells(content) == [(2, expected)]


def test_excels_own_hint_is_no_header() -> None:
    assert cells(b"sep=;\r\nnumber;a\r\n1;2\r\n") == [(3, {"number": "1", "a": "2"})]


def test_lines_are_those_of_the_file() -> None:
    content = b'\nnumber,text\n1,"two\nlines, and ""more"""\n\n,,\n2, "x,y"\n3\n'
    assert cells(content) == [
        (3, {"number": "1", "text": 'two\nlines, and "more"'}),
        (7, {"number": "2", "text": "x,y"}),
        (8, {"number": "3", "text": ""}),
    ]


def test_a_bad_row_takes_no_other_along() -> None:
    content = b'number,text\n1,"never closed\n2,a\n3,b,c\n4,"x"y\n5,"fine"\n'
    _, rows = read_list(content, "list.csv")
    bad = {line: (row["number"], why) for line, row, why in rows if why}
    assert [line for line, _, why in rows if not why] == [3, 6]
    assert {line: number for line, (number, _) in bad.items()} == {2: "", 4: "3", 5: ""}
    assert "3 cells, the first line names 2" in bad[4][1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n,,\n", "is empty"),
        ("number,name\n1,Zo\u00eb\n".encode("cp1252"), "list.csv:2: is not UTF-8"),
        (b"phone;name\n1;2\n", "list.csv:1: no column is named number: .* phone, name"),
        (b"number,name,NAME\n", "two columns are named name"),
        (b"\xff\xfen", "damaged UTF-16"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(content: bytes, says: str) -> None:
    with pytest.raises(ListError, match=says):
        read_list(content, "list.csv")


LISTS = st.text(max_size=200).map(lambda text: f"number,{text}".encode("utf-8", "replace"))


@given(st.binary(max_size=300) | LISTS)
@example(b'number\r\x00"')
def test_any_bytes_are_a_list_or_an_error(content: bytes) -> None:
    try:
        _, rows = read_list(content, "list.csv")
    except ListError:
        return
    lines = content.count(b"\n") + content.count(b"\r") + 1
    assert all(1 < line <= lines for line, *_ in rows)


@given(st.lists(st.tuples(st.from_regex(r"[0-9]{1,9}", fullmatch=True), st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)), max_size=20), st.sampled_from(",;\t"))  # fmt: skip
def test_no_row_is_lost_and_none_doubled(rows: list[tuple[str, str]], delimiter: str) -> None:
    body = "".join(
        f'{number}{delimiter}"{text.replace(chr(34), chr(34) * 2)}"\n' for number, text in rows
    )
    _, found = read_list(f"number{delimiter}text\n{body}".encode(), "list.csv")
    assert [(*row.values(), why) for _, row, why in found] == [(*row, "") for row in rows]


def test_a_template_is_filled_from_columns() -> None:
    text = "Dear {First Name}, {{{city}}} {city}"
    assert columns_in(text, ("number", "first name", "city")) == ["first name", "city", "city"]
    filled = fill(text, {"first name": " {Zoë}", "city": "Roma "})
    assert filled == "Dear {Zoë}, {Roma} Roma"


@pytest.mark.parametrize("text", ["{nome}", "{", "a } b", "{}", "{name!r}", "{name.x}", "{{name}"])
def test_what_fits_no_column_is_refused_before_anything_is_sent(text: str) -> None:
    with pytest.raises(ListError, match="brace"):
        columns_in(text, ("number", "name"))


@given(st.text(max_size=100))
def test_a_text_comes_out_as_it_went_in(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert (columns_in(doubled, ()), fill(doubled, {})) == ([], text)
