/* What a script adds to pages that work without it: keys, the next question at once, answers that outlive a broken
   connection, dragging, marking. */
"use strict";
(() => {
  const body = document.body;
  const words = body.dataset;
  const main = () => document.getElementById("main");
  const judge = () => document.querySelector("form.judge[data-seat]");
  const status = (text) => { document.getElementById("status").textContent = text || ""; };

  // Active seconds: while the page is seen, and something was done (or a clip played) within the last minute.
  let active = 0, touched = Date.now();
  const touch = () => { touched = Date.now(); };
  for (const kind of ["pointermove", "pointerdown", "keydown", "scroll", "wheel"]) addEventListener(kind, touch, { passive: true });
  setInterval(() => {
    const plays = [...document.querySelectorAll("video")].some((video) => !video.paused);
    if (document.visibilityState === "visible" && (plays || Date.now() - touched < 60000)) active += 0.25;
  }, 250);

  // Answers that are on their way are kept on the device, in order, until the server has them.
  const store = `tercih-kept-${words.rater}`;
  const kept = () => JSON.parse(localStorage.getItem(store) || "[]");
  const keep = (all) => { if (all.length) localStorage.setItem(store, JSON.stringify(all)); else localStorage.removeItem(store); };
  let sending = null, ready = null;

  const page = (html) => new DOMParser().parseFromString(html, "text/html");
  const show = (html) => {
    window.htmx.swap("#main", html, { swapStyle: "outerHTML" }, { select: "#main" });
    const title = page(html).title;
    if (title) document.title = title;
    scrollTo(0, 0);
    fresh();
    main().focus({ preventScroll: true });
  };

  const send = async () => {
    let last = null;
    for (let all = kept(); all.length; all = kept()) {
      const one = all[0];
      const form = new URLSearchParams(one.form);
      form.set("csrf", words.csrf);
      let answer;
      try {
        answer = await fetch(one.action, { method: "POST", body: form, credentials: "same-origin" });
      } catch {
        status(words.kept);
        return null;
      }
      const html = await answer.text();
      if (answer.status === 403 || answer.status === 429 || answer.status >= 500) {
        const said = page(html).querySelector("[data-sentence]");
        status(said ? said.textContent : words.kept);
        return null;
      }
      keep(kept().filter((each) => each.key !== one.key));
      last = { ok: answer.ok, html, url: answer.url, key: one.key };
      if (!answer.ok && !one.here) status(words.refused);
    }
    return last;
  };
  const flush = () => {
    if (!sending) sending = send().finally(() => { sending = null; });
    return sending;
  };

  const submit = async (form, button) => {
    if (form.dataset.sent) return;
    form.dataset.sent = "yes";
    form.elements.seconds.value = active.toFixed(2);
    const data = new FormData(form, button);
    const one = { key: data.get("key"), action: form.getAttribute("action"), form: new URLSearchParams(data).toString() };
    const earlier = kept().length > 0;
    const next = ready;
    ready = null;
    keep([...kept(), { ...one, here: true }]);
    if (next) show(next);
    else for (const each of form.querySelectorAll("button")) each.setAttribute("aria-disabled", "true");
    const done = await flush();
    if (!done) return;
    if (earlier) status(words.sent);
    else if (done.ok) status("");
    if (!done.ok || !next) {
      if (done.key === one.key || !judge()) {
        show(done.html);
        history.replaceState(null, "", new URL(done.url).pathname);
      }
    } else prefetch();
  };

  const again = async () => {
    if (!kept().length) return;
    const done = await flush();
    if (!done) return;
    status(done.ok ? words.sent : words.refused);
    const form = judge();
    if (form && form.dataset.sent) show(done.html);
    else prefetch();
  };
  addEventListener("online", again);
  setInterval(() => { if (navigator.onLine) again(); }, 15000);

  // The question after this one, ready before it is asked for.
  const prefetch = async () => {
    const form = judge();
    if (!form || !form.dataset.next || kept().length) return;
    try {
      const answer = await fetch(form.dataset.next, { credentials: "same-origin" });
      if (!answer.ok) return;
      const html = await answer.text();
      const found = page(html).querySelector("form.judge[data-seat]");
      if (judge() === form && found && found.dataset.seat !== form.dataset.seat) ready = html;
    } catch { /* it is asked for again when it is needed */ }
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("form.judge[data-seat]") && window.htmx) {
      event.preventDefault();
      submit(form, event.submitter);
    } else if (form.matches(".languages")) form.elements.back.value = location.pathname + location.search;
  });
  document.addEventListener("htmx:sendError", () => status(words.offline));
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful && document.getElementById("status").textContent === words.offline) status(""); });
  document.addEventListener("htmx:configRequest", (event) => { if (event.detail.parameters.seconds === "") event.detail.parameters.seconds = active.toFixed(2); });
  document.addEventListener("htmx:afterSettle", (event) => { if (event.target.id === "main") { fresh(); main().focus({ preventScroll: true }); } });

  // Keys: an element names its own in data-keys.
  document.addEventListener("keydown", async (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const writing = event.target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
    if (writing || (event.key === "Enter" && event.target.matches("button, a, summary, input"))) return;
    if (event.key.startsWith("Arrow") && event.target.matches("input, video")) return;
    if (event.key === "p") return play();
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const wanted = [...document.querySelectorAll("#main [data-keys]")].find((each) => each.dataset.keys.split(" ").includes(key) && !each.closest("[hidden]"));
    if (!wanted) return;
    event.preventDefault();
    if (wanted.getAttribute("form") === "undo" && sending) await sending;
    wanted.click();
    if (wanted.matches("input")) wanted.focus();
  });
  const play = () => {
    const videos = [...document.querySelectorAll("#main video")];
    const stop = videos.some((video) => !video.paused);
    for (const video of videos) { if (stop) video.pause(); else video.play(); }
  };

  // Ranking: pick the next best one by one, or drag into order.
  const rank = (list) => {
    const cards = () => [...list.children];
    const input = (card) => card.querySelector("input");
    for (const card of cards()) {
      const pick = card.querySelector("[data-next-best]"), handle = card.querySelector("[data-handle]");
      pick.hidden = false;
      handle.classList.add("live");
      pick.addEventListener("click", () => {
        const taken = cards().map((each) => Number(input(each).value)).filter(Boolean);
        const had = Number(input(card).value);
        if (had) for (const each of cards()) { if (Number(input(each).value) >= had) input(each).value = ""; }
        else input(card).value = Math.max(0, ...taken) + 1;
      });
      handle.addEventListener("pointerdown", (down) => {
        down.preventDefault();
        card.classList.add("dragged");
        let moved = false;
        const move = (event) => {
          const below = cards().find((each) => each !== card && event.clientY < each.getBoundingClientRect().top + each.offsetHeight / 2);
          if (below === card.nextElementSibling || (!below && card === list.lastElementChild)) return;
          list.insertBefore(card, below || null);
          moved = true;
        };
        const drop = () => {
          removeEventListener("pointerup", drop);
          removeEventListener("pointercancel", drop);
          removeEventListener("pointermove", move);
          card.classList.remove("dragged");
          if (moved) cards().forEach((each, at) => { input(each).value = at + 1; });
        };
        // On the window: a handle that moves within the page loses the pointer.
        addEventListener("pointermove", move);
        addEventListener("pointerup", drop, { once: true });
        addEventListener("pointercancel", drop, { once: true });
      });
    }
  };

  // Spans: offsets count characters as Python does, not UTF-16 units.
  const marking = (box) => {
    const text = document.querySelector("#main [data-markable]"), field = box.querySelector("input[name=spans]");
    const all = text.textContent, characters = [...all], list = box.querySelector("ul");
    let spans = JSON.parse(field.value || "[]");
    const draw = () => {
      field.value = JSON.stringify(spans);
      text.replaceChildren();
      list.replaceChildren();
      let at = 0;
      spans.sort((a, b) => a.start - b.start).forEach((span) => {
        const mark = document.createElement("mark");
        mark.textContent = characters.slice(span.start, span.end).join("");
        text.append(characters.slice(at, span.start).join(""), mark);
        at = span.end;
        const row = document.createElement("li"), button = document.createElement("button");
        Object.assign(button, { type: "button", className: "plain", textContent: box.dataset.remove });
        button.addEventListener("click", () => { spans = spans.filter((each) => each !== span); draw(); });
        row.append(`“${mark.textContent}” `, span.kind === "error" ? "" : `(${span.kind}) `, button);
        list.append(row);
      });
      text.append(characters.slice(at).join(""));
    };
    box.querySelector("[data-mark]").addEventListener("click", () => {
      const chosen = getSelection();
      if (!chosen.rangeCount || chosen.isCollapsed || !text.contains(chosen.anchorNode) || !text.contains(chosen.focusNode)) return;
      const range = chosen.getRangeAt(0), before = document.createRange();
      before.setStart(text, 0);
      before.setEnd(range.startContainer, range.startOffset);
      const start = [...before.toString()].length, end = start + [...range.toString()].length;
      if (end > start && !spans.some((span) => span.start < end && start < span.end)) {
        const kind = document.getElementById("mark-as");
        spans.push({ start, end, kind: kind ? kind.value : box.dataset.labels || "error" });
        draw();
      }
      chosen.removeAllRanges();
    });
    box.hidden = false;
    draw();
  };

  // Live: plus and minus at the clip's own time.
  const live = (box) => {
    const video = document.querySelector("#main video"), field = box.querySelector("input[name=signals]"), tally = box.querySelector("[data-tally]");
    const signals = JSON.parse(field.value || "[]");
    const draw = () => { field.value = JSON.stringify(signals); tally.textContent = signals.map((each) => (each[1] > 0 ? "+" : "−")).join("").slice(-12) || "0"; };
    for (const button of box.querySelectorAll("[data-signal]")) button.addEventListener("click", () => {
      const early = video.paused && !video.played.length;
      status(early ? box.dataset.early : "");
      if (early) return;
      signals.push([Number(video.currentTime.toFixed(3)), Number(button.dataset.signal)]);
      draw();
    });
    box.querySelector("[data-back]").addEventListener("click", () => { signals.pop(); draw(); });
    video.loop = false;
    box.hidden = false;
    draw();
  };

  // A message to the model that is not sent yet outlives whatever takes the page's place; Ctrl+Enter sends it.
  const draft = (area) => {
    const name = `tercih-draft-${words.rater}-${area.form.getAttribute("action")}`;
    if (!area.value) area.value = sessionStorage.getItem(name) || "";
    area.addEventListener("input", () => sessionStorage.setItem(name, area.value));
    area.form.addEventListener("submit", () => sessionStorage.removeItem(name));
    area.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) area.form.requestSubmit(); });
  };
  // A clip that this browser cannot play, or that is not there.
  const unplayable = (video) => {
    const said = video.nextElementSibling;
    if (said) { said.hidden = false; video.hidden = true; }
  };
  document.addEventListener("error", (event) => { if (event.target.matches("video")) unplayable(event.target); }, true);

  const fresh = () => {
    if (main().dataset.fresh) return;
    main().dataset.fresh = "yes";
    active = 0;
    ready = null;
    touch();
    for (const video of main().querySelectorAll("video")) if (video.error) unplayable(video);
    const once = (selector, enhance) => { const found = main().querySelector(selector); if (found) enhance(found); };
    once("[data-ranking]", rank);
    once("[data-marks]", marking);
    once("[data-live]", live);
    once("[data-draft]", draft);
    once("#latest", (latest) => latest.scrollIntoView());
  };

  fresh();
  if (words.rater && kept().length) again().then(() => { if (judge() && !kept().length) location.reload(); });
  else prefetch();
  document.addEventListener("htmx:afterSettle", (event) => { if (event.target.id === "main") prefetch(); });
})();
