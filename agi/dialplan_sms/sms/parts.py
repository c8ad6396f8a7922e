"""How many SMS a text is on the air: 3GPP TS 23.038 (GSM-7, UCS-2) and 23.040 (long texts).

The gateway decides in the end; this is what phones and gateways have in common.
"""

from dataclasses import dataclass

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = "\f^{}\\[~]|€"  # two septets each: the escape and a character of the extension table
GSM = frozenset(_BASIC + _EXTENDED)  # the characters of GSM-7
_GSM7, _UCS2 = "GSM-7", "UCS-2"
_ALONE = {_GSM7: 160, _UCS2: 70}
_EACH = {_GSM7: 153, _UCS2: 67}
"""Units of one SMS, and of each part of a text in several: six bytes hold them together."""


@dataclass(frozen=True, slots=True)
class Parts:
    """*coding* is ``GSM-7`` or ``UCS-2``, *units* are septets or UTF-16 units, *count* the SMS."""

    coding: str
    units: int
    count: int

    def __str__(self) -> str:
        return f"{self.count} ({self.coding}, {self.units} of {self.room})"

    @property
    def room(self) -> int:
        """The units that so many parts can hold."""
        return self.count * _EACH[self.coding] if self.count > 1 else _ALONE[self.coding]


def parts(text: str) -> Parts:
    """The parts that *text* is sent in. No part ends within a character."""
    if GSM.issuperset(text):
        coding, sizes = _GSM7, [2 if char in _EXTENDED else 1 for char in text]
    else:
        coding, sizes = _UCS2, [2 if ord(char) > 0xFFFF else 1 for char in text]
    units = sum(sizes)
    if units <= _ALONE[coding]:
        return Parts(coding, units, 1)
    count, used = 1, 0
    for size in sizes:
        if used + size > _EACH[coding]:
            count, used = count + 1, 0
        used += size
    return Parts(coding, units, count)
