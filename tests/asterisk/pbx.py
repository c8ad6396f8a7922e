"""A running Asterisk for tests: calls go in, what the dialplan did comes out.

with Pbx(fetch(22), "[test]\\nexten => 1,1,AGI(sms.agi)\\n", agi_bin=Path("agi")) as pbx:
    result = pbx.call("1", variables={"SMS_NUMBER": "+39012345", "SMS_MESSAGE": "Ciao"})
    assert result.variables["SMS_STATUS"] == "SUCCESS"
"""

import itertools
import re
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.asterisk.ami import Ami, Message
from tests.asterisk.call import Call, Result, seed
from tests.asterisk.etc import Etc
from tests.asterisk.installation import Installation
from tests.asterisk.server import PbxError, Server, text

__all__ = ["Pbx", "PbxError"]


class Pbx:
    """One Asterisk on loopback, with folders, dialplan and AMI user of its own.

    `dialplan` is text of extensions.conf, where `${PROBE}` is the probe, and `includes` are files
    included before it. `agi_bin` is where AGI() looks for scripts, `files` go to its etc folder,
    and `environment` is added to a bare environment.
    """

    def __init__(
        self,
        installation: Installation,
        dialplan: str = "",
        *,
        includes: Iterable[Path] = (),
        agi_bin: Path | None = None,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.installation = installation
        self._includes = tuple(includes)
        self._files = Etc(Path(tempfile.mkdtemp(prefix="pbx-")), installation, agi_bin)
        weakref.finalize(self, self._files.remove)  # for one that is never started
        self._server = Server(installation, self._files, environment or {})
        self._ami: Ami | None = None
        self._numbers = itertools.count(1)
        self._calls: list[Call] = []  # under way
        self._last_log = ""
        self._last_console = ""
        self._serial = self._files.write_dialplan(dialplan, self._includes)
        for name, content in (files or {}).items():
            self.write(name, content)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def etc(self) -> Path:
        """Asterisk's configuration folder, `AST_CONFIG_DIR` for AGI scripts."""
        return self._files.etc

    @property
    def log(self) -> str:
        """The full log so far, verbose 3 included; Asterisk writes it a moment late."""
        return self._last_log or text(self._files.log)

    @property
    def console(self) -> str:
        """What Asterisk and its AGI scripts wrote to stdout and stderr."""
        return self._last_console or text(self._files.console)

    @property
    def ami(self) -> Ami:
        """The AMI connection, for what has no method here."""
        if self._ami is None:
            raise PbxError("Asterisk is not running")
        return self._ami

    def start(self) -> Self:
        """Start Asterisk and return when it is fully booted; PbxError where that is never."""
        try:
            self._ami = self._server.start(self._take)
            self._check_dialplan()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End Asterisk, what it started and its folder; does nothing where that is done."""
        if self._ami is not None:
            self._ami.close()
            self._ami = None
        self._server.end()
        self._last_log, self._last_console = self.log, self.console
        self._files.remove()

    def write(self, name: str, text: str) -> Path:
        """Write a file into the etc folder, before or after the start, such as `sms.conf`."""
        return self._files.write(name, text)

    def set_dialplan(self, text: str) -> None:
        """Replace the dialplan's text and reload it; PbxError where Asterisk keeps the old one."""
        self._serial = self._files.write_dialplan(text, self._includes)
        self.cli("dialplan reload")
        self._check_dialplan()

    def cli(self, command: str) -> str:
        """What the command line answers, such as `dialplan show sub-sms`."""
        return "\n".join(self.ami.action("Command", Command=command).all("Output"))

    def hangup(self, channel: str) -> None:
        """Hang up one channel by name; AmiError where there is none."""
        self.ami.action("Hangup", Channel=channel, Cause="16")

    def call(self, extension: str, context: str = "test", **options: Any) -> Result:
        """Call an extension and return what the call left behind: see start_call."""
        return self.start_call(extension, context, **options).wait()

    def start_call(
        self,
        extension: str,
        context: str = "test",
        *,
        variables: Mapping[str, str | bytes] | None = None,
        ask: Iterable[str] = (),
        caller_id: str = "",
        timeout: float = 20,
    ) -> Call:
        """Call an extension and return at once.

        The channel begins with exactly these variables (functions such as `CALLERID(name)` work as
        names). Its outputs (`call.OUTPUTS`) and what `ask` names are read after `h`, by a hang-up
        handler, and at every `AGI(${PROBE},label)`. `caller_id` is a number or `Name <number>`.
        """
        given: dict[str, str | bytes] = {}
        if caller_id:
            name, bracket, number = caller_id.rpartition(" <")
            given["CALLERID(num)"] = number.removesuffix(">")
            given |= {"CALLERID(name)": name} if bracket else {}
        folder = self._files.calls / f"call{next(self._numbers)}"
        seed(folder, f"{context},{extension},1", given | dict(variables or {}), ask)
        call = Call(folder, self.hangup, timeout)
        self._calls.append(call)
        peer, channel = call.ids
        self.ami.action(
            "Originate", Channel=f"Local/{call.name}@bed/n", Application="Wait", Data="3600",
            Timeout="3600000", ChannelId=peer, OtherChannelId=channel, Async="true",
        )  # fmt: skip
        return call

    def _check_dialplan(self) -> None:
        if "1. NoOp()" not in self.cli(f"dialplan show {self._serial}"):
            told = re.findall(r".*(?:ERROR|WARNING).* (?:config|pbx\w*)\.c: .*", self.log)
            raise PbxError("\n".join(["Asterisk does not take the dialplan", *told]))

    def _take(self, event: Message) -> None:
        for call in list(self._calls):
            call.take(event)
            if call.over:
                self._calls.remove(call)
