"""Whether a browser asks, and for which site: any page can have its visitor's browser ask here."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

_OF_BROWSERS = ("sec-fetch-site", "origin", "upgrade-insecure-requests")
"""Headers that browsers send, and nobody else."""


def is_browser(headers: Headers) -> bool:
    """Whether it is a browser that asks.

    Old ones, and all if the name is no trustworthy one (plain HTTP), tell it by their name and
    language alone. PowerShell has such a name, and some programs a language, but none has both.
    """
    if any(name in headers for name in _OF_BROWSERS):
        return True
    named = headers.get("user-agent", "").startswith("Mozilla/")
    return named and "accept-language" in headers


def is_same_site(headers: Headers) -> bool:
    """Whether nothing says that a page of another site asks; only a form's token can prove it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None or origin == "null":  # no-referrer makes a browser say null
        return True
    try:
        # The scheme is left out: a proxy in front may speak TLS for us.
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:  # "http://["
        return False
