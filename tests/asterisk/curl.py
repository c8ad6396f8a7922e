"""curl, and a stand-in for hosts without it that sends the same bytes for the same arguments."""

import argparse
import shutil
import socket
import ssl
import subprocess
from base64 import b64encode
from http.client import HTTPResponse
from urllib.parse import quote_plus, urlsplit

_OPTIONS = argparse.ArgumentParser()
_OPTIONS.add_argument("address", nargs="?")
_OPTIONS.add_argument("--url")
_OPTIONS.add_argument("-s", "--silent", action="store_true")
_OPTIONS.add_argument("-k", "--insecure", action="store_true")
_OPTIONS.add_argument("-G", "--get", action="store_true")
_OPTIONS.add_argument("-X", "--request")
_OPTIONS.add_argument("-u", "--user", required=True)
_OPTIONS.add_argument("--cacert")
_OPTIONS.add_argument("--data-urlencode", action="append", required=True)


def real(*arguments: str) -> bytes:
    """What curl prints."""
    program = shutil.which("curl")
    assert program, "there is no curl: run apt install curl"
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, check=True, timeout=30)
    return done.stdout


def stand_in(*arguments: str) -> bytes:
    """What it would print, where it is given no other options than these tests need."""
    given = _OPTIONS.parse_intermixed_args(arguments)
    where = urlsplit(given.url or given.address)
    pairs = (pair.partition("=") for pair in given.data_urlencode)
    data = "&".join(f"{name}={quote_plus(value)}" for name, _, value in pairs)
    target = f"{where.path}?{data}" if given.get else where.path
    head = [
        f"{given.request or ('GET' if given.get else 'POST')} {target} HTTP/1.1",
        f"Host: {where.netloc}",
        f"Authorization: Basic {b64encode(given.user.encode()).decode()}",
        "User-Agent: curl/7.88.1",
        "Accept: */*",
    ]
    if not given.get:
        head += [f"Content-Length: {len(data)}", "Content-Type: application/x-www-form-urlencoded"]
    request = "\r\n".join([*head, "", "" if given.get else data]).encode()
    connection = socket.create_connection((where.hostname, where.port), timeout=30)
    if where.scheme == "https":
        context = ssl.create_default_context(cafile=given.cacert)
        if given.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection, server_hostname=where.hostname)
    with connection, HTTPResponse(connection) as response:
        connection.sendall(request)
        response.begin()
        return response.read()
