// The player: one frame is shown everywhere at once, led by the video or by a clock of its own.

const RATES = [0.1, 0.25, 0.5, 1, 2, 4, 8];

/** Leads by the video: the frame shown is that whose picture is on the screen. */
class VideoLead {
  constructor(run, video, show) {
    Object.assign(this, { run, video, show, wanted: null });
    if (video.requestVideoFrameCallback) {
      const told = (_, about) => {
        if (this.wanted === null) show(frameNearest(run, about.mediaTime));
        video.requestVideoFrameCallback(told);
      };
      video.requestVideoFrameCallback(told);
    } else {
      const look = () => {
        if (!video.paused && this.wanted === null) show(placeOf(run.video_s, video.currentTime + 1e-4));
        requestAnimationFrame(look);
      };
      look();
    }
    video.addEventListener("seeked", () => this.arrived());
  }

  get playing() { return !this.video.paused && !this.video.ended; }

  play() { this.video.play().catch(() => {}); }

  pause() { this.video.pause(); }

  set rate(rate) { this.video.playbackRate = rate; }

  /** One seek at a time; the newest wish is taken when it is done. */
  seek(k) {
    const idle = this.wanted === null || !this.video.seeking;
    this.wanted = k;
    if (idle) this.video.currentTime = this.asked = seekTime(this.run, k);
  }

  arrived() {
    if (this.wanted === null) return;
    if (this.asked !== seekTime(this.run, this.wanted)) return this.seek(this.wanted);
    const k = this.wanted;
    this.wanted = null;
    this.show(k);
  }
}

/** Leads by time, where there is no video. */
class ClockLead {
  constructor(run, show) {
    Object.assign(this, { run, show, playing: false, speed: 1, frame: 0 });
  }

  play() {
    if (this.playing) return;
    this.playing = true;
    this.time = this.run.t_ms[this.frame];
    let before = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      this.time += Math.max(now - before, 0) * this.speed;
      before = now;
      if (this.time >= this.run.end_ms) this.playing = false;
      this.frame = placeOf(this.run.t_ms, this.time);
      this.show(this.frame);
      if (this.playing) requestAnimationFrame(tick); else this.ended?.();
    };
    requestAnimationFrame(tick);
  }

  pause() { this.playing = false; }

  set rate(rate) { this.speed = rate; }

  seek(k) {
    this.frame = k;
    this.time = this.run.t_ms[k];
    this.show(k);
  }
}

class Player {
  constructor(run) {
    this.run = run;
    this.frame = -1;
    this.target = 0; // where the user has asked to be: the video may come later
    this.chosen = this.hover = null;
    const inside = run.stages.map((n, k) => [n, k]).filter(([n]) => !run.beside.includes(n));
    this.stages = new Set(inside.map(([, k]) => k));
    this.boxes = new Boxes(by("boxes"), run);
    this.bird = new Bird(by("bird"), run);
    this.timeline = new Timeline(run, this.stages);
    this.table = new TrackTable(run, (id) => this.choose(id));
    this.events = new EventList(run, (k) => this.go(k));
    this.figures = new FrameFigures(run);
    this.chips = stageChips(run, this.stages, () => { this.timeline.drawLanes(); this.redraw(); });
    this.lead = new ClockLead(run, (k) => this.show(k));
    this.lead.ended = () => this.markPlaying();
    this.head();
    this.setRatio(run.video_px ?? run.size_px);
  }

  head() {
    const run = this.run, s = run.summary;
    by("source").textContent = run.name;
    by("source").title = String(s.source ?? "");
    const facts = [s.source, `${run.frames} frames`, lengthText(run.end_ms - run.t_ms[0])];
    if (run.period_ms) facts.push(`${fixed(1e3 / run.period_ms, 1)} frames/s`);
    facts.push(`${s.width_px} × ${s.height_px}`, s.model?.name ? `model ${s.model.name}` : "");
    by("facts").textContent = facts.filter(Boolean).join("  ·  ");
    by("duration").textContent = clockText(run.t_ms[run.frames - 1]);
    for (let c = 0; c < run.classes.length; c++) {
      if (!run.class_id.includes(c)) continue;
      const key = element("span", run.classes[c].replaceAll("_", " "));
      key.prepend(element("i", "", { dot: `--c${Math.min(c, 5)}` }));
      by("classes").append(key);
    }
    showRun(run);
  }

  setRatio([width, height]) {
    this.boxes.size = [width, height];
    document.documentElement.style.setProperty("--ratio", (width / height).toFixed(5));
  }

  /** The video takes the lead once it can be played; without one the clock keeps it. */
  useVideo(address) {
    const video = by("video"), run = this.run;
    video.addEventListener("loadedmetadata", () => {
      const k = this.target;
      this.lead.pause();
      this.boxes.bare = video.hidden = false;
      this.setRatio([video.videoWidth, video.videoHeight]);
      this.lead = new VideoLead(run, video, (n) => this.show(n));
      this.setRate(Number(by("rate").value));
      this.lead.seek(k);
      this.resize();
    }, { once: true });
    for (const name of ["play", "pause", "ended"]) video.addEventListener(name, () => this.markPlaying());
    video.addEventListener("error", () => {
      if (!(this.lead instanceof VideoLead)) return this.tell("This browser cannot play the run's video; its boxes are shown in its place.");
      this.tell("The video broke off; its boxes are shown in its place.");
      video.hidden = this.boxes.bare = true;
      this.lead = new ClockLead(run, (k) => this.show(k));
      this.go(this.frame);
    });
    video.src = address;
  }

  tell(text) {
    by("notice").textContent = text;
    by("notice").hidden = false;
  }

  // ---- what the user asks for

  go(k) {
    this.target = Math.min(Math.max(k, 0), this.run.frames - 1);
    this.timeline.follow(this.run.t_ms[this.target]);
    this.lead.seek(this.target);
  }

  step(count) {
    if (this.lead.playing) this.lead.pause();
    this.go(this.target + count);
  }

  skip(seconds) {
    const run = this.run, k = placeOf(run.t_ms, run.t_ms[this.target] + seconds * 1e3);
    this.go(k === this.target ? k + Math.sign(seconds) : k);
  }

  event(way) {
    const k = this.events.neighbour(this.target, way);
    if (k === null) return;
    this.lead.pause();
    this.go(k);
  }

  toggle() {
    if (this.lead.playing) this.lead.pause();
    else {
      if (this.frame === this.run.frames - 1) this.go(0);
      this.lead.play();
    }
    this.markPlaying();
  }

  markPlaying() {
    const on = this.lead.playing;
    by("play").classList.toggle("playing", on);
    by("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on && this.frame >= 0) history.replaceState(null, "", `#frame=${this.run.index[this.frame]}`);
  }

  setRate(rate) {
    by("rate").value = String(rate);
    this.lead.rate = rate;
  }

  faster(way) {
    const i = RATES.indexOf(Number(by("rate").value)) + way;
    if (RATES[i]) this.setRate(RATES[i]);
  }

  choose(id) {
    this.chosen = id;
    this.redraw();
  }

  zoom(factor) {
    this.timeline.zoom(factor, this.run.t_ms[this.frame]);
    this.redraw();
  }

  // ---- what is shown

  show(k) {
    if (k === this.frame) return;
    this.frame = k;
    if (this.lead.playing || !(this.lead instanceof VideoLead) || this.lead.wanted === null) this.target = k;
    this.timeline.follow(this.run.t_ms[k]);
    this.redraw();
    if (!this.lead.playing) this.markPlaying();
  }

  /** Draw the frame everywhere. */
  redraw() {
    const k = this.frame;
    if (k < 0) return;
    this.boxes.draw(k, this.chosen);
    this.bird.draw(k, this.chosen);
    this.timeline.drawMarks(k, this.chosen, this.hover);
    this.table.show(k, this.chosen);
    this.events.show(k);
    this.figures.show(k);
    this.showTexts(k);
    document.documentElement.dataset.frame = k;
  }

  showTexts(k) {
    const run = this.run, status = run.texts[run.status[k]], ttc = run.ttc_s[k];
    const put = (id, text) => { by(id).textContent = text; };
    put("time", clockText(run.t_ms[k]));
    put("frame", run.index[k]);
    put("position", `  (${k + 1} of ${run.frames})`);
    put("status", status.replaceAll("_", " "));
    by("status").dataset.status = status;
    put("reason", run.texts[run.reason[k]] || "way ahead is free");
    by("reason").title = run.texts[run.reason[k]];
    by("late").hidden = !run.late[k];
    put("target", Math.round(run.target_mps[k] * 3.6));
    put("length", fixed(run.length_m[k], 1));
    put("ttc", ttcText(run, k));
    by("ttc").closest("div").classList.toggle("alarm", ttc < run.limit_s);
    put("objects", run.track_start[k + 1] - run.track_start[k]);
    const faults = [];
    for (let f = run.fault_start[k]; f < run.fault_start[k + 1]; f++) faults.push(element("li", run.texts[run.fault[f]]));
    by("faults").replaceChildren(...faults);
    this.showTimes(k);
    by("timeline").setAttribute("aria-valuenow", k);
    by("timeline").setAttribute("aria-valuetext", `frame ${run.index[k]}, ${status}`);
  }

  showTimes(k) {
    const run = this.run;
    let sum = 0;
    run.stages.forEach((name, s) => {
      this.chips[s].textContent = fixed(run.ms[s][k], 1);
      if (!run.beside.includes(name)) sum += run.ms[s][k] || 0;
    });
    if (!run.stages.length) return;
    by("sum").textContent = `${fixed(sum, 1)}${run.period_ms ? ` of ${fixed(run.period_ms, 1)}` : ""} ms`;
    by("sum").classList.toggle("over", run.late[k] > 0);
  }

  resize() {
    this.timeline.drawLanes();
    document.documentElement.style.setProperty("--screen-height", `${by("screen").offsetHeight}px`);
    this.redraw();
  }
}

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
