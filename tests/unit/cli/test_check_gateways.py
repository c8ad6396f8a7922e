"""``dialplan-sms check`` looks at a gateway of ``curl``, and asks it for nothing."""

from pathlib import Path

from dialplan_sms.cli.check import CheckState, Finding
from dialplan_sms.cli.check.command import without_secrets
from dialplan_sms.cli.check.pbx import each
from dialplan_sms.cli.setup import pbx as setup
from dialplan_sms.config.config import load
from dialplan_sms.sandbox import Sandbox
from tests.asterisk.serving import free_port

LINE = 'curl -u "bob:hunter2" {url}/sms/v3rysecret --data-urlencode "to={{TO_NUMBER}}" -d "text={{MESSAGE}}"'


def look(conf: Path, url: str, keys: str = "") -> dict[str, Finding]:
    """What is found, by name."""
    conf.touch(0o600)
    conf.write_text(f"[gateway]\ncurl = {LINE.format(url=url)}\nsuccess = OK\n{keys}\n")
    config = load(conf)
    (group,) = each(config, 3.0)
    shown = without_secrets(group.check(), config)
    assert "hunter2" not in str(shown)
    assert "v3rysecret" not in str(shown)
    return {line.name: line for line in shown}


def test_a_gateway_is_not_asked(tmp_path: Path) -> None:
    conf = tmp_path / "sms.conf"
    with Sandbox() as gateway:
        found = look(conf, gateway.url, f"verify = {gateway.fingerprint}")
        assert found["certificate"].state is CheckState.OK
        assert found["connection"].state is CheckState.OK
        assert "would be an SMS" in found["credentials"].says
        assert "max_length" not in found
        said, good = setup.ask(conf, "gateway")
        assert (good, said) == (True, f"warning: {found['credentials'].says}")
        untrusted = look(conf, gateway.url)["certificate"]
        assert untrusted.state is CheckState.WRONG
        assert f"verify = {gateway.fingerprint} in [gateway]" in untrusted.do
        assert look(conf, gateway.url, f"verify = {conf}")["certificate"].state is CheckState.WRONG
        assert gateway.requests == []


def test_one_that_does_not_listen_is_named(tmp_path: Path) -> None:
    found = look(tmp_path / "sms.conf", f"http://127.0.0.1:{free_port()}")
    assert found["connection"].state is CheckState.WRONG
    assert found["connection"].do.startswith("correct the port in the URL in curl, or")
