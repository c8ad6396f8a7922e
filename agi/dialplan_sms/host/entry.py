"""Write sms.agi where Asterisk can start it: ``python -m dialplan_sms.host.entry FILE``.

A wheel's installer replaces a script's first line by a bare interpreter; ``-IS`` (isolated, no
site) starts in a third less time, so whatever installs the script writes that line itself.
"""

import sys
from pathlib import Path

_LONGEST_SHEBANG = 127
"""Bytes that every Linux takes (Linux: fs/binfmt_script.c before 5.1)."""


def write_script(source: Path, target: Path, python: Path) -> None:
    """Write the script *source* to *target*, executable, to be run by *python*.

    Raises ValueError where the interpreter's path cannot stand in a first line.
    """
    first = f"#!{python} -IS"
    if len(first.encode()) > _LONGEST_SHEBANG or any(char.isspace() for char in str(python)):
        raise ValueError(f"{python}: too long or with a space: install into a shorter path")
    body = source.read_text(encoding="utf-8").partition("\n")[2]
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(f"{first}\n{body}", encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(target)  # a call that starts meanwhile finds the old one or the new one


def main() -> None:
    """Write the script that came with the package to the path given."""
    python = Path(sys.prefix) / "bin" / "python3"
    installed = python.with_name("sms.agi")
    try:
        write_script(installed, Path(sys.argv[1]), python)
    except IndexError:
        sys.exit("usage: python -m dialplan_sms.host.entry FILE")
    except (OSError, ValueError) as error:
        sys.exit(f"sms.agi was not installed: {error}")


if __name__ == "__main__":
    main()
