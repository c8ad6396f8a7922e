"""By which names a page is asked for that is meant for this machine alone.

A site whose name suddenly leads to this machine (DNS rebinding) has the visitor's browser ask here
under that name, in the header ``Host``.
"""

import re

from dialplan_sms.host import address


def bare(host: str) -> str:
    """The name or address of a header ``Host: host``, without port and brackets."""
    name = re.sub(":[0-9]*$", "", host.strip().lower())
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def is_loopback(host: str) -> bool:
    """Whether the header ``Host: host`` names the machine itself: localhost, 127.0.0.1 or [::1]."""
    return address.is_loopback(bare(host))
