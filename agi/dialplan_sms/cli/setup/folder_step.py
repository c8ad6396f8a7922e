"""The step that makes a folder for Asterisk's user, or looks whether that user can write to it."""

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.cli.setup.steps import State, Work
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError, by_id


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """A folder for Asterisk's user. One that is there is not given to another: its path is that
    user's, who could turn it to any file meanwhile."""

    path: Path
    mode: int
    owner: Ownership
    about: str
    pending: str = ""

    @property
    def target(self) -> str:
        return str(self.path)

    def state(self, work: Work) -> tuple[State, str]:
        """Raises HostError where something else is there."""
        try:
            status = self.path.stat()
        except PermissionError:
            if work.host.is_root:
                raise
            return State.NOTE, f"only root can look at it; {self.about}"
        except OSError:  # not there, below a file, or a link to nothing
            self._refuse_else()
            return State.MAKE, self.about
        if not stat.S_ISDIR(status.st_mode):
            self._refuse_else()
        self._refuse_closed(status)
        return State.THERE, self.about

    def do(self, work: Work) -> str:
        work.manifest.note(self.path, "folder", "made")
        files.make_folder(self.path, self.mode, self.owner)
        return ""

    def _refuse_else(self) -> None:
        """Raise HostError where something that is no folder is there, or above it."""
        first = next(path for path in (self.path, *self.path.parents) if os.path.lexists(path))
        if not first.is_dir():
            raise HostError(f"{first} is no folder, and one is needed {self.about}: move it away")

    def _refuse_closed(self, status: os.stat_result) -> None:
        """Raise HostError where the user whom it is for cannot make files in it."""
        shift = 0
        if status.st_uid == self.owner.uid:
            shift = 6
        elif status.st_gid == self.owner.gid:
            shift = 3
        if self.owner.uid == 0 or status.st_mode >> shift & 3 == 3:
            return
        who, place = by_id(self.owner.uid).owner, shlex.quote(str(self.path))
        run = "chmod u+rwx" if shift == 6 else f"chown -R {who}"
        raise HostError(
            f"{who} cannot write to {self.path}, the folder {self.about}: run {run} {place}, then"
            " setup again"
        )
