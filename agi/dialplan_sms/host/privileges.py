"""What root does as another user: from now on, or a piece of work in a child.

Either has become that user for good: nothing brings root's rights back.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dialplan_sms.host.identity import READ, HostError, User, blocked, changer

T = TypeVar("T")


def drop_privileges(*paths: Path) -> None:
    """Become for good who can change the first of *paths* that others than root can; as root.

    If there is none, stay root. Raises HostError if several users can change it, if root cannot
    become that user, or if that user cannot read this program, of which parts are yet to be loaded.
    """
    path, user = next(((path, user) for path in paths if (user := changer(path))), (None, None))
    if user is None:
        return
    for place in (sys.prefix, sys.base_prefix, __file__):
        if bar := blocked(Path(place), READ, user):
            raise HostError(
                f"root uses no rights but those of {user} here, who can change {path}, and that"
                f" user may not enter {bar.path}, where this program is: run"
                " /opt/dialplan-sms/bin/dialplan-sms, see docs/install.md, or chmod o+x it"
            )
    _become(user)


def as_changer(path: Path, work: Callable[[], T], itself: bool = False) -> T:
    """What *work* returns or raises, done as who can put something else in the place of *path*.

    With *itself*, as who can also write to what is there. Raises HostError as changer() does, or
    if root cannot become that user.
    """
    return as_user(changer(path, itself) if os.geteuid() == 0 else None, work)


def as_user(user: User | None, work: Callable[[], T]) -> T:
    """What *work* returns or raises, done in a child that has become *user*; None for ourselves."""
    if user is None or user.uid == os.geteuid():
        return work()
    import pickle  # which drop_privileges(), for each call where Asterisk is root, does without

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # without root's rights, it has no core dump and no debugger of that user either
        try:
            try:
                _become(user)
                data = pickle.dumps((work(), None))
            except BaseException as failure:  # noqa: BLE001 - raised again by who waits
                data = pickle.dumps((None, failure))
            with open(writer, "wb") as answer:
                answer.write(data)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with open(reader, "rb") as answer:
            data = answer.read()
    finally:
        os.waitpid(child, 0)
    try:
        result, error = pickle.loads(data)  # of our own code
    except (EOFError, pickle.UnpicklingError):
        raise HostError(f"what root does as {user} was ended by a signal: run it again") from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _become(user: User) -> None:
    try:
        os.setgroups(user.gids)
        os.setresgid(user.gids[0], user.gids[0], user.gids[0])
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise HostError(
            f"root cannot become {user} here, {error.strerror}: run this as that user, or make what"
            " that user can change root's"
        ) from None
