"""``dialplan-sms setup``: the command."""

from pathlib import Path

import click
from click.core import ParameterSource

from dialplan_sms.cli.setup import answers as answering
from dialplan_sms.cli.setup import bundled, closing, plan, program, surroundings
from dialplan_sms.cli.setup.consent import HALFWAY, UNTOUCHED, confirm, interruptible
from dialplan_sms.cli.setup.host import Host
from dialplan_sms.cli.setup.include import NAME
from dialplan_sms.cli.setup.manifest import Manifest, alone
from dialplan_sms.cli.setup.options import Options, checked
from dialplan_sms.cli.setup.remove import remove as take_back
from dialplan_sms.cli.setup.steps import State, Step, Work
from dialplan_sms.cli.setup.surroundings import UNIT, Surroundings
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.terminal import plain

_FILE = click.Path(path_type=Path)
_WITH_REMOVE = {"asterisk_conf", "yes", "dry_run", "remove"}
"""The parameters that go with --remove."""


class WrongUsage(click.ClickException):
    """Options that do not go together, said in one line."""

    exit_code = 2


@click.command(short_help="Install all of it on this PBX and prove it.")
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
@click.option("--fingerprint", default="", help="Pin this certificate of the PBX: sha256:...")
@click.option("--pin", is_flag=True, help="Pin the certificate that the PBX shows now.")
@click.option("--asterisk-conf", type=_FILE, help="asterisk.conf, where setup does not find it.")
@click.option(
    "--prefix",
    type=_FILE,
    help="Where the program goes; default: where setup put it, else /opt/dialplan-sms.",
)
@click.option("--yes", is_flag=True, help="Do not ask before the changes.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option("--remove", is_flag=True, help="Take it all back; sms.conf and the outbox are kept.")
@click.pass_context
def setup(
    context: click.Context,
    url: str,
    sender: str,
    password_file: Path | None,
    token_file: Path | None,
    country: str,
    fingerprint: str,
    pin: bool,
    asterisk_conf: Path | None,
    prefix: Path | None,
    yes: bool,
    dry_run: bool,
    remove: bool,
) -> None:
    """Install on this PBX: program, sms.conf, sms.agi, dialplan and service.

    Shows what it will do and asks; needs root, but for --dry-run. What is there already stays, a
    file that was edited, too: the new one goes beside it as FILE.new.

    Exit status: 0 all is there, 1 something is not, or the PBX refuses the password, 2 wrong
    usage, 130 interrupted.
    """
    host = context.obj if isinstance(context.obj, Host) else Host()
    if remove:
        _refuse_with_remove(context)
    try:
        if not host.is_root and not dry_run:
            raise HostError("setup changes the host: run it as root, or with --dry-run")
        with interruptible(UNTOUCHED):
            if remove:
                take_back(host, asterisk_conf, yes, dry_run)
                return
            options = checked(
                Options(url, sender, password_file, token_file, country, fingerprint, pin)
            )
            _set_up(host, options, asterisk_conf, _place(host, prefix), yes, dry_run)
    except (HostError, ConfigError) as error:
        raise click.ClickException(str(error)) from None
    except BrokenPipeError:
        raise  # of who reads what is said: click ends in silence
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(
            f"{where}{error.strerror or error}: mend it and run setup again, it goes on from there"
        ) from None


def _refuse_with_remove(context: click.Context) -> None:
    """Raise WrongUsage for options that mean nothing where all is taken back."""
    wrong = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and parameter.name not in _WITH_REMOVE
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]  # fmt: skip
    if wrong:
        raise WrongUsage(f"--remove takes all back, so leave out {', '.join(wrong)}")


def _set_up(
    host: Host, options: Options, conf: Path | None, prefix: Path, yes: bool, dry_run: bool
) -> None:
    found = surroundings.look(host, conf)
    source = None
    if host.here.resolve() != prefix.resolve():
        source = program.gather(prefix)
    answers = answering.decide(found.etc / "sms.conf", options, host, dry_run, click.echo)
    steps = plan.make(
        found,
        answers,
        host.places,
        prefix,
        source,
        {name: bundled.find(name).read_bytes() for name in (NAME, UNIT)},
        _rights(found),
    )
    click.echo(f"Asterisk: {found.conf}, runs as {found.user}")
    changes = _show(steps, Work(host, Manifest(host.places.state)))
    if dry_run:
        click.echo("dry run: nothing was changed")
        return
    if changes:
        confirm(host, yes)
    with interruptible(HALFWAY):
        with alone(host.places.state):
            work = Work(host, Manifest(host.places.state))
            _do(steps, work, packaged=prefix == host.places.package)
        closing.close(found, prefix, answers.sender if answers else "", work)
    if work.failed:
        raise SystemExit(1)


def _place(host: Host, prefix: Path | None) -> Path:
    """Where the program goes, or is."""
    package = host.places.package
    if (package / "bin/sms.agi").exists():
        if host.here.resolve() != package.resolve() or prefix not in (None, package):
            raise HostError(
                f"the package has the program in {package}: run /usr/bin/dialplan-sms setup"
                " without --prefix"
            )
        return package
    earlier = Manifest(host.places.state).program(besides=package)
    place = (prefix or earlier or host.places.prefix).absolute()
    if not str(place).isprintable() or " " in str(place):
        raise HostError("--prefix: no space and no control character in it: give another folder")
    return place


def _show(steps: list[Step], work: Work) -> bool:
    """Print the plan; whether it changes anything."""
    changes = False
    for step in steps:
        state, about = step.state(work)
        if about:
            click.echo(plain(f"  {state:7} {step.target}: {about}"))
        if state not in (State.THERE, State.NOTE):
            changes = True
            work.coming.add(step.pending)
    if not changes:
        click.echo("all is there: nothing to change")
    return changes


def _do(steps: list[Step], work: Work, packaged: bool) -> None:
    for step in steps:
        state, _ = step.state(work)
        if state is not State.THERE:
            if said := step.do(work):
                click.echo(plain(said))
        elif adopt := None if packaged else getattr(step, "adopt", None):
            adopt(work)  # of an earlier installation by hand


def _rights(found: Surroundings) -> tuple[int, Ownership]:
    """Those of a new file of the dialplan: as the file beside it."""
    for name in ("extensions.conf", found.conf.name):
        path = found.etc / name
        if path.is_file() and (there := files.look(path)):
            return there.mode & 0o664, there.owner
    return 0o640, Ownership(0, found.gid)
