// Keeps what is marked data-live up to date. Without it every page still works, by reloading.
"use strict";
(() => {
  const EVERY = 1000, SLOWEST = 5000, SILENCE = 10000; // milliseconds
  const TROUBLE = { 401: "You are signed out: reload the page.", 503: "The outbox cannot be read." };
  if (!document.body.dataset.live) return;
  const [light, away, news] = ["live", "away", "news"].map((id) => document.getElementById(id));
  let tag = "", wait = EVERY, timer = 0, busy = false, seen = new Date();
  let known = newest(), unread = 0, told = 0;

  // The highest id on a page that begins with the newest.
  function newest() {
    const ids = [...document.querySelectorAll("[data-newest] [id]")]
      .map((each) => /^[mr]([0-9]+)$/.exec(each.id)).filter(Boolean).map((found) => +found[1]);
    return Math.max(0, ...ids);
  }

  // Make `old` like `fresh`; children with ids stay the same nodes, and so focus and scroll do.
  function merge(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    const children = [...fresh.children];
    if (!children.length || !old.children.length || old.tagName !== fresh.tagName
        || old.tagName === "TR" || ![...children, ...old.children].every((each) => each.id)) {
      old.replaceWith(fresh);
      return;
    }
    const mine = new Map([...old.children].map((each) => [each.id, each]));
    const wanted = new Set(children.map((each) => each.id));
    for (const [id, each] of mine) if (!wanted.has(id)) each.remove();
    let place = old.firstElementChild;
    for (const each of children) {
      const there = mine.get(each.id);
      if (there === place) place = place && place.nextElementSibling;
      else old.insertBefore(there || each, place);
      if (there) merge(there, each);
    }
  }

  function show(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const focused = document.activeElement && document.activeElement.id;
    const selected = getSelection();
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const fresh = page.getElementById(part.id);
      const read = !selected.isCollapsed && selected.containsNode(part, true);
      if (fresh && !read) merge(part, document.importNode(fresh, true));
      if (read) tag = ""; // it comes with a later look
    }
    const again = focused && document.getElementById(focused);
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
    document.title = page.title;
    unread += newest() > known ? 1 : 0;
    known = Math.max(newest(), known);
  }

  function tell() {
    if (!unread || Date.now() - told < SILENCE) return;
    news.textContent = known && unread > 1 ? "There are new messages." : `New message, SMS ${known}.`;
    [unread, told] = [0, Date.now()];
  }

  function reach(line) {
    const text = line ? `${line} Shown is what was known at ${seen.toLocaleTimeString()}.` : "";
    if (away.textContent !== text) away.textContent = text;
    away.hidden = !line;
    light.hidden = false;
    light.textContent = line ? "not live" : "live";
    light.classList.toggle("off", Boolean(line));
  }

  async function look() {
    if (busy || document.hidden) return;
    busy = true;
    try {
      // With its origin: in a page opened as http://user:password@host/ fetch takes no relative URL.
      const got = await fetch(location.origin + location.pathname + location.search, {
        headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store", redirect: "manual",
        signal: AbortSignal.timeout(SILENCE),
      });
      if (got.status === 200) { tag = got.headers.get("ETag") || ""; show(await got.text()); }
      const fine = got.status === 200 || got.status === 304;
      if (fine) { seen = new Date(); tell(); }
      wait = fine ? EVERY : SLOWEST;
      const trouble = TROUBLE[got.type === "opaqueredirect" ? 401 : got.status];
      reach(fine ? "" : trouble || "The server does not answer properly.");
    } catch {
      wait = Math.min(wait * 2, SLOWEST);
      reach("The server is out of reach.");
    }
    busy = false;
    next(wait);
  }

  function next(time) {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, time);
  }
  document.addEventListener("visibilitychange", () => next(0));
  next(EVERY / 2);
})();
