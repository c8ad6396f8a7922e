"""An AGI script that writes down, byte for byte, what a channel's variables are.

`AGI(${PROBE},LABEL)` in the dialplan reads the variables named in the file `ask` of the call's
folder (the channel variable BED_CALL) and writes them to `LABEL.json` there. Every read stands
between two copies of a random word, so that no value, whatever its newlines say, is taken for
Asterisk's answer. Copied next to the test's Asterisk; uses the standard library alone.
"""

import json
import os
import secrets
import signal
import sys

signal.signal(signal.SIGHUP, signal.SIG_IGN)


def read(name: str) -> str:
    """A channel variable, or a function such as CALLERID(num); "" where it is unset."""
    word = secrets.token_hex(8)
    start, end = f"200 result=1 ({word}".encode(), f"{word})\n".encode()
    command = f'GET FULL VARIABLE "{word}${{{name}}}{word}"\n'
    sys.stdout.buffer.write(command.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()
    answer = b""
    while line := sys.stdin.buffer.readline():
        if answer or line.startswith(start):
            answer += line
        if answer.endswith(end) and len(answer) >= len(start) + len(end):
            value = answer[len(start) : -len(end)]
            return value.decode(errors="surrogateescape")
    raise EOFError(f"Asterisk went away while {name} was read")


def main(label: str) -> None:
    """Write LABEL.json, whole or not at all."""
    while sys.stdin.buffer.readline() not in (b"\n", b""):
        pass
    folder = read("BED_CALL")
    with open(f"{folder}/ask", encoding="utf-8", errors="surrogateescape") as ask:
        names = ask.read().split("\n")
    values = {name: read(name) for name in names}
    with open(f"{folder}/{label}.part", "w", encoding="ascii") as out:
        json.dump(values, out)
    os.rename(f"{folder}/{label}.part", f"{folder}/{label}.json")


if __name__ == "__main__":
    main(sys.argv[1])
