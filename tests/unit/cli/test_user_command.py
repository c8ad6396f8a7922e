"""``dialplan-sms user``: the names that it takes, the address that it shows, tokens."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dialplan_sms.cli.user import user
from dialplan_sms.config.http import token_hash


def run(name: str, environ: dict[str, str | None] | None = None, *options: str) -> Result:
    return CliRunner().invoke(user, [*options, "--", name], input="s3cret\n", env=environ)


@pytest.mark.parametrize(
    ("name", "why"),
    [("", "is empty"), ("w m s", "white space"), (" wms", "white space"), ("w\u00a0s", "white space"),
     ("a\nb", "white space"), ("a:b", "colon"), ("a;b", "semicolon"), ("a\x07b", "control character"),
     ("x" * 65, "65 characters")],
)  # fmt: skip
def test_a_name_that_cannot_be_carried_is_refused(name: str, why: str) -> None:
    result = run(name)
    assert result.exit_code == 1
    assert result.output.startswith("Error: this user name ")
    assert why in result.output
    assert result.output.count("\n") == 1


def test_a_name_of_64_characters_and_one_with_an_accent_are_fine() -> None:
    assert run("x" * 64).exit_code == 0
    assert run("caff\u00e8").output.startswith("user = caff\u00e8:$scrypt$")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "sms.conf"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(
    ("http", "url"),
    [
        ("[http]\nlisten = 127.0.0.1:8080\n", "http://127.0.0.1:8080/"),
        ("[http]\nlisten = [::1]:8443\ncertificate = x.pem\n", "https://[::1]:8443/"),
        ("[http]\nlisten = 0.0.0.0:8080\n", "http://THIS-HOST:8080/"),
        ("[http]\n", "http://127.0.0.1:4575/"),
        ("[http]\nlisten = nonsense\n", "http://127.0.0.1:4575/"),
        ("", "http://127.0.0.1:4575/"),
        (None, "http://127.0.0.1:4575/"),  # no sms.conf
    ],
)
def test_it_shows_the_address_of_the_usual_place(conf: Path, http: str | None, url: str) -> None:
    # given [http] without a user, since this makes the first one
    conf.write_text(f"[101]\nurl = https://192.0.2.1\n{http}")
    if http is None:
        conf.unlink()
    # when the command runs without --config
    usual = run("wms", {"DIALPLAN_SMS_CONF": None, "AST_CONFIG_DIR": str(conf.parent)})
    # then it shows where the server will listen, and does so with --config, too
    assert f'"{url}api/' in usual.output
    assert f'"{url}api/' in run("wms", None, "--config", str(conf)).output


def test_a_token_is_shown_once_and_its_hash_is_the_line(conf: Path) -> None:
    # given tokens that are made without a password
    command = ["--token", "wms", "--config", str(conf)]
    made, other = (CliRunner().invoke(user, command, input="") for _ in range(2))
    # then standard output has the line alone, and the token stands beside it
    (token,) = re.findall(r"^sms_[\w-]{43}$", made.stderr, re.MULTILINE)
    assert made.stdout == f"user = wms:{token_hash(token)}\n"
    assert made.stderr.count(token) == 1
    assert "PASSWORD" not in made.stderr
    assert other.stdout != made.stdout


def test_without_a_name_it_lists_who_has_what(conf: Path) -> None:
    tokens = [token_hash(each) for each in ("one", "other")]
    password = run("wms").stdout
    lines = f"{password}user = wms:{tokens[0]}\nuser = portal:{tokens[1]}\n"
    general = "[general]\noutbox = sqlite:////tmp/o.sqlite\n"
    conf.write_text(f"{general}[http]\n{lines}[101]\nurl = https://192.0.2.1\npassword = x\n")
    listed = CliRunner().invoke(user, ["--config", str(conf)])
    one, other = (each[8:16] for each in tokens)
    assert listed.output == f"wms: password, token {one}…\nportal: token {other}…\n"
    conf.write_text("[101]\nurl = https://192.0.2.1\npassword = x\n")
    listed = CliRunner().invoke(user, ["--config", str(conf)])
    told = f"Error: {conf} has no user: dialplan-sms user NAME makes one\n"
    assert (listed.exit_code, listed.output) == (1, told)
