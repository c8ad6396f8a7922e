"""The configuration of a test's Asterisk: written to a folder of its own, for loopback alone."""

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.asterisk.installation import Installation

# In the order in which they are loaded: res_agi needs res_speech, func_curl needs res_curl.
MODULES = """
    res_timing_timerfd bridge_simple pbx_config pbx_spool res_speech res_agi
    app_dial app_exec app_originate app_playback app_queue app_read app_senddtmf app_stack app_system
    app_userevent app_verbose app_while
    func_base64 func_callerid func_channel func_cut func_db func_env func_global func_groupcount func_hangupcause
    func_logic func_math func_rand func_shell func_sprintf func_strings func_timeout func_uri
    res_curl func_curl
""".split()

# A call enters here: `Local/CALL@bed/n`, CALL being the name of its folder. The values come from
# files, since AMI, AGI and the dialplan's own quoting each lose some texts. One ${…} carries 4095
# bytes at most, so a value comes in two pieces.
_ENTRY = """\
[bed]
exten => serial-{serial},1,NoOp()
exten => _call.,1,Set(BED_CALL={calls}/${{EXTEN}})
 same => n,Set(CHANNEL(hangup_handler_push)=bed-end,s,1)
 same => n,Set(BED_COUNT=${{FILE(${{BED_CALL}}/count,0,9)}})
 same => n,Set(BED_I=0)
 same => n(next),Set(BED_I=$[${{BED_I}} + 1])
 same => n,GotoIf($[${{BED_I}} > ${{BED_COUNT}}]?go)
 same => n,Set(BED_FILE=${{BED_CALL}}/${{BED_I}})
 same => n,Set(${{FILE(${{BED_FILE}}.name,0,999)}}=\
${{FILE(${{BED_FILE}}.value,0,4000)}}${{FILE(${{BED_FILE}}.rest,0,4000)}})
 same => n,Goto(next)
 same => n(go),Goto(${{FILE(${{BED_CALL}}/target,0,999)}})

[bed-end]
exten => s,1,Set(AGISIGHUP=no)
 same => n,Set(AGIEXITONHANGUP=no)
 same => n,AGI(${{PROBE}},end)
 same => n,Return()
"""


class Etc:
    """The folders of one Asterisk, below one temporary folder, and the files in its `etc`."""

    def __init__(self, folder: Path, installation: Installation, agi_bin: Path | None) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        self.calls = folder / "calls"
        self.log = folder / "log/full"
        self.console = folder / "console"
        self.probe = folder / "probe.agi"
        self._serial = 0
        for name in ("etc", "var", "db", "keys", "agi", "spool", "run", "log", "calls"):
            (folder / name).mkdir()
        for name in ("outgoing", "tmp"):
            (folder / "spool" / name).mkdir()
        directories = {
            "astetcdir": self.etc,
            "astmoddir": installation.modules,
            "astvarlibdir": folder / "var",
            "astdbdir": folder / "db",
            "astkeydir": folder / "keys",
            "astdatadir": installation.data,
            "astagidir": (agi_bin or folder / "agi").absolute(),
            "astspooldir": folder / "spool",
            "astrundir": folder / "run",
            "astlogdir": folder / "log",
        }
        options = {"entityid": "02:00:00:00:00:01", "hideconnect": "yes"}
        self.write("asterisk.conf", _sections(directories=directories, options=options))
        loads = "".join(f"load = {name}.so\n" for name in MODULES)
        self.write("modules.conf", f"[modules]\nautoload = no\n{loads}")
        self.write("queues.conf", "[general]\n")  # without it app_queue does not load
        files = {"full": "notice,warning,error,verbose(3)"}
        self.write("logger.conf", _sections(general={"dateformat": "%F %T.%3q"}, logfiles=files))
        source = Path(__file__).with_name("probe.py").read_text()
        self.probe.write_text(f"#!{sys.executable} -IS\n{source}")
        self.probe.chmod(0o700)

    def write(self, name: str, text: str) -> Path:
        """Write a file of `etc`, for its owner alone, such as `sms.conf`."""
        path = self.etc / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def write_manager(self, port: int, secret: str) -> None:
        """AMI on this loopback port, all events, one user."""
        general = {"enabled": "yes", "port": port, "bindaddr": "127.0.0.1", "displayconnects": "no"}
        user = {"secret": secret, "read": "all", "write": "all", "writetimeout": "5000"}
        self.write("manager.conf", _sections(general=general, bed=user))

    def write_dialplan(self, text: str, includes: Iterable[Path]) -> str:
        """Write extensions.conf; returns an extension that only this version of it has."""
        self._serial += 1
        # The text itself goes into extensions.conf: an #include that fails in an included file only
        # drops the rest of that file, and the reload succeeds.
        self.write(
            "extensions.conf",
            _sections(
                general={"static": "yes", "writeprotect": "yes", "clearglobalvars": "yes"},
                globals={"PROBE": self.probe},
            )
            + _ENTRY.format(serial=self._serial, calls=self.calls)
            + "".join(f'#include "{path.absolute()}"\n' for path in includes)
            + text,
        )
        return f"serial-{self._serial}@bed"

    def remove(self) -> None:
        """Remove the whole folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _sections(**sections: Mapping[str, object]) -> str:
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {_escaped(value)}\n" for key, value in pairs.items())
        for name, pairs in sections.items()
    )


def _escaped(value: object) -> str:
    return str(value).replace(";", "\\;")
