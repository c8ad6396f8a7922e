"""Bodies that are no form, as clients of newer APIs send them: JSON and multipart/form-data.

They are read strictly, as UTF-8: of one that is broken or cut off nothing is sent.
"""

import json
import re
from itertools import islice

from starlette.exceptions import HTTPException
from starlette.requests import Request

from dialplan_sms.config.values import Bad, must
from dialplan_sms.web.form import MAX_FIELDS, Pairs, content_type

_BOUNDARY = re.compile(r'(?i);\s*boundary=(?:"([^"]+)"|([^\s;"]+))')
_NAME = re.compile(rb'(?im)^content-disposition:[ \t]*form-data;[^\r\n]*?\bname="?([^";\r\n]*)')
_NO_TEXT = re.compile(
    rb"(?i)\bfilename\*?=|^content-transfer-encoding:[ \t]*(base64|quoted)", re.MULTILINE
)


def read_other(http: Request, body: bytes) -> Pairs:
    """The parameters in *body*; none if it is empty, or of a type that nothing here reads.

    Raises HTTPException, for people.
    """
    reader = READERS.get(content_type(http))
    try:
        return reader(http.headers["content-type"], body) if reader and body else ()
    except (Bad, ValueError, RecursionError) as error:
        raise HTTPException(
            415,
            f"{content_type(http)}:"
            f" {error if isinstance(error, Bad) else 'it is broken, or not UTF-8'}",
        ) from None


def _json(_: str, body: bytes) -> Pairs:
    """The API's parameters, each a text; ``number`` may be a list of them, null is "not given".

    No number of JSON's: it keeps neither ``+`` nor zeros in front.
    """
    found = json.loads(body, object_pairs_hook=tuple, parse_constant=int)  # int: there is no NaN
    must(isinstance(found, tuple), "it must be an object, with number and message")
    given = (
        (name, each)
        for name, value in found
        for each in (value if name == "number" and isinstance(value, list) else [value])
        if name in ("number", "message", "gsm", "postpone") and each is not None
    )
    texts = tuple(islice(given, MAX_FIELDS))
    must(
        all(isinstance(text, str) for _, text in texts),
        "number, message, gsm and postpone must be texts in quotes, number also a list of them",
    )
    # Half an emoji, of a text that JavaScript has cut, becomes a question mark.
    return tuple((name, text.encode("utf-8", "replace").decode()) for name, text in texts)


def _multipart(kind: str, body: bytes) -> Pairs:
    """The fields of RFC 7578; of the *kind* it takes the boundary."""
    boundary = must(_BOUNDARY.search(kind), "the boundary is missing")
    mark = f"\r\n--{boundary[1] or boundary[2]}".encode()
    _, *parts = (b"\r\n" + body).split(mark, MAX_FIELDS)
    must(parts and parts.pop().startswith(b"--"), "it is cut off, or has too many fields")
    return tuple(map(_field, parts))


def _field(part: bytes) -> tuple[str, str]:
    """Name and text of one *part*."""
    head, _, text = part.partition(b"\r\n\r\n")
    name = must(_NAME.search(head), "a part has no name")
    must(not _NO_TEXT.search(head), "a part is a file, or encoded: send plain text")
    return name[1].decode(), text.decode()


# What reads a body of each type.
READERS = {"application/json": _json, "multipart/form-data": _multipart}
