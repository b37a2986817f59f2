// What the user can do with pointer, buttons and keys, and the page's beginning.

/** A line on what lies under the pointer in the timeline. */
function hintText(run, k, slack) {
  const lines = [`${clockText(run.t_ms[k])}  ·  frame ${run.index[k]}  ·  ${run.texts[run.status[k]].replaceAll("_", " ")}`];
  let more = 0;
  const from = placeOf(run.event_frame, k - slack - 1);
  for (let e = from; e < run.event_frame.length && run.event_frame[e] <= k + slack; e++) {
    if (run.event_frame[e] < k - slack) continue;
    if (lines.length < 5) lines.push(run.texts[run.event_text[e]]); else more++;
  }
  if (more) lines.push(`and ${more} more`);
  return lines.join("\n");
}

function listenTimeline(player) {
  const box = by("timeline"), hint = by("hint"), line = player.timeline;
  let held = false;
  box.addEventListener("pointerdown", (e) => {
    if (e.button) return;
    held = true;
    box.setPointerCapture(e.pointerId);
    player.go(line.frameAt(e));
  });
  box.addEventListener("pointermove", (e) => {
    const k = player.hover = line.frameAt(e), run = player.run;
    if (held) player.go(k);
    hint.textContent = hintText(run, k, Math.floor(3 / line.frameWidth()));
    hint.hidden = false;
    const x = e.clientX - box.getBoundingClientRect().left, wide = hint.offsetWidth;
    hint.style.left = `${Math.min(Math.max(x - wide / 2, 0), box.clientWidth - wide)}px`;
    hint.style.top = `${-hint.offsetHeight - 2}px`;
    line.drawMarks(player.frame, player.chosen, k);
  });
  const away = () => { player.hover = null; hint.hidden = true; player.redraw(); };
  box.addEventListener("pointerup", () => { held = false; });
  box.addEventListener("pointercancel", () => { held = false; away(); });
  box.addEventListener("pointerleave", away);
  box.addEventListener("wheel", (e) => {
    if (e.ctrlKey || e.metaKey) {
      e.preventDefault();
      line.zoom(Math.exp(Math.sign(e.deltaY) * 0.25), line.ms(e.clientX - box.getBoundingClientRect().left));
    } else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
      e.preventDefault();
      line.moveTo(line.start + ((e.deltaX || e.deltaY) / line.width) * line.span);
    } else return;
    player.redraw();
  }, { passive: false });
}

function listenButtons(player) {
  const click = (id, act) => by(id).addEventListener("click", act);
  click("play", () => player.toggle());
  click("first", () => player.go(0));
  click("last", () => player.go(player.run.frames - 1));
  click("back", () => player.step(-1));
  click("forward", () => player.step(1));
  click("next", () => player.event(1));
  click("previous", () => player.event(-1));
  click("zoom-in", () => player.zoom(0.5));
  click("zoom-out", () => player.zoom(2));
  click("zoom-fit", () => player.zoom(Infinity));
  click("near", () => { player.bird.zoom(1 / 1.4); player.redraw(); });
  click("far", () => { player.bird.zoom(1.4); player.redraw(); });
  click("help-open", () => by("help").showModal());
  click("boxes", (e) => player.choose(player.boxes.hit(e, player.frame)));
  click("bird", (e) => player.choose(player.bird.hit(e, player.frame)));
  by("all-boxes").addEventListener("change", (e) => { player.boxes.all = e.target.checked; player.redraw(); });
  for (const rate of RATES) by("rate").append(element("option", `${rate}×`, { value: rate }));
  by("rate").value = "1";
  by("rate").addEventListener("change", () => player.setRate(Number(by("rate").value)));
}

const KEYS = {
  " ": (p) => p.toggle(),
  ArrowLeft: (p, e) => (e.shiftKey ? p.skip(-1) : p.step(-1)),
  ArrowRight: (p, e) => (e.shiftKey ? p.skip(1) : p.step(1)),
  Home: (p) => p.go(0),
  End: (p) => p.go(p.run.frames - 1),
  n: (p) => p.event(1),
  p: (p) => p.event(-1),
  "<": (p) => p.faster(-1),
  ">": (p) => p.faster(1),
  b: () => by("all-boxes").click(),
  "+": (p) => p.zoom(0.5),
  "-": (p) => p.zoom(2),
  0: (p) => p.zoom(Infinity),
  Escape: (p) => p.choose(null),
  "?": () => by("help").showModal(),
};

function listenKeys(player) {
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || by("help").open || e.target.closest?.("select")) return;
    const act = KEYS[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (!act) return;
    e.preventDefault();
    act(player, e);
  });
  // the space bar plays, whatever was clicked last
  document.addEventListener("keyup", (e) => { if (e.key === " " && e.target.closest?.("button, input")) e.preventDefault(); });
}

/** Frame that the address asks for by its index in the source, or the first. */
function frameOfAddress(run) {
  const match = /(?:^#|&)frame=(\d{1,9})(?:&|$)/.exec(location.hash);
  return match ? placeOf(run.index, Number(match[1])) : 0;
}

async function begin() {
  if (!window.DecompressionStream) throw new Error("it needs a browser of 2023 or later");
  const run = await readRun(), player = new Player(run);
  listenButtons(player);
  listenTimeline(player);
  listenKeys(player);
  new ResizeObserver(() => player.resize()).observe(document.querySelector("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette.values.clear(); player.resize(); });
  player.go(frameOfAddress(run));
  player.resize();
  window.addEventListener("hashchange", () => player.go(frameOfAddress(run)));
  document.documentElement.dataset.ready = "page";
  const address = embeddedVideo() ?? by("video").dataset.src;
  if (address) player.useVideo(address);
}

begin().catch((error) => {
  by("notice").textContent = `This page cannot be shown: ${error.message}.`;
  by("notice").hidden = false;
  throw error;
});
