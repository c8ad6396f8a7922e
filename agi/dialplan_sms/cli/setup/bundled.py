"""The files that come with the program and go elsewhere."""

import sys
from importlib import metadata
from pathlib import Path

import dialplan_sms
from dialplan_sms.host.identity import HostError

DISTRIBUTION = "dialplan-sms"
SHARE = "share/dialplan-sms"
"""Where they lie below an installation's folder (setup.cfg: data_files)."""
_IN_SOURCE = ("dialplan/*.conf", "dialplan/README.md", "systemd/*.service")


def shared() -> dict[str, Path]:
    """What goes with the program, by name: the dialplan's files, the unit."""
    source = Path(dialplan_sms.__file__).parents[2]
    if (source / "setup.cfg").is_file():  # an editable installation: always as new as the code
        found = [path for pattern in _IN_SOURCE for path in sorted(source.glob(pattern))]
    else:
        found = [path for path in _installed() if path.parent.name == DISTRIBUTION]
        found += [path for path in sorted((Path(sys.prefix) / SHARE).glob("*")) if path.is_file()]
    return {path.name: path for path in found}


def find(name: str) -> Path:
    """Where this program's own *name* lies. Raises HostError."""
    if name != "sms.agi":
        found = shared().get(name)
    else:
        source = Path(dialplan_sms.__file__).parents[1] / name
        places = [source, Path(sys.prefix) / "bin" / name, *_installed()]
        found = next((path for path in places if path.name == name and path.is_file()), None)
    if found is None:
        raise HostError(f"{name} did not come with this installation: install dialplan-sms again")
    return found


def _installed() -> list[Path]:
    """Files of the distribution outside of its package."""
    try:
        files = metadata.distribution(DISTRIBUTION).files or ()
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if ".." in file.parts]
