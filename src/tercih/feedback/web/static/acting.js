/* An agent acts: the newest frame is fetched and drawn, and every press goes to the server at once, with the step that was
   on the screen and the moment on the act's own clock. Presses are kept on the device until the server has them. */
"use strict";
(() => {
  const box = document.querySelector("[data-act]");
  if (!box) return;
  const words = document.body.dataset, place = `/acts/${box.dataset.act}`, store = `tercih-presses-${box.dataset.act}`;
  const canvas = box.querySelector("canvas"), still = box.querySelector("[data-still]"), tally = box.querySelector("[data-tally]");
  const form = box.querySelector("[data-presses]"), how = box.querySelector("[data-how]");
  const status = (text) => { document.getElementById("status").textContent = text || ""; };
  let step = -1, seconds = 0, shownAt = 0, signs = tally.textContent === "0" ? "" : tally.textContent;

  const kept = () => JSON.parse(localStorage.getItem(store) || "[]");
  const keep = (all) => { if (all.length) localStorage.setItem(store, JSON.stringify(all)); else localStorage.removeItem(store); };
  let sending = null;
  const send = async () => {
    for (let all = kept(); all.length; all = kept()) {
      let answer;
      try {
        answer = await fetch(`${place}/signals`, { method: "POST", body: new URLSearchParams({ ...all[0], csrf: words.csrf, quiet: "1" }) });
      } catch {
        status(words.kept);
        return;
      }
      if (answer.status === 403 || answer.status === 429 || answer.status >= 500) {
        status(words.kept);
        return;
      }
      keep(kept().filter((each) => each.key !== all[0].key));
      status(answer.ok ? "" : words.refused);
    }
  };
  const flush = () => {
    if (!sending) sending = send().finally(() => { sending = null; });
    return sending;
  };

  const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
  const tell = (said) => {
    const at = seconds + (performance.now() - shownAt) / 1000;
    keep([...kept(), { key: fresh(), step: String(step), seconds: at.toFixed(3), ...said }]);
    flush();
  };

  // What is done in the agent's place: by a number's key while it is down, by a button until it is let go.
  const hands = [...form.querySelectorAll("[data-hands] [aria-pressed]")];
  let down = null;
  const hold = (action) => {
    hands.forEach((each) => each.setAttribute("aria-pressed", String(each.value === action)));
    tell({ action });
  };
  const letGo = () => {
    if (down !== null) hold("-1");
    down = null;
  };
  if (hands.length) {
    addEventListener("keydown", (event) => {
      const hand = hands[Number(event.key) - 1];
      if (!hand || event.repeat || event.ctrlKey || event.metaKey || event.altKey || step < 0) return;
      down = event.key;
      hold(hand.value);
    });
    addEventListener("keyup", (event) => { if (event.key === down) letGo(); });
    addEventListener("blur", letGo);  // the key would come up where nobody hears it
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (step < 0) return;
    const { name, value } = event.submitter;
    if (name === "action") {
      down = null;
      hold(value);
      return;
    }
    tell({ value });
    signs = value === "0" ? signs.slice(0, -1) : signs + (value === "1" ? "+" : "−");
    tally.textContent = signs.slice(-12) || "0";
  });

  const look = async () => {
    const answer = await fetch(`${place}/frame?after=${Math.max(step, 0) === step ? step : ""}`, { cache: "no-store" });
    const state = answer.headers.get("x-state");
    if (answer.status === 200) {
      const picture = await createImageBitmap(await answer.blob());
      Object.assign(canvas, { width: picture.width, height: picture.height, hidden: false });
      canvas.getContext("2d").drawImage(picture, 0, 0);
      if (still) still.hidden = true;
      step = Number(answer.headers.get("x-step"));
      seconds = Number(answer.headers.get("x-seconds"));
      shownAt = performance.now();
      box.querySelector("[data-step]").textContent = step;
    }
    if (state && state !== box.dataset.state) {
      box.dataset.state = state;
      if (box.dataset[state]) how.textContent = box.dataset[state];
    }
    return state === "over" || state === "stopped";
  };
  const wait = Math.max(30, 700 / Number(box.dataset.rate));
  const turn = async () => {
    let over = false;
    try {
      if (document.visibilityState === "visible") over = await look();
      if (kept().length) await flush();
      else if (!over && document.getElementById("status").textContent === words.kept) status("");
    } catch {
      status(words.kept);
    }
    if (over && !kept().length) location.reload();
    else setTimeout(turn, wait);
  };
  turn();
})();
