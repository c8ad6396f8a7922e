"""What read the API's reply reads SMS_STATUS from now on."""

import re

_SHELL = re.compile(r"(?:Try)?System\(", re.IGNORECASE)
_SHOWING = re.compile(r"(?:NoOp|Verbose|Log|System|TrySystem)\(", re.IGNORECASE)
_SHOWN = "${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON}"
_WORDS = {"success": "SUCCESS", "warning": "WARNING", "error": "ERROR"}
_BY_NAME = "CUT|FIELDQTY|FIELDNUM|REPLACE|STRREPLACE|PASSTHRU|JSON_DECODE|SHIFT|POP|LISTFILTER"
"""Functions that take the name of a variable."""
_NO_WORD = r"[^\"\]$&|a-z]"
_WORD = rf"(?:{_NO_WORD}|\btype\b)*(?P<word>success|warning|error){_NO_WORD}*"
"""The word with nothing around it that gives it another meaning, as in unsuccessful."""
UNREACHABLE = '"UNREACHABLE"'
"""What is in each test that was one for an empty answer."""


def uses(app: str, name: str) -> bool:
    """Whether *app* reads the variable *name*."""
    return re.search(rf"\{{{name}[}}:]|\b(?:{_BY_NAME})\(\s*{name}\b", app) is not None


def converted(app: str, name: str) -> str | None:
    """*app* with each test of ``${name}`` for success as one of SMS_STATUS; None where one stays.

    An application that only shows the reply shows status, cause and reason.
    """
    variable = rf"\$\{{{name}\}}"
    operator = r"\s*(?P<operator>=~|==|!=|=|:)\s*"
    test = re.compile(
        rf'(?P<quote>"?){variable}(?P=quote){operator}(?P<other>"?){_WORD}(?P=other)(?=\s*[\]&|)])',
        re.IGNORECASE,
    )
    regex = re.compile(rf'\$\{{REGEX\("{_WORD}"\s+{variable}\)\}}', re.IGNORECASE)

    def compared(found: re.Match[str]) -> str:
        sign = "!=" if found["operator"] == "!=" else "="
        return f'"${{SMS_STATUS}}" {sign} "{_WORDS[found["word"].lower()]}"'

    def empty(found: re.Match[str]) -> str:
        # Empty meant no answer at all. After NO_ANSWER a loop would send twice, so it is not one.
        if found["operator"] == "!=":
            return f'("${{SMS_STATUS}}" != "" & "${{SMS_CAUSE}}" != {UNREACHABLE})'
        return f'("${{SMS_STATUS}}" = "" | "${{SMS_CAUSE}}" = {UNREACHABLE})'

    new = test.sub(compared, app)
    equals = r"\s*(?P<operator>==|!=|=)\s*"
    new = re.sub(rf'"{variable}"{equals}""', empty, new)
    new = re.sub(rf'"?\$\{{LEN\({variable}\)\}}"?{equals}"?0"?(?=\s*[\]&|)])', empty, new)
    new = regex.sub(lambda m: f'$["${{SMS_STATUS}}" = "{_WORDS[m["word"].lower()]}"]', new)
    # A command that searches the reply for a word would not find it.
    searched = _SHELL.match(new) and re.search("success|warning|error", new, re.IGNORECASE)
    if uses(new, name) and _SHOWING.match(new) and not searched:
        new = re.sub(variable, lambda _: _SHOWN, new)
    return None if uses(new, name) else new
