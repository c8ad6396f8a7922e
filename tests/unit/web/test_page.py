import html
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from dialplan_sms.config.http import make_hash
from dialplan_sms.outbox.database import OutboxError
from dialplan_sms.outbox.history import search
from dialplan_sms.outbox.schema import State, attempt
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sandbox.faults import Fault
from dialplan_sms.sms.outcome import Outcome, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.web import board
from dialplan_sms.web.board import ROWS, Board, Query
from dialplan_sms.web.login import Login
from dialplan_sms.web.page import COOKIE, LASTS, MOST
from dialplan_sms.web.view import HEADERS, STATES, visible
from tests.unit import paged
from tests.unit.paged import GATEWAY, MILAN, REJECTED, ROME, TURIN, Playground, end, routes, store
from tests.unit.stored import SENDER, locked
from tests.waiting import until

SENT = Outcome(Status.SUCCESS)


@dataclass
class Site:
    """The page over an outbox, as a browser sees it."""

    outbox: Outbox
    board: Board
    playground: Playground = field(default_factory=Playground)
    user: str = ""
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.open(self.playground)

    def open(self, playground: Playground | None) -> TestClient:
        here = playground.routes(self.board) if playground else routes(self.board)
        app = Starlette(routes=here)

        async def logged_in(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "user": self.user}, receive, send)

        return TestClient(logged_in, follow_redirects=False)

    def get(self, path: str = "/", **headers: str) -> httpx2.Response:
        return self.client.get(path, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def ids(self, path: str = "/") -> list[int]:
        return [int(id_) for id_ in re.findall(r'<tr role="row" id="m(\d+)"', self.get(path).text)]

    def older(self, path: str, words: str = "") -> str:
        """Where the link leads to what comes below; empty if there is none with these *words*."""
        found = re.search(rf'id="l-older"[^>]* href="([^"]+)"{words}', self.get(path).text)
        return html.unescape(found[1]) if found else ""

    @property
    def token(self) -> str:
        return token(self.get("/"))

    def post(
        self, path: str, headers: dict[str, str] | None = None, **fields: str
    ) -> httpx2.Response:
        return self.client.post(path, data={"token": self.token, **fields}, headers=headers)


def token(response: httpx2.Response) -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', response.text)
    assert found
    return found[1]


@pytest.fixture
def site(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # A busy machine must not cut a search short; tests of the budgets set their own.
    for budget in ("_SEARCH", "_COUNT"):
        monkeypatch.setattr(board, budget, 10.0)
    it = Site(outbox, Board(outbox))
    yield it
    it.board.close()


# What is shown.


def test_the_list_shows_what_an_admin_asks_for_newest_first(site: Site) -> None:
    gone, sent = store(site.outbox), store(site.outbox, "Door open", ROME)
    end(site.outbox, gone, SENT)
    end(site.outbox, sent, SENT, keep_text=True)
    many = store(site.outbox, "Fire drill", MILAN, TURIN, sender="alarms", gsm="")
    assert site.ids() == [many, sent, gone]
    seen = site.get().text
    words = "Door open", ROME, GATEWAY, "alarms", "and 1 more", "Fire drill", "text not kept"
    assert [each for each in words if each not in seen] == []
    assert re.search(r'<time datetime="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"', seen)
    assert "text not kept" in site.get(f"/message/{gone}").text


def test_an_outbox_in_which_nothing_was_ever_stored_is_empty(site: Site) -> None:
    seen = site.get()
    assert (seen.status_code, "No SMS yet." in seen.text) == (200, True)


def test_the_list_is_filtered_by_state_sender_and_number(site: Site) -> None:
    rome = store(site.outbox, "a", ROME)
    milan = store(site.outbox, "b", MILAN, ROME, sender="alarms")
    failed = store(site.outbox, "c", TURIN)
    end(site.outbox, failed, REJECTED)
    assert site.ids("/?state=failed") == [failed]
    assert site.ids("/?sender=alarms") == [milan]
    assert site.ids("/?state=failed&sender=alarms") == []
    whole, spaced, part = quote(ROME), quote("+39 06 1234-5601"), ROME[-4:]
    for typed in (whole, spaced, quote(ROME[1:]), quote("00" + ROME[1:]), part):
        assert site.ids(f"/?number={typed}") == [milan, rome], typed
    assert site.ids(f"/?number={whole}&sender=101") == [rome]
    assert site.ids(f"/?number={part}&state=failed") == []
    assert "No SMS matches." in site.get("/?sender=nobody").text


@pytest.mark.parametrize(
    "path", ["/?", "/?state=pending", "/?sender=101", f"/?number={quote(ROME)}", "/?number=0612"]
)
def test_paging_shows_every_sms_once(site: Site, path: str) -> None:
    ids = {store(site.outbox, f"SMS {each}") for each in range(ROWS + 7)}
    found = site.ids(path)
    assert len(found) == ROWS
    assert found + site.ids(site.older(path)) == sorted(ids, reverse=True)


def test_a_search_goes_on_behind_what_one_look_sees(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in range(12):
        to, sender = MILAN if each in (1, 6) else ROME, "102" if each < 9 else "101"
        store(site.outbox, "x", to, sender=sender)
    wanted = [7, 2]
    monkeypatch.setattr(search, "SPAN", 2)
    for also in ("", "&state=pending", "&sender=102"):
        assert site.ids(f"/?number=2345602{also}") == wanted, also
    monkeypatch.setattr(board, "_SEARCH", 0.0)  # one look a page
    path, found, pages = "/?number=2345602&state=pending", list[int](), 0
    while path:
        found += site.ids(path)
        path, pages = site.older(path, ">Search further back"), pages + 1
    assert found == wanted
    assert pages > 4


def test_hours_are_those_in_which_it_was_sent(site: Site) -> None:
    this = datetime.now().replace(minute=0, second=0, microsecond=0).timestamp()
    tries = ((30, SENT), (5.5, SENT), (1.7, REJECTED), (1.6, SENT), (1.5, SENT), (0.2, SENT))
    for age, outcome in tries:
        id_ = store(site.outbox)
        end(site.outbox, id_, outcome)
        at = attempt.update().where(attempt.c.message_id == id_).values(at=this - age * 3600)
        site.outbox.writer.do(lambda c: c.execute(at) and None, 5.0)  # noqa: B023
    hours = site.board.figures().hours
    ago = {round((this - hour.since) / 3600): hour.sent for hour in hours}
    assert {hour: sent for hour, sent in ago.items() if sent} == {1: 1, 2: 2, 6: 1}


def test_the_story_tells_all(site: Site) -> None:
    id_ = store(site.outbox, "Hello\nworld", ROME, MILAN)
    end(site.outbox, id_, REJECTED)
    story = site.get(f"/message/{id_}").text
    for words in ("Hello\nworld", ROME, MILAN, "REJECTED", "No credit on the SIM", "1700000000.7",
                  "200", GATEWAY, STATES[State.FAILED]):  # fmt: skip
        assert str(words) in html.unescape(story), words


def test_what_was_sent_at_once_is_in_the_list(site: Site) -> None:
    site.outbox.record(Sms((ROME,), "Hello", GATEWAY, call="17.1"), SENDER, SENT)
    until(lambda: len(site.ids()) == 1)
    assert "5 characters</span>" in site.get("/message/1").text
    site.outbox.record(Sms((ROME,), "It's", parts=1, parts_from=3), SENDER, SENT)
    until(lambda: len(site.ids()) == 2)
    assert "4 characters, parts 1, as given 3</span>" in site.get("/message/2").text


@pytest.mark.parametrize(("sandbox", "who"), [(False, "PBX"), (True, "gateway")])
def test_what_found_the_pbx_out_of_reach_is_told_as_not_sent(
    site: Site, sandbox: bool, who: str
) -> None:
    client = site.client if sandbox else site.open(None)
    end(site.outbox, store(site.outbox), paged.UNREACHABLE)
    site.outbox.record(Sms((ROME,), "Hello", GATEWAY, call="17.1"), SENDER, paged.UNREACHABLE)
    until(lambda: len(site.ids()) == 2)
    for id_, meaning in ((1, STATES[State.EXPIRED]), (2, "not sent")):
        story = client.get(f"/message/{id_}").text
        head, tries = story.split('id="s-tries"')
        assert f"<span>{meaning}: the {who} was out of reach <" in head
        assert f"<b>not sent: the {who} was out of reach</b>" in tries
        assert "the PBX does not answer" in tries


def test_figures_count_what_was_sent_and_why_not(site: Site) -> None:
    for outcome in (SENT, SENT, REJECTED, paged.UNREACHABLE, paged.UNREACHABLE):
        end(site.outbox, store(site.outbox), outcome)
    seen = site.get().text
    assert "Sent an hour, last 24 hours: 2 in all" in seen
    causes = re.findall(r'<th scope="row">(\w+)</th><td class="right">(\d+)', seen)
    assert causes == [("UNREACHABLE", "2"), ("REJECTED", "1")]


# What it does not let pass.

_HOSTILE = "<script>alert(1)</script>\u202egnp.exe\u200f \x1b[2J & \"quotes' שלום"


@pytest.mark.parametrize("path", ["/", "/message/{}", f"/phone/{quote(ROME)}"])
def test_a_hostile_text_is_shown_as_text(site: Site, path: str) -> None:
    id_ = store(site.outbox, _HOSTILE)
    end(site.outbox, id_, SENT, keep_text=True)
    seen = site.get(path.format(id_)).text
    assert "<script>alert" not in seen
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in seen
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]", seen)
    assert re.search(r'<bdi class="\w+" dir="auto">&lt;script&gt;.*RLO.*␛', seen)


def test_a_hostile_address_is_shown_as_text(site: Site) -> None:
    store(site.outbox)
    for path in ("/?sender=%22%3E", "/?state=%22%3E", "/phone/"):
        assert "<script>" not in site.get(f"{path}%3Cscript%3E").text


def test_a_character_that_is_not_seen_gets_a_mark() -> None:
    assert str(visible("a\tb\u2067c\x7f")) == (
        'a<span class="mark" title="U+0009">␉</span>b<span class="mark" title="U+2067">RLI</span>c'
        '<span class="mark" title="U+007F">␡</span>'
    )
    assert str(visible("👩\u200d💻 \U0001fae8\nè&\u00a0")) == "👩\u200d💻 \U0001fae8\nè&amp; "


@pytest.mark.parametrize(
    "path",
    ["/", "/message/1", "/message/9", "/message/x", "/phone", "/phone/1", f"/phone/{quote(ROME)}",
     "/static/page.css", "/static/none"],
)  # fmt: skip
def test_every_response_has_the_headers_and_nothing_that_they_forbid(site: Site, path: str) -> None:
    end(site.outbox, store(site.outbox, _HOSTILE), REJECTED)
    got = site.get(path)
    kept = {"Cache-Control": "no-cache"} if path.endswith("css") else {}
    assert {name: got.headers[name] for name in HEADERS} == HEADERS | kept
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=)", got.text)
    assert not re.search(r'(?:src|href|action)="(?!/|#|\?)', got.text)


@pytest.mark.parametrize(
    "query",
    ["state=foo", "before=abc", "before=1", "number=" + "5" * 5000, "number=abc", "sender=" + "x" * 5000,
     "before=" + "9" * 400 + "_1", "state=%00", "sender=%00", "number=%ff"],
)  # fmt: skip
def test_a_bad_value_is_answered_in_words(site: Site, query: str) -> None:
    seen = site.get(f"/?{query}")
    assert seen.status_code == 400
    assert 'role="alert"' in seen.text
    assert len(seen.content) < 30_000


@pytest.mark.parametrize("id_", ["0", "x", "-1", "9" * 18, "9" * 30, "%00", "1%2F2", "٣"])
def test_an_sms_that_is_not_there_is_404(site: Site, id_: str) -> None:
    assert site.get(f"/message/{id_}").status_code == 404


@pytest.mark.parametrize(
    "query", ["", "state=", "%", "a=b&a", "number=++39+06", "done=x&id=y", "answer=z"]
)
def test_odd_queries_are_no_trouble(site: Site, query: str) -> None:
    assert site.get(f"/?{query}").status_code == 200


def test_a_query_survives_its_own_form() -> None:
    asked = "state=failed&number=%2B39+06&sender=a%26b&before=1700000000.123456_17&x=y"
    query = Query.read(QueryParams(asked))
    again = Query.read(QueryParams(query.at(query.place)))
    assert again == query
    assert again.place == (1700000000.123456, 17)


# What it changes.


def test_retry_and_cancel(site: Site) -> None:
    failed = store(site.outbox, "a")
    end(site.outbox, failed, REJECTED)
    waiting = store(site.outbox, "b")
    done = site.post(f"/message/{failed}/retry")
    where = done.headers["location"]
    assert (done.status_code, where) == (303, f"/message/{failed}?done=retry&id={failed}")
    assert f"SMS {failed} will be tried again." in site.get(where).text
    done = site.post(f"/message/{waiting}/cancel", back="state=pending&sender=101&evil=//x")
    assert done.headers["location"] == f"/?state=pending&sender=101&done=cancel&id={waiting}"
    assert site.ids("/?state=pending") == [failed]
    assert site.ids("/?state=cancelled") == [waiting]


def test_what_cannot_be_done_says_why(site: Site) -> None:
    id_ = store(site.outbox)
    end(site.outbox, id_, SENT)
    for what, why in (("retry", "it is sent."), ("cancel", "it is sent already.")):
        refused = site.post(f"/message/{id_}/{what}")
        assert (refused.status_code, f"Not done: {why}" in refused.text) == (409, True)
    assert site.post("/message/77/retry").status_code == 404


def test_who_keeps_texts_keeps_that_of_a_cancelled_sms(outbox: Outbox) -> None:
    site = Site(outbox, Board(outbox, keeping=lambda: ["101"]))
    id_ = store(outbox, "Keep me")
    site.post(f"/message/{id_}/cancel")
    assert "Keep me" in site.get(f"/message/{id_}").text
    site.board.close()


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [({"Origin": "https://evil.example"}, False), ({"Sec-Fetch-Site": "cross-site"}, False),
     ({"Sec-Fetch-Site": "same-site"}, False), ({"Sec-Fetch-Site": "none"}, False),
     ({"Origin": "http://testserver:81"}, False), ({"Origin": "http://["}, False),
     ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, False),
     ({}, True), ({"Origin": "null"}, True), ({"Origin": "https://testserver"}, True),
     ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, True)],
)  # fmt: skip
def test_a_form_is_taken_from_ours_and_does_nothing_from_elsewhere(
    site: Site, headers: dict[str, str], is_ours: bool
) -> None:
    store(site.outbox)
    assert site.post("/message/1/cancel", headers).status_code == (303 if is_ours else 403)
    assert site.ids("/?state=pending") == ([] if is_ours else [1])


@pytest.mark.parametrize("token", ["", "0" * 64, "é" * 64, "\ud800"])
def test_a_form_without_the_token_does_nothing(site: Site, token: str) -> None:
    store(site.outbox)
    form = f"token={quote(token, errors='surrogatepass')}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = site.client.post("/message/1/cancel", content=form, headers=kind)
    assert refused.status_code == 403
    assert "reload the page and try again" in refused.text
    assert site.ids("/?state=pending") == [1]


def test_a_token_is_of_one_user(site: Site) -> None:
    store(site.outbox)
    site.user = "anna"
    annas = site.token
    site.user = "bert"
    assert site.token != annas
    assert site.post("/message/1/cancel", token=annas).status_code == 403
    assert "signed in as" in site.get().text


def test_a_form_that_is_too_long_is_refused(site: Site) -> None:
    long = site.client.post("/test", data={"token": site.token, "text": "x" * MOST})
    assert long.status_code == 413
    assert site.playground.pbx.inbox.requests == []


@pytest.mark.parametrize(
    "path", ["/message/1/retry", "/message/1/cancel", "/faults", "/gateways", "/test"]
)
def test_nothing_is_done_by_get(site: Site, path: str) -> None:
    assert site.get(path).status_code == 405


# Staying up to date.


def _settled(site: Site, path: str) -> str:
    """The page's ETag, once it was answered with 304: PostgreSQL tidies up by itself."""
    for _ in range(10):
        tag = site.get(path).headers["etag"]
        if site.get(path, if_none_match=tag).status_code == 304:
            return tag
    raise AssertionError("it is always sent again")


def test_what_did_not_change_is_not_sent_again(site: Site) -> None:
    store(site.outbox)
    site.board.figures()
    site.get()
    tag = _settled(site, "/")
    store(site.outbox)
    assert site.get(if_none_match=tag).status_code == 200
    tag = _settled(site, "/message/1")
    assert site.get("/message/2", if_none_match=tag).status_code == 200
    site.playground.set_fault("hang")
    assert site.get("/message/1", if_none_match=tag).status_code == 200
    site.user = "anna"
    assert site.get("/message/1", if_none_match=tag).status_code == 200


def _waiting(response: httpx2.Response) -> str:
    found = re.search(r'id="o-pending".*?<b>(\d+)</b>', response.text, re.DOTALL)
    assert found
    return found[1]


def test_figures_from_before_a_change_are_sent_again(site: Site) -> None:
    store(site.outbox)
    until(lambda: site.board.figures().complete)
    first = site.get()
    site.board._stale = time.monotonic() + 100  # counting takes long
    store(site.outbox)
    kept = site.get(if_none_match=first.headers["etag"])
    assert (kept.status_code, _waiting(kept)) == (200, "1")
    tag = _settled(site, "/")
    site.board._stale = time.monotonic()
    now = site.get(if_none_match=tag)
    assert (now.status_code, _waiting(now)) == (200, "2")
    _settled(site, "/")


def test_hours_that_are_left_are_counted_though_nothing_changes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(site.outbox)
    monkeypatch.setattr(board, "_COUNT", 0.0)
    tag = site.get().headers["etag"]
    assert not site.board.figures().complete
    again = site.get(if_none_match=tag)
    assert again.status_code == 200
    monkeypatch.setattr(board, "_COUNT", 5.0)
    assert site.get(if_none_match=again.headers["etag"]).status_code == 200
    _settled(site, "/")
    assert site.board.figures().complete


def test_a_minute_later_an_idle_page_is_sent_once(outbox: Outbox) -> None:
    now = 1_800_000_000.0
    site = Site(outbox, Board(outbox, clock=lambda: now))
    store(outbox)
    until(lambda: site.board.figures().complete)
    tag = _settled(site, "/")
    now += 60
    again = site.get(if_none_match=tag)
    assert again.status_code == 200
    time.sleep(0.2)  # the figures are old by now, but nothing changed
    if outbox.writer.engine.dialect.name == "sqlite":
        assert site.get(if_none_match=again.headers["etag"]).status_code == 304
    site.board.close()


def test_static_files_are_kept_by_their_hash(site: Site) -> None:
    paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', site.get().text)
    assert len(paths) == 3
    for path in paths:
        got = site.get(path)
        assert got.status_code == 200
        assert "immutable" in got.headers["cache-control"]
    assert site.get("/static/page.css?0").headers["cache-control"] == "no-cache"
    assert site.get("/static/..%2fpage.py").status_code == 404


# Who may see it, in production.


@pytest.fixture
def guarded(site: Site) -> Iterator[tuple[TestClient, list[float]]]:
    """The page behind its login, and the time of its sessions."""
    users, now = {"anna": (make_hash("s3cret"),)}, [0.0]
    login = Login(lambda: users, lambda _: None, lambda: now[0])
    app = Starlette(routes=routes(site.board, login))
    yield TestClient(app, follow_redirects=False), now
    login.close()


def _log_in(client: TestClient, back: str = "/", **other: str) -> httpx2.Response:
    given = {"name": "anna", "password": "s3cret", "token": token(client.get("/")), "back": back}
    return client.post("/login", data=given | other)


def test_a_session_has_an_end(guarded: tuple[TestClient, list[float]]) -> None:
    client, now = guarded
    set_ = _log_in(client).headers["set-cookie"].lower()
    assert set_.endswith("httponly; max-age=43200; path=/; samesite=strict")
    assert client.get("/").status_code == 200
    now[0] = LASTS
    assert client.get("/").status_code == 401
    assert client.post("/message/1/cancel").status_code == 401
    old = _log_in(client).cookies[COOKIE]
    left = client.post("/logout", data={"token": token(client.get("/"))})
    assert (left.status_code, left.headers["location"]) == (303, "/")
    client.cookies.set(COOKIE, old)
    assert client.get("/").status_code == 401


def test_a_login_is_a_form_of_ours(guarded: tuple[TestClient, list[float]]) -> None:
    client, _ = guarded
    for wrong, status in (({"password": "x"}, 401), ({"name": "bert"}, 401), ({"token": ""}, 403)):
        answer = _log_in(client, **wrong)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, False)
        assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "back", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/\r\nX: y"]
)
def test_a_login_leads_to_no_other_site(guarded: tuple[TestClient, list[float]], back: str) -> None:
    assert _log_in(guarded[0], back).headers["location"] == "/"


def test_a_login_leads_to_where_one_was(guarded: tuple[TestClient, list[float]]) -> None:
    page = guarded[0].get("/?state=sent&number=%2B39").text
    (back,) = re.findall(r'name="back" value="([^"]*)"', page)
    led = _log_in(guarded[0], html.unescape(back)).headers["location"]
    assert led == "/?state=sent&number=%2B39"


# The sandbox.


def test_a_phone_shows_what_it_got(site: Site) -> None:
    end(site.outbox, store(site.outbox, "For Rome", ROME), SENT, keep_text=True)
    end(site.outbox, store(site.outbox, "Refused", ROME), REJECTED)
    end(site.outbox, store(site.outbox, "For Milan", MILAN), SENT, keep_text=True)
    seen = site.get(f"/phone/{quote(ROME)}").text
    assert "For Rome" in seen
    assert "Refused" not in seen
    assert "For Milan" not in seen
    phones = site.get("/phone").text
    assert all(f'href="/phone/{quote(each)}"' in phones for each in (ROME, MILAN))
    assert site.get(f"/phone?number={quote(ROME)}").headers["location"] == f"/phone/{quote(ROME)}"
    for odd in ("1" * 500, "%00", "%ff", "x"):
        assert site.get(f"/phone/{odd}").status_code == 400


def test_faults_and_gateways_are_switched(site: Site) -> None:
    names = re.findall(r'id="fb-([\w-]+)"', site.get().text)
    assert names[: len(Fault)] == list(Fault)
    assert ("taken-500" in names, "taken-slow" in names) == (True, False)
    assert site.post("/faults", fault="taken-hang").headers["location"] == "/#faults"
    on = r'aria-checked="true"[^>]* title="([^"]+)" name="fault" value="([^"]*)"'
    assert re.findall(on, site.get().text) == [("as hang, but the message is taken", "")]
    site.post("/faults", fault="")
    assert site.playground.fault is None
    site.post("/gateways", mac=GATEWAY, online="no")
    assert not site.playground.gateways[GATEWAY].online
    assert "offline, 2 waiting" in site.get().text
    assert site.post("/faults", fault="none such").status_code == 400
    assert site.post("/gateways", mac="x", online="no").status_code == 400


def test_a_test_is_sent_and_its_answer_shown(site: Site) -> None:
    done = site.post("/test", number=ROME, text="one\r\ntwo", gsm=GATEWAY)
    taken = [(each.numbers, each.original) for each in site.playground.pbx.inbox.messages]
    assert taken == [((ROME,), "one\ntwo")]
    path = done.headers["location"].partition("#")[0]
    assert f"Success: in the spool of {GATEWAY}" in site.get(path).text


def test_production_has_no_sandbox(site: Site) -> None:
    client = site.open(None)
    seen = client.get("/").text
    assert "sandbox" not in seen
    for path in ("/phone", "/phone/1", "/faults", "/test"):
        assert client.get(path).status_code == 404


# When the outbox is out of reach.


@pytest.mark.parametrize("path", ["/", "/message/1", "/phone"])
@pytest.mark.parametrize("trouble", ["gone", "no database", "locked"])
def test_an_outbox_that_cannot_be_read_is_a_line(tmp_path: Path, path: str, trouble: str) -> None:
    file = tmp_path / "box" / "outbox.sqlite"
    file.parent.mkdir()
    outbox = Outbox(f"sqlite:///{file}")
    site = Site(outbox, Board(outbox))
    store(outbox)
    outbox.close()
    holder: Any = None
    if trouble == "gone":
        shutil.rmtree(file.parent)
    elif trouble == "no database":
        file.write_bytes(b"garbage " * 1000)
    else:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    seen = site.get(path)
    assert time.monotonic() - began < 8
    assert seen.status_code == 503
    line = re.search(r'<p class="banner bad">([^<]+)</p>', seen.text)
    assert line
    assert line[1].startswith("The outbox ")
    if holder:
        holder.close()
        assert site.get("/").status_code == 200
    site.board.close()


def test_reading_goes_on_while_another_is_about_to_write(sqlite: str) -> None:
    outbox = Outbox(sqlite)
    site = Site(outbox, Board(outbox))
    store(outbox)
    with locked(sqlite):
        began = time.monotonic()
        assert site.ids() == [1]
        assert time.monotonic() - began < 1.5
    site.board.close()
    outbox.close()


def test_switches_that_cannot_be_read_are_a_line_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise OutboxError("the outbox is away")

    monkeypatch.setattr(site.playground, "waiting", unreadable)
    seen = site.get()
    assert seen.status_code == 503
    assert "The outbox is away." in seen.text
