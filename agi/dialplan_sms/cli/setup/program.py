"""The program in its own folder: an interpreter that everybody may run, and copies of packages."""

import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.cli.setup import bundled, distributions
from dialplan_sms.cli.setup.distributions import Item, normal
from dialplan_sms.cli.setup.host import Host
from dialplan_sms.host import files
from dialplan_sms.host.entry import write_script
from dialplan_sms.host.identity import HostError

_MARK = ".setup"
_COMMAND = """\
#!{python}
import sys

from dialplan_sms.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
"""
_NOT_OURS = {"pip", "setuptools", "wheel"}


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be in ``prefix``; ``mark`` differs where anything of it differs."""

    prefix: Path
    python: Path
    items: tuple[Item, ...]
    names: frozenset[str]
    mark: str


def gather(prefix: Path) -> Program:
    """The program that runs now, as one for *prefix*. Raises HostError."""
    python = interpreter()
    found = distributions.needed()
    items = distributions.items(found)
    lines = [f"{prefix}\n{python}\n"]
    for item in [*items, *_beside()]:
        content = item.content if item.source is None else item.source.read_bytes()
        lines.append(f"{item.to} {files.digest(content)}\n")
    mark = files.digest("".join(lines).encode())
    return Program(prefix, python, tuple(items), frozenset(found), mark)


def _beside() -> list[Item]:
    """What lies beside the packages."""
    shared = [Item(name, path) for name, path in bundled.shared().items()]
    return [*shared, Item("sms.agi", bundled.find("sms.agi"))]


def interpreter() -> Path:
    """A Python of this version that every user can run. Raises HostError."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    own = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    for path in (Path("/usr/bin") / version, own, Path("/usr/local/bin") / version):
        if _everybody_runs(path):
            return path
    raise HostError(
        f"Asterisk's user cannot run {own}: run setup with a Python that everybody can run, as"
        " pipx install --python /usr/bin/python3 dialplan-sms makes it"
    )


def _everybody_runs(path: Path) -> bool:
    try:
        target = path.resolve(strict=True)
        return bool(target.stat().st_mode & stat.S_IXOTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in target.parents
        )
    except (OSError, RuntimeError):
        return False


def is_there(program: Program) -> bool:
    """Whether *prefix* holds it already. Raises HostError where it must not be replaced."""
    prefix = program.prefix
    if mark(prefix):
        if mark(prefix) == program.mark:
            return True
    elif not prefix.exists() or (prefix.is_dir() and not any(prefix.iterdir())):
        return False
    elif not ((prefix / "pyvenv.cfg").is_file() and (prefix / "bin/sms.agi").is_file()):
        raise HostError(
            f"{prefix} holds something else than an installed dialplan-sms: move it away, or give"
            " another folder with --prefix"
        )
    elif any(prefix.glob(f"lib/python3*/site-packages/dialplan_sms-{__version__}.dist-info")):
        return True  # of make install
    infos = prefix.glob("lib/python3*/site-packages/*.dist-info")
    there = {normal(info.name.split("-")[0]) for info in infos}
    if lost := there - program.names - _NOT_OURS:
        raise HostError(
            f"{prefix} has Python packages that are not here, {', '.join(sorted(lost))}: install"
            " them here, too, or update it in the way it was installed"
        )
    return False


def mark(prefix: Path) -> str:
    """Which program setup has put there; empty for none, and for one of make install."""
    return (files.content_of(prefix / _MARK) or b"").decode("ascii", "replace").strip()


def build(program: Program, host: Host, uid: int, gid: int) -> Path:
    """Make the program beside its place, and try it as Asterisk's user. Raises HostError."""
    tidy(program.prefix)
    new = _new(program.prefix)
    if not new.parent.is_dir():
        files.make_folder(new.parent, 0o755)
    site = new / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    _folders(new, [f"{site.relative_to(new)}/{item.to}" for item in program.items])
    for item in program.items:
        _copy(item, site / item.to)
    for name, path in bundled.shared().items():
        _copy(Item(name, path), new / bundled.SHARE / name)
    for name in ("python3", "python"):
        (new / "bin" / name).symlink_to(program.python)
    python = program.prefix / "bin/python3"
    try:
        write_script(bundled.find("sms.agi"), new / "bin/sms.agi", python)
    except ValueError as error:
        raise HostError(f"--prefix: {error}") from None
    _write(new / "bin/dialplan-sms", _COMMAND.format(python=python).encode(), 0o755)
    version = ".".join(map(str, sys.version_info[:3]))
    config = f"home = {program.python.parent}\ninclude-system-site-packages = false\n"
    _write(new / "pyvenv.cfg", f"{config}version = {version}\n".encode(), 0o644)
    compiled = [str(new / "bin/python3"), "-m", "compileall", "-q", "-s", str(new), "-p",
                str(program.prefix), str(site)]  # fmt: skip
    host.run(compiled, 600)  # what cannot be compiled is no module that is used
    for folder, _, names in os.walk(site):  # whatever the umask
        os.chmod(folder, 0o755)  # noqa: S103
        for name in names:
            if name.endswith(".pyc"):
                os.chmod(Path(folder, name), 0o644)
    check = [
        str(new / "bin/python3"),
        "-I",
        "-c",
        "import dialplan_sms.cli.main, dialplan_sms.agi.script",
    ]
    done = host.run_as(uid, gid, check, 60)
    if done.status:
        raise HostError(
            f"user id {uid} cannot run {program.python} with the program: {done.last_line}"
        )
    _write(new / _MARK, program.mark.encode() + b"\n", 0o644)
    return new


def _folders(new: Path, paths: Iterable[str]) -> None:
    wanted = {"", "bin", bundled.SHARE} | {os.path.dirname(path) for path in paths}
    for folder in sorted(wanted):
        (new / folder).mkdir(parents=True, exist_ok=True)
    for path, _, _ in os.walk(new):
        os.chmod(path, 0o755)  # noqa: S103 - whatever the umask: everybody runs it


def _copy(item: Item, to: Path) -> None:
    if item.source is None:
        _write(to, item.content, 0o644)
        return
    shutil.copyfile(item.source, to)
    executable = item.source.stat().st_mode & stat.S_IXUSR
    to.chmod(0o755 if executable else 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def swap(new: Path, prefix: Path) -> None:
    """Put *new* in the place of *prefix*; a call that starts meanwhile finds one of them."""
    if not prefix.exists():
        os.rename(new, prefix)
        return
    old = _old(prefix)
    if _exchange(new, prefix):
        old = new
    else:
        os.rename(prefix, old)
        os.rename(new, prefix)
    shutil.rmtree(old, ignore_errors=True)


def tidy(prefix: Path) -> None:
    """Remove what a run that was ended has left beside *prefix*."""
    for left in (_new(prefix), _old(prefix)):
        shutil.rmtree(left, ignore_errors=True)


def _new(prefix: Path) -> Path:
    return prefix.with_name(f".{prefix.name}.new")


def _old(prefix: Path) -> Path:
    return prefix.with_name(f".{prefix.name}.old")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one instant, where the file system can (renameat2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    here, exchange = -100, 2
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), str(other))


def take(prefix: Path) -> None:
    """Remove *prefix*: all at once by its name, then what it holds."""
    tidy(prefix)
    if prefix.exists():
        os.rename(prefix, _old(prefix))
    tidy(prefix)
