"""This machine. Here is what is wrong with it, said to its admin with the cure."""

import errno


class ConfigError(Exception):
    """A configuration that cannot be used; says file, line, key and what is allowed."""


_SHORT = {
    # Of fork(), and of a thread: what waits for a peer or a disk does not let EAGAIN out.
    errno.EAGAIN: "no process or thread can be started: raise TasksMax= of the systemd unit or"
    " ulimit -u",
    errno.EMFILE: "no file descriptor is left: raise LimitNOFILE= of the systemd unit or ulimit -n",
    errno.ENFILE: "no file descriptor is left on this host: raise fs.file-max with sysctl",
    errno.ENOMEM: "no memory is left on this host",
    errno.ENOBUFS: "no memory for network buffers is left on this host",
}


def shortage(failure: BaseException | None) -> str:
    """What *failure* says that is short here, and what to do; empty if it is of another kind."""
    if isinstance(failure, MemoryError):
        return _SHORT[errno.ENOMEM]
    if isinstance(failure, OSError):
        return _SHORT.get(failure.errno or 0, "")
    # Python has no exception of its own for a thread that pthread_create() refuses.
    is_thread = isinstance(failure, RuntimeError) and str(failure) == "can't start new thread"
    return _SHORT[errno.EAGAIN] if is_thread else ""
