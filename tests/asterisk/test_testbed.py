"""What every other test here leans on: values travel, calls keep apart, nothing is left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.asterisk import curl, debian, fetch, pbx
from tests.asterisk.ami import Ami
from tests.asterisk.call import CallTimeout
from tests.asterisk.installation import AsteriskUnavailable, Installation, installed
from tests.asterisk.pbx import Pbx, PbxError, processes
from tests.asterisk.serving import free_port
from tests.asterisk.test_texts import TEXTS
from tests.waiting import until

NASTY = TEXTS | {
    "carriage returns": "first\nsecond\r\nthird\n\nfifth\n",
    "expressions": "${SHELL(id)} ${A} $[1+1] ${CURL(x)} %24%7B",
    "many commas": ',a,,"b,c",(d,e),[f,g],',
    "forged event": "x\r\n\r\nEvent: Hangup\r\nUniqueid: call1-2\r\n\r\n",
    "equals": "a=b=c",
    "unicode": "😀 Привет ﷺ é",
    "tabs": "\t a \t",
    "8000 bytes": "0123456789" * 800,
    "no UTF-8": b"\xff\xfe\x80".decode(errors="surrogateescape"),
    "empty": "",
}


def script(folder: Path, body: str) -> Path:
    """An executable AGI script that runs this after the AGI environment is read."""
    path = folder / "script.agi"
    path.write_text(f'#!/bin/sh\nwhile read -r line && [ -n "$line" ]; do :; done\n{body}\n')
    path.chmod(0o755)
    return path


def test_the_version_is_the_one_asked_for(asterisk: Pbx, request: pytest.FixtureRequest) -> None:
    assert asterisk.installation.version in asterisk.cli("core show version")
    major = f"asterisk{asterisk.installation.major}"
    assert request.node.callspec.id in (major, "asteriskinstalled")


@pytest.mark.parametrize("kind", NASTY)
def test_values_travel_byte_exact(asterisk: Pbx, kind: str) -> None:
    asterisk.set_dialplan(
        "[test]\nexten => 1,1,AGI(${PROBE},start)\n same => n,Set(COPY=${TEXT})\n"
    )
    text = NASTY[kind]
    result = asterisk.call("1", variables={"TEXT": text, "NEXT": "x"}, ask=["TEXT", "COPY", "NEXT"])
    assert result.probes["start"]["TEXT"] == text
    assert result.variables["TEXT"] == text
    assert result.variables["NEXT"] == "x"
    if len(text.encode(errors="surrogateescape")) <= 4095:  # Set(COPY=${TEXT}) carries no more
        assert result.variables["COPY"] == text


def test_caller_ids_travel_byte_exact(asterisk: Pbx) -> None:
    asterisk.set_dialplan("[test]\nexten => 1,1,NoOp()\n")
    names = ["CALLERID(num)", "CALLERID(name)"]
    plain = asterisk.call("1", caller_id="+39055123456", ask=names)
    named = asterisk.call("1", caller_id='x\nagi_arg_1: "y" <z> <101>', ask=names)
    assert [plain.variables[name] for name in names] == ["+39055123456", ""]
    assert [named.variables[name] for name in names] == ["101", 'x\nagi_arg_1: "y" <z>']


def test_the_outcome_is_read_after_h(asterisk: Pbx) -> None:
    asterisk.set_dialplan("""[test]
exten => 1,1,Set(SMS_STATUS=SUCCESS)
 same => n,Gosub(back,1,1)
 same => n,Hangup()
exten => h,1,Set(SMS_ID=7)
[back]
exten => 1,1,Return(a "b")
""")
    result = asterisk.call("1")
    names = ["SMS_STATUS", "SMS_ID", "GOSUB_RETVAL", "SMS_CAUSE"]
    assert [result.variables[name] for name in names] == ["SUCCESS", "7", 'a "b"', ""]
    assert result.applications()[0] == "Set(SMS_STATUS=SUCCESS)"
    assert result.applications()[-1] == "Set(SMS_ID=7)"


def test_scripts_get_the_configuration_folder_and_a_bare_environment(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALPLAN_SMS_CONF", "/host/sms.conf")
    name = script(tmp_path, 'env > "$AST_CONFIG_DIR/seen"; echo oops >&2').name
    dialplan = f"[test]\nexten => 1,1,AGI({name})\n"
    files = {"sms.conf": "[general]\n"}
    with Pbx(
        installation, dialplan, agi_bin=tmp_path, files=files, environment={"MINE": "1"}
    ) as asterisk:
        assert asterisk.call("1").variables["AGISTATUS"] == "SUCCESS"
        seen = (asterisk.etc / "seen").read_text()
        assert (asterisk.etc / "sms.conf").stat().st_mode & 0o777 == 0o600
        assert "oops" in asterisk.console
    assert "MINE=1" in seen.splitlines()
    assert "DIALPLAN_SMS_CONF" not in seen


def test_a_broken_dialplan_is_told(asterisk: Pbx) -> None:
    with pytest.raises(PbxError, match="does not take the dialplan"):
        asterisk.set_dialplan('#include "/nonexistent/sms.conf"\n')
    asterisk.set_dialplan("[test]\nexten => 2,1,NoOp()\n")
    assert asterisk.call("2").applications() == ["NoOp()"]
    missing = Path("/nonexistent/sms.conf")
    with pytest.raises(PbxError, match=str(missing)):
        Pbx(asterisk.installation, includes=[missing]).start()


def test_a_hangup_in_mid_call(asterisk: Pbx) -> None:
    asterisk.set_dialplan("[test]\nexten => 1,1,Wait(60)\nexten => h,1,Set(SMS_CAUSE=h ran)\n")
    call = asterisk.start_call("1")
    call.wait_for("Newexten", Application="Wait")
    result = call.end()
    assert result.duration < 10
    assert result.variables["SMS_CAUSE"] == "h ran"


def test_a_script_that_outlives_the_hangup_is_waited_for(asterisk: Pbx, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "trap '' HUP\necho 'SET VARIABLE BEGUN 1'\nread r\nsleep 1\necho 'SET VARIABLE SMS_STATUS \"late\"'\nread r",
    )
    asterisk.set_dialplan(f"[test]\nexten => 1,1,AGI({path})\n")
    call = asterisk.start_call("1")
    call.wait_for("VarSet", Variable="BEGUN")
    left = call.end().variables
    assert (left["SMS_STATUS"], left["AGISTATUS"]) == ("late", "HANGUP")


def test_a_call_without_end_is_told_and_hung_up(asterisk: Pbx) -> None:
    asterisk.set_dialplan("[test]\nexten => 1,1,Wait(60)\n")
    call = asterisk.start_call("1", timeout=1)
    with pytest.raises(CallTimeout, match="60"):
        call.wait()
    call.wait_for("Hangup", timeout=5, Uniqueid=call.ids[1])


def test_eight_calls_at_once_keep_apart(asterisk: Pbx) -> None:
    asterisk.set_dialplan("""[test]
exten => _X,1,Wait(1)
 same => n,Set(SMS_ID=${TEXT})
 same => n,AGI(${PROBE},mid)
""")
    started = time.monotonic()
    calls = [asterisk.start_call(str(n), variables={"TEXT": f"text {n}"}) for n in range(8)]
    results = [call.wait() for call in calls]
    assert time.monotonic() - started < 6
    for n, result in enumerate(results):
        assert result.variables["SMS_ID"] == result.probes["mid"]["SMS_ID"] == f"text {n}"
        texts = [e["Value"] for e in result.events if e["Variable"] == "SMS_ID"]
        assert texts == [f"text {n}"]


def test_an_event_that_asterisk_sleeps_through_is_asked_for() -> None:
    """It sends one then with what comes next, as a real one does: see ami.py."""
    seen, ping = threading.Event(), b"Action: Ping\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        listener.settimeout(30)

        def asterisk() -> None:
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as stream:
                said = b""
                for line in stream:
                    said += line
                    if said.startswith(b"Action: Login") and said.endswith(b"\r\n\r\n"):
                        peer.sendall(b"Response: Success\r\nActionID: 1\r\n\r\n")
                        said = b""
                    elif said == ping:
                        peer.sendall(b"Response: Success\r\n\r\nEvent: Hangup\r\n\r\n")
                        said = b""

        ended = thread.submit(asterisk)
        with closing(Ami(listener.getsockname()[1], "secret", lambda _: seen.set())):
            assert seen.wait(30)
        ended.result(30)


def test_an_installed_asterisk_can_be_used(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"lib/asterisk/modules": installation.modules, "share/asterisk": installation.data}
    for link, target in places.items():
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(target)
    (tmp_path / "sbin").mkdir()
    binary = tmp_path / "sbin/asterisk"
    binary.write_text(f'#!/bin/sh\nexec {" ".join(installation.command)} "$@"\n')
    binary.chmod(0o755)
    found = installed(binary)
    assert found.version == installation.version
    with Pbx(found, "[test]\nexten => 1,1,Set(SMS_STATUS=SUCCESS)\n") as asterisk:
        assert asterisk.call("1").variables["SMS_STATUS"] == "SUCCESS"
    monkeypatch.setenv(fetch.INSTALLED_VARIABLE, "/nonexistent/asterisk")
    with pytest.raises(AsteriskUnavailable, match="/nonexistent/asterisk is not a file"):
        fetch.fetch(22)


class TestLifetime:
    """An Asterisk leaves nothing behind, however its test run ends."""

    @pytest.fixture
    def dialplan(self, tmp_path: Path) -> str:
        """Runs a script that ignores the hang-up, with a grandchild in a session of its own."""
        body = "trap '' HUP TERM\n(setsid sleep 300 >/dev/null 2>&1 &)\nsleep 300"
        return f"[test]\nexten => 1,1,AGI({script(tmp_path, body)})\n"

    def of(self, folder: Path) -> list[Path]:
        """Every process whose home is this folder: Asterisk, its warden, its scripts and theirs."""
        return processes(f"HOME={folder}")

    def all_there(self, folder: Path) -> None:
        """Wait for the warden, Asterisk, the script, its sleep and its grandchild."""
        until(lambda: len(self.of(folder)) >= 5, lambda: self.of(folder))

    def test_a_port_that_is_taken_is_left_for_another(
        self, installation: Installation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            ports = iter([other.getsockname()[1], free_port()])
            monkeypatch.setattr(pbx, "free_port", lambda: next(ports))
            with Pbx(installation) as asterisk:
                assert "Asterisk" in asterisk.cli("core show version")
        assert list(ports) == []

    def test_stop_leaves_no_process_and_no_file(
        self, installation: Installation, dialplan: str
    ) -> None:
        with Pbx(installation, dialplan) as asterisk:
            folder = asterisk.etc.parent
            asterisk.start_call("1").wait_for("Newexten", Application="AGI")
            self.all_there(folder)
        assert self.of(folder) == []
        assert not folder.exists()
        assert "Executing [1@test:1] AGI" in asterisk.log

    @pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
    def test_nothing_outlives_a_killed_test_run(
        self, installation: Installation, tmp_path: Path, dialplan: str, end: signal.Signals
    ) -> None:
        run = tmp_path / "run.py"
        run.write_text(f"""
import time
from tests.asterisk.fetch import fetch
from tests.asterisk.pbx import Pbx
with Pbx(fetch({installation.major}), {dialplan!r}) as pbx:
    pbx.start_call('1').wait_for('Newexten', Application='AGI')
    print(pbx.etc.parent, flush=True)
    time.sleep(300)
""")
        with subprocess.Popen(
            [sys.executable, str(run)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            folder = Path(process.stdout.readline().strip())
            self.all_there(folder)
            process.send_signal(end)
            process.wait(20)
        until(lambda: not self.of(folder) and not folder.exists(), lambda: self.of(folder))

    def test_asterisk_goes_when_its_warden_is_killed(self, installation: Installation) -> None:
        with Pbx(installation) as asterisk:
            folder = asterisk.etc.parent
            warden, *_ = sorted(int(process.name) for process in self.of(folder))
            os.kill(warden, signal.SIGKILL)
            until(lambda: not self.of(folder), lambda: self.of(folder))
        assert not folder.exists()


class TestFetch:
    """The cache of fetched trees: built once, whole or not at all. No network."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty cache, a mirror that nothing reaches, and trees that count as unpacked."""
        monkeypatch.delenv(fetch.INSTALLED_VARIABLE, raising=False)
        monkeypatch.setenv("DIALPLAN_SMS_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://192.0.2.1/debian/")
        monkeypatch.setattr(debian, "download", lambda *_: [])
        monkeypatch.setattr(debian, "unpack", lambda _, root: root.mkdir())
        monkeypatch.setattr(fetch, "unpacked", lambda root: Installation("22.0.0", (), root, root))
        return tmp_path / "cache"

    def test_a_failed_fetch_leaves_nothing_that_is_used(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(folder: Path, *_: object) -> list[Path]:
            folder.mkdir()
            raise AsteriskUnavailable("apt update: unreachable")

        monkeypatch.setattr(debian, "download", broken)
        with pytest.raises(AsteriskUnavailable, match="unreachable"):
            fetch.fetch(22)
        assert [path.suffix for path in cache.iterdir()] == [".lock"]

    def test_what_a_killed_fetch_left_is_swept(self) -> None:
        tree = fetch.fetch(22).modules
        half = tree.with_name(f"{tree.name}.part-killed")
        tree.rename(half)
        assert fetch.fetch(22).modules == tree
        assert tree.is_dir()
        assert not half.exists()

    def test_three_at_once_fetch_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fetched, together = [], threading.Event()

        def download(folder: Path, site: str, suite: str, say: debian.Say) -> list[Path]:
            fetched.append((site, suite))
            together.wait(0.5)
            return []

        monkeypatch.setattr(debian, "download", download)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(fetch.fetch, [16] * 3))
        assert fetched == [("http://192.0.2.1/debian", "bullseye")]

    def test_a_cache_that_cannot_be_made_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("DIALPLAN_SMS_CACHE", str(tmp_path / "file/cache"))
        with pytest.raises(AsteriskUnavailable, match="set DIALPLAN_SMS_CACHE"):
            fetch.fetch(22)

    def test_the_mirror_is_the_hosts_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(debian.MIRROR_VARIABLE)
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / "dpkg-deb").symlink_to("/bin/true")
        apt = tmp_path / "apt-get"
        apt.symlink_to("/bin/true")
        with pytest.raises(AsteriskUnavailable, match="set DIALPLAN_SMS_DEBIAN_MIRROR"):
            debian.mirror()
        apt.unlink()
        apt.write_text(
            "#!/bin/sh\necho http://192.0.2.2/security x-security\necho http://192.0.2.3/debian/ x\n"
        )
        apt.chmod(0o755)
        assert debian.mirror() == "http://192.0.2.3/debian"


DATA = ("--data-urlencode", "number=+39123456789", "--data-urlencode", "message=È così? 1 & 2 = 3")


@pytest.mark.slow  # needs curl
@pytest.mark.parametrize("how", [("-k", "-X", "POST"), ("-X", "POST"), (), ("-G",)])
def test_the_stand_in_for_curl_sends_what_curl_sends(how: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        listener.settimeout(30)

        def sent(by: Callable[..., bytes]) -> bytes:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/sms"
            answer = thread.submit(by, "-s", *how, "-u", "101:sms101api", "--url", url, *DATA)
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n"))
                length = re.search(rb"Content-Length: (\d+)", head)
                body = stream.read(int(length[1])) if length else b""
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert answer.result(30) == b"{}"
            head = re.sub(rb"(User-Agent: curl)/\S+", rb"\1", head)
            # In a URL, some versions write %2b, which is the same.
            return re.sub(b"%..", lambda found: found[0].upper(), head) + body

        assert sent(curl.stand_in) == sent(curl.real)
