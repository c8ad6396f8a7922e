"""The command ``dialplan-sms user``: a line for ``[http]``, and what to paste elsewhere."""

import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote

import click

from dialplan_sms.cli.main import config_option
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.http import DECOY, Http, make_hash, token_hash
from dialplan_sms.config.parser import ConfigError, parse, read_private
from dialplan_sms.sms import api

_LONGEST = 64  # characters of a user name
_ANY = dict.fromkeys(("0.0.0.0", "::"), "THIS-HOST")  # noqa: S104 - not bound to here


@click.command(short_help="Make or list users of the HTTP SMS server.")
@click.argument("name", required=False)
@click.option(
    "--token", is_flag=True, help="Make a token (Authorization: Bearer), and ask for no password."
)
@config_option
def user(name: str | None, token: bool, config: Path) -> None:
    """Make a user of the HTTP SMS server: prints the line for [http] in sms.conf.

    Asks for the password, or reads it from standard input; only its hash is kept. After the line
    it shows, on standard error, what to paste into a PBX or a dialplan that sends through us. With
    --token it also shows there, this once, the token that it has made. A user may have a password
    and several tokens, a line each.

    Without NAME it lists who has what. To take a password or a token away, delete its line and run
    systemctl reload dialplan-sms.
    """
    if name is None:
        _list(config)
        return
    wrong = {  # what HTTP's basic authorization, or a line of sms.conf, does not carry plainly
        "is empty": not name,
        f"has {len(name)} characters": len(name) > _LONGEST,
        "holds a colon or a semicolon": set(name) & set(":;"),
        "holds white space": any(map(str.isspace, name)),
        "holds a control character": not name.isprintable(),
    }
    cure = f": take 1 to {_LONGEST} characters without white space, : and ;"
    _refuse("this user name", wrong, cure)
    secret = f"sms_{secrets.token_urlsafe(32)}" if token else _password(name)
    click.echo(f"user = {name}:{token_hash(secret) if token else make_hash(secret)}")
    url = _url(config)
    click.echo(
        "\nPut this line into [http] of sms.conf, then run systemctl restart dialplan-sms if"
        " [http] is new, else systemctl reload dialplan-sms."
        f" If page = yes is there, the page is {url.removesuffix(api.PATH)}/, for users with a"
        " password.\n\n"
        + (
            f"The token of {name}, shown this once:\n\n{secret}\n\n"
            "A program sends with it in place of TOKEN, also JSON:\n\n"
            f'curl -H "Authorization: Bearer TOKEN" --url "{url}"'
            ' --data-urlencode "number=+39333123456" --data-urlencode "message=Hello"'
            if token
            else 'A WMS sends through it with this in "Curl SMS send enabled" (Settings, System,'
            " FAX/SMS server), the password in place of PASSWORD:\n\n"
            f'curl -k -X POST -u {quote(name)}:PASSWORD --url "{url}"'
            ' --data-urlencode "number={TO_NUMBER}" --data-urlencode "message={MESSAGE}"\n\n'
            "An old dialplan keeps its CURL() lines, with this address:\n\n"
            f"Set(CURLOPT(userpwd)={name}:PASSWORD)\n"
            f"Set(message=${{CURL({url},number=%2B39333123456&message=${{URIENCODE(${{TEXT}})}})}})"
        ),
        err=True,
    )


def _list(config: Path) -> None:
    http = smsconf.load(config, http=True).http
    _refuse(str(config), {"has no user": http is None}, ": dialplan-sms user NAME makes one")
    for name, (password, *tokens) in http.users.items() if http else ():
        click.echo(
            f"{name}: "
            + ", ".join(
                ["password"] * (password != DECOY) + [f"token {it[8:16]}…" for it in tokens]
            )
        )


def _refuse(what: str, wrong: Mapping[str, object], cure: str = "") -> None:
    for why, is_wrong in wrong.items():
        if is_wrong:
            raise click.ClickException(f"{what} {why}{cure}")


def _password(name: str) -> str:
    _refuse("the password", {"comes from standard input, which is closed": sys.stdin is None})
    if sys.stdin.isatty():
        password: str = click.prompt(
            f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    wrong = {"is empty": not password, "holds a control character": not password.isprintable()}
    _refuse("the password", wrong)
    return password


def _url(config: Path) -> str:
    """The address of the API: as [http] says, which need not have a user yet."""
    found, (host, port) = {}, Http({}).listen[0]
    with suppress(ConfigError, values.Bad, KeyError):  # serve and check say what is wrong with it
        found = parse(read_private(config, "sms.conf"), config)[smsconf.HTTP].values
        host, port = values.listen(found["listen"].text, found["listen"].place)[0]
    shown = _ANY.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if 'certificate' in found else 'http'}://{shown}:{port}{api.PATH}"
