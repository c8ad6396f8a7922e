"""``dialplan-sms setup``: the command."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from dialplan_sms.cli.check.dialplan import CONTEXT, Files
from dialplan_sms.cli.check.service import fastagi
from dialplan_sms.cli.main import Misused
from dialplan_sms.cli.setup import plan
from dialplan_sms.cli.setup.answers import checked, decide
from dialplan_sms.cli.setup.host import AsteriskHost, Host, find, refuse
from dialplan_sms.cli.setup.steps import Action, Manifest, Step, StepState, Work, forget_all, lock
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.terminal import plain

_FILE = click.Path(path_type=Path)
_UNTOUCHED = "nothing was changed"
# The lines that send a first SMS from the dialplan, as the front page has them.
TRIAL = """\
[sms-test]
exten => 701,1,Answer()
 same => n,Set(TEXT=Hello from the dialplan, it works :) 100%)
 same => n,Gosub(sub-sms,s,1(+39333123456,TEXT))
 same => n,NoOp(${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON})
 same => n,Hangup()
"""
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
    is_flag=True,
    help="Take it all back; sms.conf, the outbox and the program are kept.",
)
def setup(asterisk_conf: Path | None, yes: bool, dry_run: bool, remove: bool, **given: Any) -> None:
    """Configure this PBX: sms.conf, sms.agi, dialplan and service.

    Shows what it will do and asks; needs root, but for --dry-run. What is there already stays, a
    file that was edited, too: the new one goes beside it as FILE.new.

    Exit status: 0 all is there, 1 something is not, or the PBX refuses the password, 2 wrong
    usage, 130 interrupted.
    """
    context = click.get_current_context()
    host = context.obj if isinstance(context.obj, Host) else Host()
    on_command_line = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in given
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    ]
    if remove and on_command_line:
        raise Misused(f"--remove takes all back, so leave out {', '.join(on_command_line)}")
    if given["password_file"] and given["token_file"]:
        raise Misused("--password-file and --token-file do not go together: give one")
    try:
        as_root = "setup changes the host: run it as root, or with --dry-run"
        refuse(not host.is_root and not dry_run, as_root)
        with _interruptible(_UNTOUCHED):
            if remove:
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


def _set_up(
    host: Host, given: Mapping[str, Any], conf: Path | None, yes: bool, dry_run: bool
) -> None:
    found = find(host, conf)
    plan.refuse_program(host, found)
    answers = decide(found.etc / "sms.conf", given, host, dry_run)
    click.echo(f"Asterisk: {found.conf}, runs as {found.user.name}")

    def steps(work: Work) -> Iterator[Step]:
        yield from plan.steps(work, found, answers)
        yield _last_words(work, found, answers.sender if answers else "")

    work = _carry_out(host, steps, "all is there: nothing to change", yes, dry_run)
    if work.failed:
        raise SystemExit(1)


def _remove(host: Host, conf: Path | None, yes: bool, dry_run: bool) -> None:
    found, state = None, host.places.state
    try:
        found = find(host, conf)
    except HostError as error:
        if conf is not None:
            raise
        click.echo(f"note: {error}")
    if not (state / "setup.json").exists():
        if not dry_run:
            forget_all(state)
        click.echo("nothing of setup is here")
        return
    _carry_out(
        host, partial(plan.steps_back, found=found), "nothing of setup is left here", yes, dry_run
    )
    for line in plan.kept(found, host):
        click.echo(plain(line))


def _carry_out(
    host: Host, steps: Callable[[Work], Iterable[Step]], nothing: str, yes: bool, dry_run: bool
) -> Work:
    """Show what *steps* would do, or say *nothing*; ask, and do it. Raises HostError if not to."""
    work, changes = Work(host, Manifest(host.places.state)), False
    for action in map(work.look, steps(work)):
        if action.state is not None:
            said = filter(None, (f"  {action.state:7} {action.target}", action.about))
            click.echo(plain(": ".join(said)))
            changes |= action.state not in (StepState.THERE, StepState.NOTE)
    if not changes:
        click.echo(nothing)
    if dry_run:
        click.echo("dry run: nothing was changed")
        return work
    if changes and not yes:
        refuse(not host.interactive, f"{_UNTOUCHED}: give --yes to do this without being asked")
        refuse(not click.confirm("Do this?", default=True), _UNTOUCHED)
    with _interruptible("interrupted: run it again, it goes on from here"), lock(host.places.state):
        work = Work(host, Manifest(host.places.state), lambda said: click.echo(plain(said)))
        for step in steps(work):
            work.do(step)
        if not work.manifest.entries:
            forget_all(host.places.state)
    return work


@contextmanager
def _interruptible(says: str) -> Iterator[None]:
    """If Ctrl-C ends what is within, *says* what that means."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"\n{says}", err=True)
        raise SystemExit(130) from None  # 128 and SIGINT


def _last_words(work: Work, found: AsteriskHost, sender: str) -> Step:
    """Where the commands find sms.conf; how to send a first SMS, unless something has failed."""
    yield Action("", None)
    prefix, command, console = work.host.prefix, "dialplan-sms send", "asterisk -rx"
    if found.etc != _USUAL:
        words = [f"{prefix}/bin/dialplan-sms", "send", "--config", f"{found.etc}/sms.conf"]
        command, console = shlex.join(words), shlex.join(found.console) or console
        click.echo(
            f"Every command looks in {_USUAL}: run export"
            f" AST_CONFIG_DIR={shlex.quote(str(found.etc))} first (and put it into /root/.profile)"
        )
    if work.failed:
        return
    config, lines, doc = smsconf.load(found.etc / "sms.conf"), TRIAL, prefix / "share/doc"
    _say_faster(found, config)
    if sender and sender != config.default_sender:
        command += f" --sender {shlex.quote(sender)}"
        lines = TRIAL.replace("()\n", f"()\n same => n,Set(SMS_SENDER={sender})\n", 1)
    click.echo(
        "Limits keep the bill small, if callers choose the numbers:"
        f" {doc}/dialplan-sms/docs/limits.md\n\n"
        "Send a first SMS, to a number of your own:\n"
        f'  echo "Hello from the PBX" | {command} +39333123456\n\n'
        f"From the dialplan: add this at the end of {found.dialplan}"
        f" (more examples: {doc}/dialplan-sms/docs/cookbook.md)\n\n{lines}\n"
        "and try it:\n"
        f"  {console} 'dialplan reload'\n"
        f"  {console} 'channel originate Local/701@sms-test application Wait 5'"
    )


def _say_faster(found: AsteriskHost, config: smsconf.Config) -> None:
    """Say what FastAGI saves, if the dialplan sends by the script and the service would answer."""
    dialplan = Files(found.etc).plan
    by_url = any("agi://" in value for value in dialplan.variables["SMS_AGI"])
    script = re.compile(r"\bsms\.agi\b" if by_url else rf"\bsms\.agi\b|\b{CONTEXT}\b")
    if not any(script.search(step.plain) for step in dialplan.steps if step.context != CONTEXT):
        return
    for host, port in config.listen:
        if host == "127.0.0.1" and fastagi(host, port) is None:
            url = f"agi://{host}{f':{port}' if port != 4573 else ''}/sms"
            click.echo(
                f"Optional, for a busy PBX: {url} takes about a tenth of the CPU time of sms.agi:"
                f" put SMS_AGI = {url} into [globals] for {CONTEXT}, and write AGI({url},...)"
                " in place of AGI(sms.agi,...)"
            )
