"""Characters, coding and parts of a text, against 3GPP TS 23.038 and known vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.sms.parts import parts


@pytest.mark.parametrize(
    ("text", "coding", "units", "count"),
    [
        ("", "GSM-7", 0, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("a" * 158 + "€", "GSM-7", 160, 1),
        ("a" * 159 + "€", "GSM-7", 161, 2),
        # The escape and its character are never parted: 152 and one unit lost, twice.
        ("a" * 152 + "€" + "a" * 151 + "€", "GSM-7", 307, 3),
        ("[]{}|^~\\", "GSM-7", 16, 1),
        ("àèéìòù Ñ ÄÖÜß ¿¡ ΔΦ\n", "GSM-7", 20, 1),
        ("ç", "UCS-2", 1, 1),  # only the capital is in the table
        ("`", "UCS-2", 1, 1),
        ("“", "UCS-2", 1, 1),
        ("ж" * 70, "UCS-2", 70, 1),
        ("ж" * 71, "UCS-2", 71, 2),
        ("ж" * 134, "UCS-2", 134, 2),
        ("ж" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
        ("😀" * 66, "UCS-2", 132, 2),  # 33 in each: the 67th unit stays empty
        ("😀" * 67, "UCS-2", 134, 3),
    ],
)
def test_known_texts(text: str, coding: str, units: int, count: int) -> None:
    found = parts(text)
    assert (found.coding, found.units, found.count) == (coding, units, count)


@given(st.text(max_size=700))
def test_the_parts_hold_the_text_and_none_is_empty(text: str) -> None:
    found = parts(text)
    assert found.units <= found.room
    one_less = (found.count - 1) * (153 if found.coding == "GSM-7" else 67)
    # At most one unit is lost at the end of each part.
    assert found.count == 1 or found.units > one_less - (found.count - 1)
    if found.coding == "UCS-2":
        assert found.units == len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_how_it_is_shown() -> None:
    assert str(parts("€" * 81)) == "2 (GSM-7, 162 of 306)"
