"""The sender's password or token: where it comes from, and what sms.conf can hold."""

import sys
from pathlib import Path

from dialplan_sms.cli.setup.host import PASSWORD, TOKEN, Host
from dialplan_sms.cli.setup.options import Options
from dialplan_sms.host.identity import HostError


def given(options: Options, host: Host) -> tuple[str, str]:
    """Kind and secret from a file or the environment; an empty secret where there is none.

    To be called once: what is no file, as ``-``, gives it once only. Raises HostError.
    """
    if options.token_file:
        return "token", _first_line(options.token_file, "--token-file")
    if options.password_file:
        return "password", _first_line(options.password_file, "--password-file")
    password, token = host.environ.get(PASSWORD), host.environ.get(TOKEN)
    if password and token:
        raise HostError(f"{PASSWORD} and {TOKEN} do not go together: unset one")
    if secret := password or token or "":
        check(secret)
    return "token" if token else "password", secret


def check(secret: str) -> None:
    """Raise HostError for one that sms.conf cannot hold."""
    if not secret or not secret.isprintable() or secret != secret.strip():
        raise HostError(
            "the password is empty, or has a control character or a space at its ends, which"
            " sms.conf cannot hold: write password_file into sms.conf by hand"
        )


def _first_line(path: Path, option: str) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.readline(65536) if sys.stdin else b""
        else:
            with path.open("rb") as file:
                data = file.readline(65536)
        secret = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise HostError(f"{option}: {path} is not UTF-8") from None
    except OSError as error:
        raise HostError(f"{option}: {path} cannot be read, {error.strerror}") from None
    if not secret:
        raise HostError(f"{option}: the first line of {path} is empty")
    check(secret)
    return secret
