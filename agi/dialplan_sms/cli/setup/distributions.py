"""The Python packages that run now, as files that can be copied: no network, no pip."""

import json
import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath

import dialplan_sms
from dialplan_sms.cli.setup import bundled
from dialplan_sms.host.identity import HostError

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?", re.DOTALL)
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_NOT_FOR_A_PBX = {"dev"}


@dataclass(frozen=True, slots=True)
class Item:
    """One file to be, below site-packages: a copy of ``source``, or ``content``."""

    to: str
    source: Path | None = None
    content: bytes = field(default=b"", repr=False)


def normal(name: str) -> str:
    """A distribution's name as one that can be compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> dict[str, metadata.Distribution]:
    """dialplan-sms and all that it needs, what its extras need as far as that is here."""
    found: dict[str, metadata.Distribution] = {}
    ours = metadata.distribution(bundled.DISTRIBUTION)
    extras = set(ours.metadata.get_all("Provides-Extra") or []) - _NOT_FOR_A_PBX
    pending = [(bundled.DISTRIBUTION, frozenset(extras))]
    seen = set()
    while pending:
        name, wanted = pending.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system, another Python or an extra that is not installed
        for requirement in found[name].requires or ():
            if (taken := _REQUIREMENT.match(requirement)) is None:
                continue
            conditions = set(_EXTRA.findall(taken[3] or ""))
            if not conditions or conditions & wanted:
                options = frozenset(filter(None, re.split(r"[,\s]+", taken[2] or "")))
                pending.append((normal(taken[1]), options))
    return found


def items(found: dict[str, metadata.Distribution]) -> list[Item]:
    """Every file of these. Raises HostError where one cannot be copied."""
    collected: list[Item] = []
    for name, distribution in sorted(found.items()):
        if _is_editable(distribution):
            if name != bundled.DISTRIBUTION:
                raise HostError(f"{name} is an editable installation: install it as it is meant")
            collected += _from_source(distribution)
            continue
        if distribution.read_text("RECORD") is None:
            raise HostError(
                f"the files of the Python package {name} are unknown here: install dialplan-sms"
                " with pipx, or with make install"
            )
        for file in distribution.files or ():
            if ".." not in file.parts and not file.is_absolute() and _is_wanted(file):
                source = Path(str(file.locate()))
                if source.is_file():
                    collected.append(Item(file.as_posix(), source))
    return collected


def _is_wanted(file: PurePosixPath) -> bool:
    return "__pycache__" not in file.parts and file.suffix != ".pyc"


def _is_editable(distribution: metadata.Distribution) -> bool:
    try:
        said = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(said.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False


def _from_source(distribution: metadata.Distribution) -> list[Item]:
    """The package from its folder, and its metadata with a list of what is copied."""
    package = Path(dialplan_sms.__file__).parent
    copied = [
        Item(f"{package.name}/{path.relative_to(package).as_posix()}", path)
        for path in sorted(package.rglob("*"))
        if path.is_file() and _is_wanted(PurePosixPath(path.relative_to(package)))
    ]
    record = ""
    for file in distribution.files or ():
        if ".dist-info/" in file.as_posix() and file.name not in ("RECORD", "direct_url.json"):
            copied.append(Item(file.as_posix(), Path(str(file.locate()))))
        elif file.name == "RECORD":
            record = file.as_posix()
    if record:
        beside = ["bin/sms.agi", "bin/dialplan-sms"]
        beside += [f"{bundled.SHARE}/{name}" for name in bundled.shared()]
        lines = [item.to for item in copied] + [f"../../../{name}" for name in beside] + [record]
        copied.append(Item(record, content="".join(f"{line},,\n" for line in lines).encode()))
    return copied
