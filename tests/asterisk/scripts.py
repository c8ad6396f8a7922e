"""AGI scripts that a test writes for itself, in shell."""

from pathlib import Path


def script(folder: Path, body: str) -> Path:
    """An executable `script.agi` that runs this after the AGI environment is read."""
    path = folder / "script.agi"
    path.write_text(f'#!/bin/sh\nwhile read -r line && [ -n "$line" ]; do :; done\n{body}\n')
    path.chmod(0o755)
    return path
