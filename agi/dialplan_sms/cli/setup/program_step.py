"""The step that puts the program into its folder."""

from dataclasses import dataclass

from dialplan_sms.cli.setup.program import Program, build, is_there, swap, tidy
from dialplan_sms.cli.setup.steps import State, Work


@dataclass(frozen=True, slots=True)
class PutProgram:
    """The program in its own folder, tried as Asterisk's user."""

    program: Program
    uid: int
    gid: int
    pending: str = "service"

    @property
    def target(self) -> str:
        return str(self.program.prefix)

    def state(self, work: Work) -> tuple[State, str]:
        about = f"the program, {len(self.program.names)} Python packages, run by"
        about += f" {self.program.python}"
        if is_there(self.program):
            return State.THERE, about
        return State.CHANGE if self.program.prefix.exists() else State.MAKE, about

    def do(self, work: Work) -> str:
        new = build(self.program, work.host, self.uid, self.gid)
        work.manifest.note(self.program.prefix, "program", "setup", self.pending)
        swap(new, self.program.prefix)
        return ""

    def adopt(self, work: Work) -> None:
        tidy(self.program.prefix)
