"""A fresh Debian that has booted: its first process is systemd, in a control group of its own."""

import subprocess
import time

from tests.packaging.root import Root

_GROUP = "dialplan-sms-test"
_IN_GROUP = (
    "sh", "-ec",
    'at=$(mktemp -d); mount -t cgroup2 cgroup2 "$at"; group="$at/$0-$$"; mkdir "$group";'
    ' echo $$ >"$group/cgroup.procs"; umount "$at"; rmdir "$at"; exec "$@"',
    _GROUP,
)  # fmt: skip
_BOOT = """
cd "$0"
mount --bind . .
cd "$0"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for each in run dev; do mount -t tmpfs -o mode=755 tmpfs $each; done
mkdir dev/pts dev/shm run/lock
for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
echo ready
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  chroot . /lib/systemd/systemd --log-target=null --show-status=0 >/dev/null 2>&1
"""


class Booted(Root):
    """A system whose systemd is up, until it is closed."""

    BEFORE = ("unshare", "--mount", *_IN_GROUP)
    BEGIN = _BOOT

    def __init__(self, system: str) -> None:
        super().__init__(system)
        deadline = time.monotonic() + 60
        while self.state() not in ("running", "degraded"):
            if time.monotonic() > deadline:
                said = self.try_run("systemctl", "list-jobs", "--no-pager")
                self.close()
                raise AssertionError(f"systemd is not up: {said.stdout}{said.stderr}")
            time.sleep(0.1)

    def state(self) -> str:
        """What systemd says of itself."""
        return self.try_run("systemctl", "is-system-running").stdout.strip()

    def close(self) -> None:
        """End it, and remove its control groups."""
        group = f"{_GROUP}-{self._init.pid}"
        super().close()
        script = (
            'at=$(mktemp -d); mount -t cgroup2 cgroup2 "$at";'
            ' find "$at/$0" -depth -type d -exec rmdir {} +; umount "$at"; rmdir "$at"'
        )
        subprocess.run(["unshare", "--mount", "sh", "-c", script, group], check=False)
