"""nginx as the PBX's web server: Debian's package, unpacked without root, on free ports."""

import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.sandbox.certificate import SelfSigned
from dialplan_sms.sms import api
from tests.asterisk.fetch import cache_folder
from tests.children import Child

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
_SERVERS = """\
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    upstream slow {{ server 127.0.0.1:{ports.slow}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{ports.http};
        listen 127.0.0.1:{ports.https} ssl;
        location = {path} {{ return 200 '{answer}'; }}
    }}
    server {{
        listen 127.0.0.1:{ports.stale_https} ssl;
        keepalive_timeout {keepalive:.0f}ms;
        location = {path} {{ return 200 '{answer}'; }}
    }}
    server {{
        listen 127.0.0.1:{ports.slow_http};
        listen 127.0.0.1:{ports.slow_https} ssl;
        location = {path} {{
            proxy_pass http://slow;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""
KEPT_ALIVE = 0.05  # seconds, where connections are to expire between two calls


class NginxUnavailable(Exception):
    """There is no nginx to be had; the message is one line that says what to do."""


@dataclass(frozen=True)
class Ports:
    """Where the API answers at once, where after 100 ms, and where it keeps no connection."""

    http: int
    https: int
    slow_http: int
    slow_https: int
    stale_https: int
    slow: int  # what is behind slow_http and slow_https


def server(binary: Path, folder: Path, ports: Ports, certificate: SelfSigned) -> Child:
    """nginx, to be entered; its temporary files are in *folder*."""
    (folder / "certificate.pem").write_bytes(certificate.pem)
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(certificate.key)
    servers = _SERVERS.format(
        folder=folder,
        ports=ports,
        path=api.PATH,
        answer='{"type":"result","result":"Success"}',
        keepalive=KEPT_ALIVE * 1000,
    )
    return start(binary, folder, servers, ports.https)


def start(binary: Path, folder: Path, servers: str, port: int) -> Child:
    """nginx with *servers*, to be entered; *port* is one on which they listen."""
    conf, log = folder / "nginx.conf", folder / "nginx.log"
    user = "user root;" if os.geteuid() == 0 else ""  # its workers read our folder
    conf.write_text(_CONF.format(user=user, folder=folder, servers=servers))
    command = (binary, "-p", folder, "-c", conf, "-e", log)
    return Child(command, port, folder / "nginx.told", {"PATH": os.environ["PATH"]})


def obtain() -> Path:
    """The host's nginx, else Debian's from the cache, else fetched into it. NginxUnavailable."""
    installed = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if installed:
        return Path(installed)
    tree = cache_folder() / f"nginx-{platform.machine()}-1"
    binary = tree / "usr/sbin/nginx"
    if not binary.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="nginx.part-", dir=tree.parent) as part:
            _fetch(Path(part))
            shutil.rmtree(tree, ignore_errors=True)
            os.rename(Path(part) / "root", tree)
    return binary


def _fetch(part: Path) -> None:
    """Unpack the host's own release of the package: its libraries are the host's, then."""
    try:
        _run(["apt-get", "download", "nginx"], part)
        packages = list(part.glob("nginx_*.deb"))
        _run(["dpkg-deb", "-x", str(packages[0]), "root"], part)
        # Where a library is missing, this fails.
        _run([str(part / "root/usr/sbin/nginx"), "-v"], part)
    except (OSError, IndexError, subprocess.SubprocessError):
        raise NginxUnavailable("there is no nginx: run apt install nginx-light") from None


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
