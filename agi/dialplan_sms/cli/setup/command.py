"""``dialplan-sms setup``: the command."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dialplan_sms.cli.check.dialplan import CONTEXT, Files
from dialplan_sms.cli.check.service import fastagi
from dialplan_sms.cli.main import Misused
from dialplan_sms.cli.setup import pbx, plan, remove
from dialplan_sms.cli.setup.answers import checked, decide
from dialplan_sms.cli.setup.host import AsteriskHost, Host, find, refuse
from dialplan_sms.cli.setup.steps import Action, Manifest, StepState, Work, lock
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.terminal import plain

_FILE = click.Path(path_type=Path)
_WITH_REMOVE = {"asterisk_conf", "yes", "dry_run", "remove_all"}
"""The parameters that go with --remove."""
_UNTOUCHED = "nothing was changed"
_HALFWAY = "interrupted: run it again, it goes on from here"
TRIAL = """\
[sms-test]
exten => 701,1,Answer()
 same => n,Set(TEXT=Hello from the dialplan, it works :) 100%)
 same => n,Gosub(sub-sms,s,1(+39333123456,TEXT))
 same => n,NoOp(${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON})
 same => n,Hangup()
"""
"""The lines that send a first SMS from the dialplan, as the front page has them."""
_USUAL = Path("/etc/asterisk")


@click.command(short_help="Configure all of it on this PBX and prove it.")
@click.option("--url", default="", help="Address of the PBX, as https://pbx.example.com.")
@click.option("--sender", default="", help="PBX user who sends, as 101.")
@click.option(
    "--password-file",
    type=_FILE,
    help="File whose first line is the password, - for standard input; else"
    " $DIALPLAN_SMS_PASSWORD, else setup asks.",
)
@click.option(
    "--token-file", type=_FILE, help="The same for an API key (Bearer); or $DIALPLAN_SMS_TOKEN."
)
@click.option("--country", default="", help="National numbers are this country's, as IT.")
@click.option("--gsm", default="", help="GSM gateway of its SMS, as 9c7514330001.")
@click.option("--fingerprint", default="", help="Pin this certificate of the PBX: sha256:...")
@click.option("--pin", is_flag=True, help="Pin the certificate that the PBX shows now.")
@click.option("--asterisk-conf", type=_FILE, help="asterisk.conf, if setup does not find it.")
@click.option("--yes", is_flag=True, help="Do not ask before the changes.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option(
    "--remove",
    "remove_all",
    is_flag=True,
    help="Take it all back; sms.conf, the outbox and the program are kept.",
)
@click.pass_context
def setup(
    context: click.Context,
    /,
    asterisk_conf: Path | None,
    yes: bool,
    dry_run: bool,
    remove_all: bool,
    **given: Any,
) -> None:
    """Configure this PBX: sms.conf, sms.agi, dialplan and service.

    Shows what it will do and asks; needs root, but for --dry-run. What is there already stays, a
    file that was edited, too: the new one goes beside it as FILE.new.

    Exit status: 0 all is there, 1 something is not, or the PBX refuses the password, 2 wrong
    usage, 130 interrupted.
    """
    host = context.obj if isinstance(context.obj, Host) else Host()
    if remove_all:
        _refuse_with_remove(context)
    if given["password_file"] and given["token_file"]:
        raise Misused("--password-file and --token-file do not go together: give one")
    try:
        refuse(
            not host.is_root and not dry_run,
            "setup changes the host: run it as root, or with --dry-run",
        )
        with _interruptible(_UNTOUCHED):
            if remove_all:
                _remove(host, asterisk_conf, yes, dry_run)
            else:
                for name in ("url", "sender", "country", "gsm", "fingerprint"):
                    given[name] = given[name] and checked(f"--{name}", given[name])
                _set_up(host, given, asterisk_conf, yes, dry_run)
    except (HostError, ConfigError, click.UsageError) as error:
        raise click.ClickException(str(error)) from None
    except BrokenPipeError:
        raise  # of who reads what is said: click ends in silence
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(
            f"{where}{error.strerror or error}: mend it and run setup again, it goes on from there"
        ) from None


def _refuse_with_remove(context: click.Context) -> None:
    """Raise Misused for options that mean nothing if all is taken back."""
    wrong = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and parameter.name not in _WITH_REMOVE
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]  # fmt: skip
    if wrong:
        raise Misused(f"--remove takes all back, so leave out {', '.join(wrong)}")


def _set_up(
    host: Host, given: Mapping[str, Any], conf: Path | None, yes: bool, dry_run: bool
) -> None:
    found = find(host, conf)
    plan.refuse_program(host, found)
    answers = decide(found.etc / "sms.conf", given, host, dry_run)
    click.echo(f"Asterisk: {found.conf}, runs as {found.user.name}")
    steps = partial(plan.steps, found=found, answers=answers)
    work = _carry_out(host, steps, "all is there: nothing to change", yes, dry_run)
    if work is None:
        return
    with _interruptible(_HALFWAY):
        sender = answers.sender if answers else ""
        pbx.prove(found, sender, work)
        for line in _last_words(found, host.prefix, sender, work.failed):
            click.echo(line)
    if work.failed:
        raise SystemExit(1)


def _remove(host: Host, conf: Path | None, yes: bool, dry_run: bool) -> None:
    """Take back all that the manifest records. Raises HostError."""
    found, state = None, host.places.state
    try:
        found = find(host, conf)
    except HostError as error:
        if conf is not None:
            raise
        click.echo(f"note: {error}")
    if not (state / "setup.json").exists():
        if not dry_run:
            remove.forget_all(state)
        click.echo("nothing of setup is here")
        return
    steps = partial(remove.steps, found=found)
    _carry_out(host, steps, "nothing of setup is left here", yes, dry_run)
    for line in remove.kept(found, host):
        click.echo(plain(line))


def _carry_out(
    host: Host, steps: Callable[[Work], Iterable[Action]], nothing: str, yes: bool, dry_run: bool
) -> Work | None:
    """Show what *steps* would do, *nothing* if that changes nothing; ask, and do it.

    None if it is a dry run. Raises HostError if the answer is no.
    """
    work, changes = Work(host, Manifest(host.places.state)), False
    for action in steps(work):
        if action.state is not None:
            about = f": {action.about}" if action.about else ""
            click.echo(plain(f"  {action.state:7} {action.target}{about}"))
        changes |= action.state not in (None, StepState.THERE, StepState.NOTE)
        work.manifest.pending.add(action.pending)  # not stored: the next steps are to know
    if not changes:
        click.echo(nothing)
    if dry_run:
        click.echo("dry run: nothing was changed")
        return None
    if changes and not yes:
        refuse(not host.interactive, f"{_UNTOUCHED}: give --yes to do this without being asked")
        refuse(not click.confirm("Do this?", default=True), _UNTOUCHED)
    with _interruptible(_HALFWAY), lock(host.places.state):
        work = Work(host, Manifest(host.places.state))
        for action in steps(work):
            if said := work.do(action):
                click.echo(plain(said))
    return work


@contextmanager
def _interruptible(says: str) -> Iterator[None]:
    """If Ctrl-C ends what is within, *says* what that means."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"\n{says}", err=True)
        raise SystemExit(130) from None  # 128 and SIGINT


def _last_words(found: AsteriskHost, prefix: Path, sender: str, failed: bool) -> Iterator[str]:
    """Where the commands find sms.conf; how to send a first SMS, unless something has *failed*.

    By *sender*, if that is not the default.
    """
    command, console = "dialplan-sms send", "asterisk -rx"
    if found.etc != _USUAL:
        words = [f"{prefix}/bin/dialplan-sms", "send", "--config", f"{found.etc}/sms.conf"]
        command = shlex.join(words)
        console = shlex.join(found.console) or console
        yield (
            f"Every command looks in {_USUAL}: run export"
            f" AST_CONFIG_DIR={shlex.quote(str(found.etc))} first (and put it into /root/.profile)"
        )
    if failed:
        return
    yield from _faster(found)
    lines = TRIAL
    if sender and sender != smsconf.load(found.etc / "sms.conf").default_sender:
        command += f" --sender {shlex.quote(sender)}"
        choose = f"Answer()\n same => n,Set(SMS_SENDER={sender})\n"
        lines = TRIAL.replace("Answer()\n", choose)
    doc = prefix / "share/doc/dialplan-sms"
    yield (
        f"Limits keep the bill small, if callers choose the numbers: {doc}/docs/limits.md\n\n"
        "Send a first SMS, to a number of your own:\n"
        f'  echo "Hello from the PBX" | {command} +39333123456\n\n'
        f"From the dialplan: add this at the end of {found.dialplan}"
        f" (more examples: {doc}/docs/cookbook.md)\n\n{lines}\n"
        "and try it:\n"
        f"  {console} 'dialplan reload'\n"
        f"  {console} 'channel originate Local/701@sms-test application Wait 5'"
    )


def _faster(found: AsteriskHost) -> Iterator[str]:
    """What FastAGI saves, if the dialplan sends by the script and the service would answer."""
    dialplan = Files(found.etc).plan
    by_url = any("agi://" in value for value in dialplan.variables["SMS_AGI"])
    script = re.compile(r"\bsms\.agi\b" if by_url else rf"\bsms\.agi\b|\b{CONTEXT}\b")
    if not any(script.search(step.plain) for step in dialplan.steps if step.context != CONTEXT):
        return
    for host, port in smsconf.load(found.etc / "sms.conf").listen:
        if host == "127.0.0.1" and fastagi(host, port) is None:
            url = f"agi://{host}{f':{port}' if port != 4573 else ''}/sms"
            yield (
                f"Optional, for a busy PBX: {url} takes about a tenth of the CPU time of sms.agi:"
                f" put SMS_AGI = {url} into [globals] for {CONTEXT}, and write AGI({url},...)"
                " in place of AGI(sms.agi,...)"
            )
