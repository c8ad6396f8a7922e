"""The command ``dialplan-sms user``: a line for ``[http]``, and what to paste elsewhere."""

import sys
from pathlib import Path
from shlex import quote

import click

from dialplan_sms import api
from dialplan_sms import config as smsconf
from dialplan_sms.cli import config_option
from dialplan_sms.conffile import ConfigError
from dialplan_sms.password import make_hash


@click.command()
@click.argument("name")
@config_option
def user(name: str, config: Path | None) -> None:
    """Make a user of the HTTP SMS server: prints the line for [http] in sms.conf.

    Asks for the password, or reads it from standard input; only its hash is kept. After the line
    it shows, on standard error, what to paste into a PBX or a dialplan that sends through us.
    """
    if not name.strip() or ":" in name or not name.isprintable() or name != name.strip():
        raise click.ClickException("a user name holds no colon and no control character")
    password = _password(name)
    click.echo(f"user = {name}:{make_hash(password)}")
    url = _url(config) + api.PATH
    click.echo(
        "\nPut this line into [http] of sms.conf, then run systemctl restart dialplan-sms where"
        " [http] is new, else systemctl reload dialplan-sms.\n\n"
        'A WMS sends through it with this in "Curl SMS send enabled" (Settings, System, FAX/SMS'
        " server), the password in place of PASSWORD:\n\n"
        f'curl -k -X POST -u {quote(name)}:PASSWORD --url "{url}"'
        ' --data-urlencode "number={TO_NUMBER}" --data-urlencode "message={MESSAGE}"\n\n'
        "An old dialplan keeps its CURL() lines, with this address:\n\n"
        f"Set(CURLOPT(userpwd)={name}:PASSWORD)\n"
        f"Set(message=${{CURL({url},number=%2B39333123456&message=${{URIENCODE(${{TEXT}})}})}})",
        err=True,
    )


def _password(name: str) -> str:
    if sys.stdin.isatty():
        password: str = click.prompt(
            f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.ClickException("the password is empty")
    if not password.isprintable():
        raise click.ClickException("the password holds a control character")
    return password


def _url(config: Path | None) -> str:
    """Where the server listens, as sms.conf says; a name to be replaced where it does not."""
    try:
        http = smsconf.load(smsconf.find(str(config) if config else None), http=True).http
    except ConfigError:
        http = None
    if http is None:
        return "http://127.0.0.1:4575"
    host, port = http.listen[0]
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - not bound to here
        shown = "THIS-HOST"
    return f"{'https' if http.certificate else 'http'}://{shown}:{port}"
