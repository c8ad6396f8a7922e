"""Whether the PBX accepts a sender, asked as ``check`` asks: without a number, so nothing is sent.

setup runs it as a program of its own, with the program and as the user that will send.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError

CREDENTIALS, REACH = "credentials", ("name", "connection")
"""What ``check`` calls its lines."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found of *sender*; ``about`` is the line of ``check`` that says it, ``secret`` the
    key of sms.conf."""

    sender: str
    secret: str
    about: str
    state: str
    says: str
    do: str


def ask(conf: Path, name: str) -> Answer | None:
    """What the PBX says of that sender, of the default one where *name* is empty.

    None where sms.conf has none. Raises ConfigError.
    """
    # Not above: setup itself reads answers only.
    from dialplan_sms.cli.check.finding import State
    from dialplan_sms.cli.check.pbx import Pbx

    sender = smsconf.load(conf).sender(name)
    if sender is None:
        return None
    found = list(Pbx([sender]).check())
    said = next(each for each in found if each.name == CREDENTIALS)
    if said.state is State.SKIPPED:  # it was not asked: the first that is wrong says why
        said = next((each for each in found if each.state is State.WRONG), said)
    secret = "token" if sender.token else "password"
    return Answer(sender.name, secret, said.name, said.state, said.says, said.do)


def read(text: str) -> Answer | None:
    """What main() has written; None where that was no sender. Raises ValueError."""
    try:
        said = json.loads(text)
        return None if said is None else Answer(**said)
    except TypeError as error:
        raise ValueError(str(error)) from None


def sentence(answer: Answer, conf: Path, reload: str) -> tuple[str, bool]:
    """One line on *answer*, and whether SMS can go out; *reload* is what makes sms.conf valid."""
    of = answer.sender
    cure = f": {answer.do}" if answer.do else ""
    if answer.about == CREDENTIALS and answer.state == "ok":
        return f"the PBX accepts {of}", True
    if answer.about == CREDENTIALS and answer.state == "wrong":
        what = "the token" if answer.secret == "token" else "user or password"  # noqa: S105
        return (
            f"the PBX refuses {what} of [{of}]: correct {answer.secret} in {conf}{reload}",
            False,
        )
    if answer.about in REACH:
        return (
            f"warning: the PBX could not be asked whether it accepts {of}, {answer.says}{cure};"
            " then run dialplan-sms check",
            True,
        )
    if answer.state == "wrong":
        return f"no SMS of {of} can be sent, {answer.about}: {answer.says}{cure}", False
    return f"warning: {answer.says}{cure}", True


def main() -> None:
    """``python -m dialplan_sms.cli.setup.probe CONF SENDER``: the Answer, as JSON."""
    try:
        answer = ask(Path(sys.argv[1]), sys.argv[2])
    except ConfigError as error:
        sys.exit(str(error))
    print(json.dumps(answer and asdict(answer)))


if __name__ == "__main__":
    main()
