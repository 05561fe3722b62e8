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
  let active = 0, touched = Date.now(), seen = false;  // seen: the clips have been played to their end
  const touch = () => { touched = Date.now(); };
  for (const kind of ["pointermove", "pointerdown", "keydown", "scroll", "wheel"]) addEventListener(kind, touch, { passive: true });
  setInterval(() => {
    const plays = !seen && [...document.querySelectorAll("video")].some((video) => !video.paused);
    if (document.visibilityState === "visible" && (plays || Date.now() - touched < 60000)) active += 0.25;
  }, 250);

  // Answers that are on their way are kept on the device, in order, until the server has them.
  const store = `tercih-kept-${words.rater}`;
  const kept = () => JSON.parse(localStorage.getItem(store) || "[]");
  const keep = (all) => { if (all.length) localStorage.setItem(store, JSON.stringify(all)); else localStorage.removeItem(store); };
  let sending = null, ready = null;
  let broken = kept().length > 0;  // an answer could not be sent at once

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
        broken = true;
        status(words.kept);
        return null;
      }
      const html = await answer.text();
      if (answer.status === 403 || answer.status === 429 || answer.status >= 500) {
        broken = true;
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

  const arrived = () => {
    const said = broken ? words.sent : "";
    broken = false;
    return said;
  };

  const submit = async (form, button) => {
    if (form.dataset.sent) return;
    form.dataset.sent = "yes";
    form.elements.seconds.value = active.toFixed(2);
    const data = new FormData(form, button);
    const one = { key: data.get("key"), action: form.getAttribute("action"), form: new URLSearchParams(data).toString() };
    const next = ready;
    ready = null;
    keep([...kept(), { ...one, here: true }]);
    if (next) show(next);
    else for (const each of form.querySelectorAll("button")) each.setAttribute("aria-disabled", "true");
    const done = await flush();
    if (!done) return;
    if (done.ok) status(arrived());
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
    status(done.ok ? arrived() : words.refused);
    const form = judge();
    if (form && form.dataset.sent) show(done.html);
    else prefetch();
  };
  addEventListener("online", again);
  setInterval(() => { if (navigator.onLine) again(); }, 15000);

  // Where there is nothing to do, questions may come: somebody trains, and asks as it goes.
  setInterval(async () => {
    const empty = main().querySelector("[data-look]");
    if (!empty || document.visibilityState !== "visible") return;
    try {
      const answer = await fetch(empty.dataset.look, { credentials: "same-origin" });
      const html = await answer.text();
      if (!answer.ok || !page(html).querySelector("form.judge[data-seat]") || !empty.isConnected) return;
      show(html);
      history.replaceState(null, "", new URL(answer.url).pathname);
      prefetch();
    } catch { /* it looks again */ }
  }, 3000);

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
    if (event.ctrlKey || event.metaKey || event.altKey || (event.repeat && event.key !== "." && event.key !== ",")) return;
    const writing = event.target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
    if (writing || ((event.key === "Enter" || event.key === " ") && event.target.matches("button, a, summary, input"))) return;
    if (event.key.startsWith("Arrow") && event.target.matches("input, video")) return;
    const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const wanted = [...document.querySelectorAll("#main [data-keys]")].find((each) => each.dataset.keys.split(" ").includes(key) && !each.closest("[hidden]"));
    if (!wanted) return;
    event.preventDefault();
    if (wanted.getAttribute("form") === "undo" && sending) await sending;
    wanted.click();
    if (wanted.matches("input")) wanted.focus();
  });

  // Clips: all of a page play in step, over and over, and go on and back by a frame.
  const film = (bar) => {
    const all = [...main().querySelectorAll("video")], once = main().querySelector("[data-live]");
    const videos = () => all.filter((video) => !video.hidden && video.readyState);
    const frame = (video) => 1 / (Number(video.dataset.rate) || 30);
    const longest = () => videos().reduce((a, b) => (b.duration > a.duration ? b : a));
    const seek = (video, at) => {
      const to = Math.min(at, video.duration);
      if (Math.abs(video.currentTime - to) > frame(video) / 4) video.currentTime = to;
    };
    const play = () => {
      const over = videos().every((video) => video.ended);
      for (const video of videos()) {
        if (over) video.currentTime = 0;
        if (over || !video.ended) video.play().catch(() => {});
      }
    };
    const pause = () => { for (const video of videos()) video.pause(); };
    let place = null;  // the frame they are to stand at: a video that has not come there yet may tell an earlier time
    const step = (by) => {
      if (!videos().length) return;
      pause();
      const last = (video) => Math.round(video.duration / frame(video)) - 1, lead = longest();
      if (place === null) place = Math.floor(lead.currentTime / frame(lead));
      place = Math.max(0, Math.min(Math.min(place, last(lead)) + by, last(lead)));
      for (const video of videos()) video.currentTime = Math.min(place, last(video)) * frame(video) + 0.001;  // just within
    };
    const toggle = () => { begun = true; if (videos().some((video) => !video.paused)) pause(); else play(); };
    for (const video of all) {
      video.loop = false;
      if (!once) {  // a browser's own controls lie over what stands on the ground
        video.controls = false;
        video.addEventListener("click", toggle);
      }
      const others = () => videos().filter((each) => each !== video);
      for (const kind of ["pointerdown", "keydown", "play"]) video.addEventListener(kind, () => { place = null; });
      video.addEventListener("play", () => { for (const each of others()) if (each.paused && !each.ended) each.play().catch(() => {}); });
      video.addEventListener("pause", () => { if (!video.ended) for (const each of others()) each.pause(); });
      video.addEventListener("seeking", () => { if (place === null && video.currentTime < video.duration - 2 * frame(video)) for (const each of others()) seek(each, video.currentTime); });
      video.addEventListener("ended", () => { seen = true; if (!once && place === null && videos().every((each) => each.ended)) play(); });
      video.addEventListener("timeupdate", () => {
        if (video.paused || video.seeking || video !== longest()) return;
        for (const each of others()) if (!each.ended && !each.seeking && Math.abs(each.currentTime - video.currentTime) > 2 * frame(each)) seek(each, video.currentTime);
      });
      video.addEventListener("canplay", () => begin());
    }
    // They begin by themselves once all are there, for those who do not mind movement.
    let begun = Boolean(once) || matchMedia("(prefers-reduced-motion: reduce)").matches;
    const begin = () => {
      if (begun || !all.every((video) => video.readyState > 2 || (video.hidden && !video.dataset.late))) return;
      begun = true;
      play();
    };
    bar.querySelector("[data-play]").addEventListener("click", toggle);
    for (const button of bar.querySelectorAll("[data-step]")) button.addEventListener("click", () => { begun = true; step(Number(button.dataset.step)); });
    bar.hidden = false;
    begin();
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
  // A clip that is still being drawn appears when it is there; one that cannot be played here says so.
  const tell = (video, about) => {
    for (const name of ["drawing", "unplayable"]) {
      const said = video.parentElement.querySelector(`[data-${name}]`);
      if (said) said.hidden = name !== about;
    }
    video.hidden = about !== "";
  };
  const missing = async (video) => {
    let found = 0;
    try { found = (await fetch(video.getAttribute("src"), { method: "HEAD", credentials: "same-origin" })).status; } catch { /* as if it were not there */ }
    if (!video.isConnected) return;
    const late = video.dataset.late;
    if (found === 202 || (late && (!found || found > 499))) {
      video.dataset.late = "yes";
      tell(video, "drawing");
      setTimeout(() => { if (video.isConnected) missing(video); }, 1000);
    } else if (found === 200 && late) {
      delete video.dataset.late;
      tell(video, "");
      video.load();
    } else {
      delete video.dataset.late;
      tell(video, "unplayable");
    }
  };
  document.addEventListener("error", (event) => { if (event.target.matches("video") && !event.target.dataset.late) missing(event.target); }, true);
  document.addEventListener("loadeddata", (event) => { if (event.target.matches("video")) tell(event.target, ""); }, true);

  const fresh = () => {
    if (main().dataset.fresh) return;
    main().dataset.fresh = "yes";
    active = 0;
    seen = false;
    ready = null;
    touch();
    for (const video of main().querySelectorAll("video")) {
      if (video.error) missing(video);
      else if (video.readyState > 1) tell(video, "");
    }
    const once = (selector, enhance) => { const found = main().querySelector(selector); if (found) enhance(found); };
    once("[data-ranking]", rank);
    once("[data-marks]", marking);
    once("[data-live]", live);
    once("[data-film]", film);
    once("[data-draft]", draft);
    once("[data-look]", (sentence) => { sentence.hidden = false; });
    once("#latest", (latest) => latest.scrollIntoView());
  };

  fresh();
  if (words.rater && kept().length) again().then(() => { if (judge() && !kept().length) location.reload(); });
  else prefetch();
  document.addEventListener("htmx:afterSettle", (event) => { if (event.target.id === "main") prefetch(); });
})();
