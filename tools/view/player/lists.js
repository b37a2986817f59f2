// The lists beside the pictures: tracks, events, this frame's figures and the run's.

/** The table of tracks; its rows are kept from frame to frame. */
class TrackTable {
  constructor(run, choose) {
    Object.assign(this, { run, choose, key: "distance", down: false, rows: [] });
    this.body = document.querySelector("#tracks tbody");
    this.heads = [...document.querySelectorAll("#tracks th")];
    for (const head of this.heads) head.firstElementChild.addEventListener("click", () => this.sortBy(head.dataset.key));
    this.body.addEventListener("click", (e) => this.pick(e.target.closest("tr")));
    this.body.addEventListener("keydown", (e) => {
      if (e.key === "Enter") this.pick(e.target.closest("tr"));
      const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[e.key];
      const row = next && e.target.closest("tr")?.[next];
      if (row && !row.hidden) { row.focus(); e.preventDefault(); e.stopPropagation(); }
    });
    this.mark();
  }

  pick(row) { if (row) this.choose(row.trackId === this.chosen ? null : row.trackId); }

  sortBy(key) {
    this.down = key === this.key ? !this.down : ["score", "age", "since"].includes(key);
    this.key = key;
    this.mark();
    this.show(this.frame, this.chosen);
  }

  mark() {
    for (const head of this.heads) {
      if (head.dataset.key === this.key) head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  show(k, chosen) {
    Object.assign(this, { frame: k, chosen });
    const run = this.run, found = [];
    for (let t = run.track_start[k]; t < run.track_start[k + 1]; t++) found.push(trackAt(run, t));
    const key = this.key, sign = this.down ? -1 : 1;
    found.sort((a, b) => {
      if (a[key] === null || b[key] === null) return (a[key] === null) - (b[key] === null) || a.id - b.id;
      return sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a.id - b.id;
    });
    while (this.rows.length < found.length) this.rows.push(this.newRow());
    this.rows.forEach((row, i) => this.fill(row, found[i], chosen));
    const placed = found.filter((o) => o.distance !== null).length;
    by("track-note").textContent = found.length ? `${found.length} in this frame, ${placed} with a place on the ground` : "none in this frame";
  }

  newRow() {
    const row = element("tr", "", { tabindex: "0" });
    for (let i = 0; i < 10; i++) row.append(element("td"));
    row.children[1].className = "word";
    row.children[1].append(element("i"), document.createTextNode(""));
    this.body.append(row);
    return row;
  }

  fill(row, o, chosen) {
    row.hidden = !o;
    if (!o) return;
    row.trackId = o.id;
    row.setAttribute("aria-selected", o.id === chosen);
    row.className = o.since > 0.05 ? "unseen" : "";
    const cells = row.children, put = (i, text) => { if (cells[i].textContent !== text) cells[i].textContent = text; };
    put(0, String(o.id));
    cells[1].firstChild.style.setProperty("--dot", `var(${classColour(this.run, o.t)})`);
    cells[1].lastChild.data = o.name;
    put(2, fixed(o.score, 2));
    [o.distance, o.ahead, o.left, o.vx, o.vy, o.age].forEach((v, i) => put(3 + i, fixed(v, 1)));
    put(9, o.since > 0.0005 ? fixed(o.since, 2) : "");
  }
}

const EVENT_PX = 30;

/** The list of events: only the rows in sight are there, for runs with many thousands. */
class EventList {
  constructor(run, go) {
    Object.assign(this, { run, go, box: by("event-list"), room: by("event-room"), frame: -1 });
    this.kinds = new Set([0, 1, 2, 3, 4]);
    this.pool = [];
    const counts = new Array(KINDS.length).fill(0);
    for (const kind of run.event_kind) counts[kind]++;
    this.buildFilters(counts);
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    this.select();
  }

  buildFilters(counts) {
    KIND_NAMES.forEach((name, kind) => {
      if (!counts[kind]) return;
      const chip = element("button", "", { type: "button", "aria-pressed": this.kinds.has(kind), title: `Show ${name}` });
      chip.append(element("i", "", { dot: KIND_COLOURS[kind] }), name, element("b", String(counts[kind])));
      chip.addEventListener("click", () => {
        if (!this.kinds.delete(kind)) this.kinds.add(kind);
        chip.setAttribute("aria-pressed", this.kinds.has(kind));
        this.select();
        this.show(this.frame, true);
      });
      by("filters").append(chip);
    });
  }

  select() {
    this.chosen = [...this.run.event_kind.keys()].filter((e) => this.kinds.has(this.run.event_kind[e]));
    this.at = this.chosen.map((e) => this.run.event_frame[e]);
    this.room.style.height = `${this.chosen.length * EVENT_PX}px`;
    this.room.classList.toggle("none", !this.chosen.length);
    if (!this.none) { this.none = element("p", "Nothing of the chosen kinds happened in this run.", { class: "empty" }); this.room.append(this.none); }
    this.none.hidden = this.chosen.length > 0;
    this.draw();
  }

  /** Frame of the next or previous event, or null. */
  neighbour(k, way) {
    if (!this.at.length) return null;
    let i = placeOf(this.at, k);
    if (way > 0) { if (this.at[i] <= k) i++; } else { while (i >= 0 && this.at[i] >= k) i--; }
    return this.at[i] ?? null;
  }

  show(k, force = false) {
    if (k === this.frame && !force) return;
    this.frame = k;
    const i = this.at.length && this.at[0] <= k ? placeOf(this.at, k) : -1;
    if (i !== this.now || force) {
      this.now = i;
      const top = Math.max(i, 0) * EVENT_PX, box = this.box;
      if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - EVENT_PX) {
        box.scrollTop = Math.max(top - box.clientHeight / 2, 0);
      }
      this.draw();
    }
  }

  draw() {
    const run = this.run, first = Math.max(Math.floor(this.box.scrollTop / EVENT_PX) - 2, 0);
    const count = Math.min(Math.ceil(this.box.clientHeight / EVENT_PX) + 4, this.chosen.length - first);
    while (this.pool.length < count) {
      const row = element("button", "", { type: "button", class: "event", role: "listitem" });
      row.append(element("span", "", { class: "at" }), element("i"), element("span", "", { class: "what" }));
      row.addEventListener("click", () => this.go(row.frame));
      this.room.append(row);
      this.pool.push(row);
    }
    this.pool.forEach((row, n) => {
      row.hidden = n >= count;
      if (row.hidden) return;
      const i = first + n, e = this.chosen[i], [at, dot, what] = row.children;
      row.frame = run.event_frame[e];
      row.style.top = `${i * EVENT_PX}px`;
      row.classList.toggle("now", i === this.now);
      at.textContent = clockText(run.t_ms[row.frame], 2);
      dot.style.setProperty("--dot", `var(${eventColour(run, e)})`);
      what.textContent = row.title = run.texts[run.event_text[e]];
    });
  }
}

/** An event's colour: a new status has the status's own. */
function eventColour(run, e) {
  const kind = run.event_kind[e];
  return kind < 2 ? statusColour(run.texts[run.status[run.event_frame[e]]]) : KIND_COLOURS[kind];
}

/** Chips that choose the stages drawn; those beside the stack are off at first. */
function stageChips(run, chosen, changed) {
  return run.stages.map((name, k) => {
    const chip = element("button", "", { type: "button", "aria-pressed": chosen.has(k) });
    if (run.beside.includes(name)) chip.title = "runs beside the stack: not counted against the budget";
    const value = element("b", "", { class: "num" });
    chip.append(element("i", "", { dot: stageColour(run, k) }), name, value);
    chip.addEventListener("click", () => {
      if (!chosen.delete(k)) chosen.add(k);
      chip.setAttribute("aria-pressed", chosen.has(k));
      changed();
    });
    by("stages").append(chip);
    return value;
  });
}

/** Bars of this frame's stages against the frame's time. */
class FrameFigures {
  constructor(run) {
    this.run = run;
    this.bars = run.stages.map((name, k) => {
      const bar = element("div", "", { class: "bar" }), fill = element("i", "", { dot: stageColour(run, k) });
      const value = element("span", "", { class: "num" });
      bar.append(fill);
      by("bars").append(element("span", name), bar, value);
      return [fill, value];
    });
    this.cells = new Map();
    const camera = by("camera");
    const names = ["Camera", "Focal length", "Horizon", "Height", "Pitch", "Yaw", "Own speed", "Own turning", "Drivable", "Lane lines", "Detections", "Skipped"];
    for (const name of names) {
      const cell = element("dd");
      camera.append(element("dt", name), cell);
      this.cells.set(name, cell);
    }
  }

  show(k) {
    const run = this.run, f = (name, digits = 1) => fixed(run[name][k], digits);
    const whole = Math.max(run.period_ms ?? 0, ...run.ms.map((ms) => ms[k] || 0), 1e-6);
    this.bars.forEach(([fill, value], s) => {
      fill.style.width = `${(100 * (run.ms[s][k] || 0)) / whole}%`;
      value.textContent = `${fixed(run.ms[s][k], 1)} ms`;
    });
    const degrees = (v) => fixed((v * 180) / Math.PI, 2);
    const spread = (std, text, unit) => `${Number.isFinite(std) ? ` ± ${text(std)}` : ""}${unit}`;
    const angle = (name) => `${degrees(run[`${name}_rad`][k])}${spread(run[`${name}_std_rad`][k], degrees, "°")}`;
    const own = (name, std, text, unit) => (Number.isFinite(run[name][k]) ? text(run[name][k]) + spread(run[std][k], text, unit) : "not known");
    const share = (name) => `${fixed(run[name][k] * 100, 1)} % of the picture`;
    const texts = {
      Camera: run.texts[run.camera_source[k]] || "–", "Focal length": `${f("focal_px", 0)} px`,
      Horizon: `row ${f("horizon_row_px")}`, Height: `${f("height_m", 2)} m`, Pitch: angle("pitch"), Yaw: angle("yaw"),
      "Own speed": own("own_speed_mps", "own_speed_std_mps", (v) => fixed(v * 3.6, 0), " km/h"),
      "Own turning": own("own_yaw_rate_radps", "own_yaw_rate_std_radps", (v) => fixed((v * 180) / Math.PI, 1), "°/s"),
      Drivable: share("drivable_share"), "Lane lines": share("lane_share"),
      Detections: String(run.detections[k]), Skipped: run.skipped[k] ? `${run.skipped[k]} frames before this one` : "none",
    };
    for (const [name, text] of Object.entries(texts)) this.cells.get(name).textContent = text;
  }
}

/** The summary's facts; what it does not have is left out. */
function showRun(run) {
  const s = run.summary, list = by("run");
  const add = (name, value) => {
    if (value === undefined || value === null || value === "" || value !== value) return;
    const pair = element("div");
    pair.append(element("dt", name), element("dd", String(value)));
    list.append(pair);
  };
  const pairs = (o) => Object.entries(o ?? {}).map(([k, v]) => `${v} ${k.replaceAll("_", " ")}`).join(", ");
  const model = s.model ?? {};
  add("Source", s.source);
  add("Times", s.times);
  add("Frames", `${run.frames} of ${s.width_px} × ${s.height_px} px`);
  if (s.frames_per_second) add("Replayed at", `${s.frames_per_second} frames/s, ${s.threads} threads`);
  add("Hardware", s.hardware);
  add("Model", [model.name, Array.isArray(model.size) ? model.size.join("×") : "", model.precision].filter(Boolean).join(", "));
  add("SHA-256", model.sha256 ? `${String(model.sha256).slice(0, 16)}…` : "");
  if (s.detector) add("Detector", s.detector.name ?? JSON.stringify(s.detector));
  add("Plans", pairs(s.plans));
  add("Tracks", `${s.tracks ?? "–"}: ${pairs(s.tracks_by_class)}`);
  add(s.realtime ? "Late frames" : "Over budget", s.deadlines_missed);
  if (s.frames_with_faults) add("With faults", `${s.frames_with_faults} frames`);
  for (const text of Array.isArray(s.warnings) ? s.warnings : []) add("Warning", text);
  add("Versions", Object.entries(s.versions ?? {}).map(([k, v]) => `${k} ${v}`).join(", "));
}
