"""What is measured: the ways from the dialplan to the SMS API, as lines of extensions.conf."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.sms import api

NUMBER = "+39333123456"
MESSAGE = "Missed call at 15:00"
_BODY = "number=%2B39333123456&message=Missed+call+at+15%3A00"
_LOGIN = "101:sms101api"


@dataclass(frozen=True)
class Api:
    """The SMS API at one place: context of the dialplan and sender; its URLs without the path."""

    name: str
    http: str
    https: str


@dataclass(frozen=True)
class Way:
    """One way: how it is called, calls in a full round, and the word that a good call leaves."""

    key: str
    title: str
    calls: int
    proof: str


NOOP = Way("noop", "NoOp, an empty call", 400, "")
CURL_HTTP = Way("curlhttp", "CURL(), http", 400, "Success")
CURL_UNVERIFIED = Way("curlopen", "CURL(), https, unverified", 300, "Success")
CURL_VERIFIED = Way("curlsafe", "CURL(), https, verified", 160, "Success")
SYSTEM = Way("system", "System(curl -k)", 96, "SUCCESS")
NAIVE = Way("naive", "naive script: pyst2 + requests", 16, "SUCCESS")
ALONE = Way("alone", "sms.agi, no service", 24, "SUCCESS")
THIN = Way("thin", "sms.agi, service up", 96, "SUCCESS")
FASTAGI = Way("fastagi", "FastAGI, mode wait", 400, "SUCCESS")
FLOOR = Way("floor", "FastAGI in C, sends nothing", 400, "SUCCESS")
EMPTY = Way("empty", "FastAGI, nothing to send", 400, "INVALID_NUMBER")
HISTORY = Way("history", "FastAGI, mode wait, with outbox", 400, "SUCCESS")
QUEUE = Way("queue", "FastAGI, mode queue", 400, "QUEUED")

NETWORKED = (CURL_HTTP, CURL_UNVERIFIED, CURL_VERIFIED, FASTAGI)
PROCESSES = (SYSTEM, NAIVE, ALONE, THIN)
"""Those that start a process a call."""
WAYS = (NOOP, *NETWORKED[:3], *PROCESSES, FASTAGI, FLOOR, EMPTY, HISTORY, QUEUE)

# A call is a Local channel of its own, placed by one of C channels that each place one after
# another: CURL() keeps its handle by thread, so calls in one loop of one channel would share a
# connection, as real ones never do. FILE() gets its line format told, since it reads the file else.
_DRIVE = """\
[bench]
exten => _drive.,1,Set(API=${CUT(EXTEN,-,2)})
 same => n,Set(WAY=${CUT(EXTEN,-,3)})
 same => n,Set(LEFT=${CUT(EXTEN,-,4)})
 same => n,Set(PAUSE=${CUT(EXTEN,-,5)})
 same => n,Set(ROUND=${CUT(EXTEN,-,6)})
 same => n,Set(FILE(${OUT},,,al,u)=ready)
 same => n(wait),Wait(0.05)
 same => n,GotoIf($["${GO}" != "${ROUND}"]?wait)
 same => n(next),Set(__PLACED=${STRFTIME(,,%s%6q)})
 same => n,Dial(Local/${WAY}@${API}/n)
 same => n,Set(LEFT=$[${LEFT} - 1])
 same => n,GotoIf($["${PAUSE}" = "0"]?on)
 same => n,Wait(${PAUSE})
 same => n(on),GotoIf($[${LEFT} > 0]?next)
 same => n,Set(FILE(${OUT},,,al,u)=done)
"""
_CALL = """\
exten => {key},1,Set(SMS_NUMBER={number})
 same => n,Set(SMS_MESSAGE={message})
 same => n,Set(SMS_SENDER={sender})
 same => n,Set(BEGAN=${{STRFTIME(,,%s%6q)}})
{lines}
 same => n,Set(FILE(${{OUT}},,,al,u)=call ${{PLACED}} ${{BEGAN}} ${{STRFTIME(,,%s%6q)}} {result})
"""
_NAIVE = """#!{python}
import requests
from asterisk.agi import AGI

agi = AGI(stderr=open("/dev/null", "w"))
number = agi.get_variable("SMS_NUMBER")
message = agi.get_variable("SMS_MESSAGE")
reply = requests.post(
    "{url}", data={{"number": number, "message": message}}, auth=("101", "sms101api"),
    verify="{bundle}",
)
agi.set_variable("SMS_STATUS", reply.json()["result"].upper())
"""


def dialplan(apis: Iterable[Api], fastagi: int, storing: int, floor: int) -> str:
    """extensions.conf: extension `drive-API-WAY-CALLS-PAUSE-ROUND` of context bench drives.

    The ports are those of a service without and of one with an outbox, and of the server in C.
    It writes lines to the file ${OUT}: ready, call PLACED BEGAN ENDED RESULT (microseconds), done.
    """
    text = _DRIVE
    ports = {HISTORY: storing, QUEUE: storing, FLOOR: floor}
    for place in apis:
        text += f"[{place.name}]\n"
        for way in WAYS:
            lines, result = _lines(way, place, ports.get(way, fastagi))
            text += _CALL.format(
                key=way.key, number=NUMBER, message=MESSAGE, sender=place.name, result=result,
                lines="\n".join(f" same => n,{line}" for line in lines),
            )  # fmt: skip
    return text


def _lines(way: Way, place: Api, port: int) -> tuple[list[str], str]:
    """The lines of a way, and the expression that they leave their result in."""
    url = (place.http if way is CURL_HTTP else place.https) + api.PATH
    if way is SYSTEM:  # the vendor's line, its output not on the console
        fields = f'--data-urlencode "number={NUMBER}" --data-urlencode "message={MESSAGE}"'
        line = f'curl -s -o /dev/null -k -X POST -u {_LOGIN} --url "{url}" {fields}'
        return [f"System({line})"], "${SYSTEMSTATUS}"
    if way in (CURL_HTTP, CURL_UNVERIFIED, CURL_VERIFIED):
        verify = ["Set(CURLOPT(ssl_verifypeer)=0)"] if way is CURL_UNVERIFIED else []
        send = [f"Set(CURLOPT(userpwd)={_LOGIN})", f"Set(RESULT=${{CURL({url},{_BODY})}})"]
        return [*verify, *send], "${RESULT}"
    scripts = {NAIVE: f"AGI(naive-{place.name}.agi)", ALONE: "AGI(sms.agi)", THIN: "AGI(sms.agi)"}
    line = (scripts | {NOOP: "NoOp()"}).get(way, f"AGI(agi://127.0.0.1:{port}/sms)")
    before = {EMPTY: ["Set(SMS_NUMBER=)"], QUEUE: ["Set(SMS_MODE=queue)"]}.get(way, [])
    return [*before, line], "${SMS_STATUS} ${SMS_CAUSE}"


def write_naive(script: Path, url: str, bundle: Path) -> None:
    """Write the script that an admin would write, for the API at *url*."""
    script.write_text(_NAIVE.format(python=sys.executable, url=url + api.PATH, bundle=bundle))
    script.chmod(0o755)
