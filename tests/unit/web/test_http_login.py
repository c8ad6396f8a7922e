"""Who may use the HTTP SMS server: [http] of sms.conf, passwords, tokens, and what wrong ones bring."""

import asyncio
import base64
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dialplan_sms.cli.user import user
from dialplan_sms.config.config import load
from dialplan_sms.config.http import DECOY, fits, make_hash, token_hash
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.web.login import FREE, Login, TooMany, Unknown

HASH = (  # of s3cret
    "$scrypt$ln=14,r=8,p=1$3Pvr4j7mesOu8n7gpoECSQ$CauPGQIauSmxrR8dmgh+VAfKZKhQ+FE58kFt7Q7FJtc"
)
TOKEN = "sms_aF9t"
TOKEN_HASH = "$sha256$e909085d9deb2a629a16fa3b1c73bcdc29093e1c1132e0dd3cb5cf04bbdb5d94"
SENDER = "[101]\nurl = https://192.0.2.1\npassword = x\n"


def conf(folder: Path, http: str, general: str = "outbox = sqlite:////tmp/o.sqlite") -> Path:
    path = folder / "sms.conf"
    path.touch(0o600)
    path.write_text(f"[general]\n{general}\n[http]\n{http}\n{SENDER}")
    return path


def test_users_tokens_networks_and_files(tmp_path: Path) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    one, other = token_hash("one"), token_hash("other")
    text = (
        f"user = wms:{one}\nuser => portal:{HASH}\nuser = wms:{HASH}\nuser = wms:{other}\n"
        f"user = a:{TOKEN_HASH}\nlisten = 192.0.2.9:443\nallow = 192.0.2.0/24\n"
        "certificate = c.pem\nkey = k.pem\npage = yes\nsender = 101"
    )
    http = load(conf(tmp_path, text), http=True).http
    assert http is not None
    users = {"wms": (HASH, one, other), "portal": (HASH,), "a": (DECOY, TOKEN_HASH)}
    assert list(http.users.items()) == list(users.items())
    assert (http.listen, http.page, http.sender) == ((("192.0.2.9", 443),), True, "101")
    assert (http.certificate, http.key) == (f"{tmp_path}/c.pem", f"{tmp_path}/k.pem")
    assert HASH not in repr(http)


@pytest.mark.parametrize(
    ("http", "says"),
    [
        ("", "has no user: add what dialplan-sms user NAME prints"),
        ("user = wms:secret", "that of wms is no hash"),
        (f"user = {HASH}", "no name and hash"),
        (f"user = a:{HASH[:-2]}", "that of a is no hash"),
        (f"user = a:{HASH[:-20]}", "that of a is no hash"),
        (f"user = a:{HASH}A", "that of a is no hash"),
        (f"user = a:{HASH}\nlisten = 4575", "the address is missing"),
        (f"user = a:{HASH}\nuser = a:{HASH}", "a stands there twice"),
        (f"user = a:{HASH}\nuser = a:{TOKEN_HASH}\nuser = a:{make_hash('x')}", "a stands there twice"),
        (f"user = a:{TOKEN_HASH}\nuser = b:{TOKEN_HASH}", "stands there twice"),
        (f"user = a:{TOKEN_HASH}0", "that of a is no hash"),
        ("user = a:$sha256$secret", "that of a is no hash"),
        (f"user = a:{HASH}\nlisten = 192.0.2.9:80", "add allow ="),
        (f"user = a:{HASH}\ncertificate = sms.conf", "needs certificate and key, or neither"),
        (f"user = a:{HASH}\ncertificate = none.pem", "certificate = none.pem, there is no file"),
        (f"user = a:{HASH}\nsender = 999", "there is no section [999]"),
        (f"user = a:{HASH}\npasword = x", "unknown in [http]"),
        (f"user = a:{HASH}\npage = yes\npage = no", "page is set already"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, http: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(conf(tmp_path, http), http=True)
    assert says in str(caught.value)
    assert "sms.conf:" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_it_needs_a_section_and_an_outbox_and_calls_need_neither(tmp_path: Path) -> None:
    path = conf(tmp_path, f"user = a:{HASH}", general="")
    with pytest.raises(ConfigError, match="needs the outbox"):
        load(path, http=True)
    conf(tmp_path, "certificate = gone.pem\nnonsense = x")
    assert load(path).senders
    path.write_text(SENDER)
    assert load(path, http=True).http is None


@given(st.text(max_size=50))
def test_a_hash_is_of_its_password_alone(other: str) -> None:
    assert fits(other, HASH) == (other == "s3cret")


@given(st.text(max_size=100))
def test_no_text_is_taken_for_a_hash_that_is_none(text: str) -> None:
    for wrong in (text, HASH + "x" * 60):
        with pytest.raises(ValueError, match="no hash"):
            fits("s3cret", wrong)


def test_the_command_refuses_an_empty_password() -> None:
    result = CliRunner().invoke(user, ["wms"], input="\n")
    assert result.output == "Error: the password is empty\n"


def awaited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run it on an event loop."""
    return functools.wraps(test)(lambda *given, **named: asyncio.run(test(*given, **named)))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Door:
    """A Login whose pauses are noted and not waited for."""

    def __init__(self) -> None:
        self.users: dict[str, tuple[str, ...]] = {"wms": (HASH,)}
        self.notes: list[str] = []
        self.pauses: list[float] = []
        self.time = 0.0
        self.login = Login(lambda: self.users, self.notes.append, lambda: self.time, self._pause)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def enter(self, header: str | None, address: str = "192.0.2.1") -> str:
        try:
            return await self.login.user(header, address)
        except Unknown:
            return "unknown"
        except TooMany:
            return "too many"


@awaited
async def test_a_user_is_known_and_a_stranger_is_not() -> None:
    door = Door()
    assert await door.enter(basic("wms", "s3cret")) == "wms"
    for header in (basic("wms", "S3cret"), basic("other", "s3cret"), basic("", ""), None, "x"):
        assert await door.enter(header) == "unknown"
    door.users = {"wms": (make_hash("new"),), "b": (HASH,)}
    assert await door.enter(basic("wms", "s3cret")) == "unknown"  # remembered no longer
    assert await door.enter(basic("b", "s3cret")) == "b"


@awaited
async def test_a_token_is_known_until_it_is_taken_away() -> None:
    door = Door()
    door.users = {
        "wms": (HASH, token_hash("other"), token_hash(TOKEN)),
        "b": (DECOY, token_hash("b")),
    }
    assert await door.enter(f"Bearer {TOKEN}") == "wms"
    assert await door.enter("bearer   b ") == "b"
    assert await door.enter(basic("wms", "s3cret")) == "wms"
    # A token is no password, nor is a hash a token.
    for header in (basic("wms", TOKEN), basic("", TOKEN), basic("b", "b"), basic("b", ""), TOKEN,
                   "Bearer", "Bearer ", f"Bearer {TOKEN_HASH}", f"Bearer {HASH}", "Bearer s3cret",
                   "Bearer \udcff", f"Bearer {TOKEN} x"):  # fmt: skip
        assert await door.enter(header) == "unknown"
    door.users = {"wms": (HASH,)}
    assert await door.enter(f"Bearer {TOKEN}") == "unknown"


@awaited
async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not() -> None:
    door = Door()
    door.users["b"] = (DECOY, token_hash(TOKEN))
    for number in range(FREE + 4):
        assert await door.enter(f"Bearer {number}") == "unknown"
    assert door.pauses == [0.25, 0.5, 1.0, 2.0]
    assert len(door.notes) == FREE
    assert "wrong password or token from 192.0.2.1" in door.notes[0]
    assert await door.enter(f"Bearer {TOKEN}") == "b"
    assert len(door.pauses) == 4
    # Many at once are many tries.
    found = await asyncio.gather(*(door.enter(f"Bearer x{number}") for number in range(30)))
    assert {"unknown", "too many"} == set(found)


@awaited
async def test_after_ten_each_try_is_paused_and_the_log_is_not_flooded() -> None:
    door = Door()
    for _ in range(100):
        assert await door.enter(basic("wms", "wrong")) == "unknown"
    assert len(door.pauses) == 100 - FREE
    assert door.pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert max(door.pauses) == 5.0
    assert len(door.notes) == FREE + 3  # 16, 32, 64
    assert "192.0.2.1" in door.notes[0]
    before = len(door.pauses)
    assert await door.enter(basic("wms", "wrong"), "192.0.2.2") == "unknown"
    assert len(door.pauses) == before
    door.time = 1000.0  # forgotten
    assert await door.enter(basic("wms", "wrong")) == "unknown"
    assert len(door.pauses) == before


@awaited
async def test_right_passwords_at_once_share_one_try() -> None:
    door = Door()
    found = await asyncio.gather(*(door.enter(basic("wms", "s3cret")) for _ in range(300)))
    assert found == ["wms"] * 300
    assert not door.pauses


@awaited
async def test_logging_in_does_not_buy_further_guesses() -> None:
    door = Door()
    door.users["own"] = (HASH,)
    for number in range(60):
        await door.enter(basic("wms", f"guess {number}"))
        assert await door.enter("basic" + " " * (number + 1) + basic("own", "s3cret")[6:]) == "own"
    assert len(door.pauses) >= 60 - FREE


@awaited
async def test_strangers_do_not_keep_a_user_out() -> None:
    gate = asyncio.Event()
    door = Door()

    async def wait(_: float) -> None:
        await gate.wait()

    door.login._pause = wait
    lanes = {door.login._digest(f"x{n}")[0] % 16: f"x{n}" for n in range(100)}
    lanes.pop(door.login._digest("wms")[0] % 16)
    names = list(lanes.values())
    for name in names:
        for number in range(FREE):
            await door.enter(basic(name, str(number)))
    stuck = [asyncio.create_task(door.enter(basic(name, "more"))) for name in names]
    await asyncio.sleep(0)
    assert await door.enter(basic("wms", "s3cret")) == "wms"
    gate.set()
    assert set(await asyncio.gather(*stuck)) <= {"unknown", "too many"}


@awaited
async def test_an_ipv6_client_cannot_change_its_address() -> None:
    door = Door()
    for number in range(FREE + 1):
        await door.enter(basic("wms", "wrong"), f"2001:db8::{number:x}")
    assert len(door.pauses) == 1
    await door.enter(basic("wms", "wrong"), "2001:db8:0:1::1")
    assert len(door.pauses) == 1


@awaited
async def test_strangers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialplan_sms.web.login._MOST_LANES", 50)
    monkeypatch.setattr("dialplan_sms.web.login.fits", lambda *_: False)
    door = Door()
    for number in range(200):
        await door.enter(basic("wms", f"wrong {number}"), f"192.0.2.{number}")
    assert len(door.login._lanes) <= 50
