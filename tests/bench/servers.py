"""The servers of a benchmark beside ours: nginx as the PBX's, what it waits for, and one in C."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dialplan_sms.agi.call import call
from dialplan_sms.sandbox.certificate import SelfSigned
from dialplan_sms.sms import api
from tests.bench.ways import MESSAGE, NUMBER
from tests.children import Child
from tests.tools import Tools
from tests.unit.fakes import FakeAsterisk, FakeRoute, service

ANSWER = json.dumps(api.result())
PORTS = ("http", "https", "slow_http", "slow_https", "stale_https", "slow")
"""Where the API answers at once, where after 100 ms, where it keeps no connection, what is slow."""
_HERE = Path(__file__).parent
_CONF = """\
{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    {servers}
}}
"""
_PBX = """\
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream slow {{ server 127.0.0.1:{slow}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{https} ssl;
        location = {path} {{ return 200 '{answer}'; }}
    }}
    server {{
        listen 127.0.0.1:{stale_https} ssl;
        keepalive_timeout 50ms;
        location = {path} {{ return 200 '{answer}'; }}
    }}
    server {{
        listen 127.0.0.1:{slow_http};
        listen 127.0.0.1:{slow_https} ssl;
        location = {path} {{
            proxy_pass http://slow;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


def pbx(tools: Tools, folder: Path, ports: Mapping[str, int], certificate: SelfSigned) -> Child:
    """The SMS API at *ports*, by name."""
    (folder / "certificate.pem").write_bytes(certificate.pem)
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(certificate.key)
    servers = _PBX.format(folder=folder, path=api.PATH, answer=ANSWER, **ports)
    return nginx(tools, folder, servers, ports["https"])


def nginx(tools: Tools, folder: Path, servers: str, port: int) -> Child:
    """nginx with *servers*, which listen on *port*, too; its temporary files are in *folder*."""
    conf = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # its workers read our folder
    conf.write_text(_CONF.format(user=user, folder=folder, servers=servers))
    options = ("-p", str(folder), "-c", str(conf), "-e", f"{folder}/nginx.log")
    command = [*tools.command("usr/sbin/nginx"), *options]
    return Child(command, port, folder / "nginx.told", {})


def slow(folder: Path, port: int) -> Child:
    """What nginx waits for at its slow ports."""
    command = (sys.executable, "-IS", _HERE / "slow.py", str(port))
    return Child(command, port, folder / "slow.told", {})


def floor(folder: Path, port: int) -> Child:
    """What FastAGI costs at least: our dialogue of mode wait by a server in C that sends nothing.

    Raises OSError or CalledProcessError where there is no C compiler.
    """
    program = folder / "floor"
    command = ("cc", "-O2", "-pthread", "-o", program, _HERE / "floor.c")
    subprocess.run(command, check=True, capture_output=True)
    asterisk = FakeAsterisk({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": MESSAGE})
    channel = asterisk.channel
    channel.sets_together = True  # as of an Asterisk that is known to
    call(channel, service(FakeRoute()))
    said = [f"{line.decode()}\n" for line in asterisk.commands]
    return Child((program, str(port), *said), port, folder / "floor.told", {})
