"""The changes for people: a unified diff in which no password shows."""

import re
from collections.abc import Iterable, Iterator

_CONTEXT = 3
_PLACES = (
    re.compile(r"(?i)(CURLOPT\(userpwd\)\s*=\s*[^:\s,)]*:)[^\n]*?(?=\)(?:[^)]*$|\)?\s*;)|$)"),
    re.compile(r"(//[^/@:\s,?]*:)[^/@]*(?=@)"),
    re.compile(r"((?:-u|--user)[ =]+[\"']?[^\s:\"']*:)[^\s\"']*"),
    re.compile(r"(?i)^(\s*(?:password|token)\s*=>?\s*).*"),
)
MASK = "********"


class Mask:
    """Hides what stands where passwords do, and the passwords that are known."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) > 3}, key=len, reverse=True)
        forms = [form for secret in known for form in (secret.replace(";", "\\;"), secret)]
        # Not inside of other words, which would tell the password.
        words = "|".join(rf"(?<!\w){re.escape(form)}(?!\w)" for form in forms)
        self._secrets = re.compile(words or r"(?!)")

    def __call__(self, text: str) -> str:
        for place in _PLACES:
            text = place.sub(lambda found: found[1] + MASK, text)
        text = self._secrets.sub(MASK, text)
        return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)


def diff(name: str, old: list[str], new: dict[int, list[str]]) -> Iterator[str]:
    """A unified diff of lines without endings; *new* is what stands in place of a line's number."""
    numbers = sorted(new)
    hunks: list[list[int]] = []
    for number in numbers:
        if hunks and number - hunks[-1][-1] <= 2 * _CONTEXT:
            hunks[-1].append(number)
        else:
            hunks.append([number])
    if hunks:
        yield f"--- {name}"
        yield f"+++ {name}"
    grown = 0
    for hunk in hunks:
        first, last = max(1, hunk[0] - _CONTEXT), min(len(old), hunk[-1] + _CONTEXT)
        body: list[str] = []
        removed: list[str] = []
        added: list[str] = []
        for number in range(first, last + 1):
            line = old[number - 1]
            if number in new:
                fresh = [f"+{each}" for each in new[number]]
                if line in new[number]:
                    kept = new[number].index(line)
                    body += [*removed, *added, *fresh[:kept], f" {line}"]
                    removed, added = [], fresh[kept + 1 :]
                else:
                    removed.append(f"-{line}")
                    added += fresh
            else:
                body += [*removed, *added, f" {line}"]
                removed, added = [], []
        body += [*removed, *added]
        before = sum(1 for each in body if each[0] in " -")
        after = sum(1 for each in body if each[0] in " +")
        yield f"@@ -{first},{before} +{first + grown},{after} @@"
        yield from body
        grown += after - before


def changed_lines(old: list[str], new: list[str]) -> dict[int, list[str]]:
    """For diff(): *new* is *old* with lines added."""
    found: dict[int, list[str]] = {}
    position = 0
    for number, line in enumerate(old, 1):
        start = position
        while position < len(new) and new[position] != line:
            position += 1
        if position > start:
            found[number] = new[start : position + 1]
        position += 1
    if position < len(new) and old:
        found[len(old)] = [*found.get(len(old), [old[-1]]), *new[position:]]
    return found
