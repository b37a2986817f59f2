// The timeline: lanes over time, drawn once for each span, and marks that move over them.

const LEFT = 92, RIGHT = 66; // room for names and for the values of the frame
const STATUS = { OK: "--ok", BLOCKED: "--blocked" };
const KIND_COLOURS = ["--blocked", "--blocked", "--fault", "--stop", "--s1", "--accent"];
const statusColour = (status) => (Object.hasOwn(STATUS, status) ? STATUS[status] : "--bad");

class Timeline {
  constructor(run, chosenStages) {
    Object.assign(this, { run, box: by("timeline"), lanes: by("lanes"), marks: by("marks"), stages: chosenStages });
    this.start = run.t_ms[0];
    this.span = this.full = Math.max(run.end_ms - this.start, 1);
    this.rows = this.layout();
    const last = this.rows[this.rows.length - 1];
    this.bottom = last.top + last.height;
    this.box.style.setProperty("--lanes", `${this.bottom + 20}px`);
    this.box.setAttribute("aria-valuemax", run.frames - 1);
    this.width = Math.max(this.box.clientWidth - LEFT - RIGHT, 10);
    this.births = new Uint16Array(run.frames);
    run.event_kind.forEach((kind, e) => { if (kind === 5) this.births[run.event_frame[e]]++; });
  }

  layout() {
    const run = this.run, rows = [];
    const add = (name, height, gap = 7) => {
      const top = rows.length ? rows[rows.length - 1].top + rows[rows.length - 1].height + gap : 8;
      rows.push({ name, top, height });
    };
    add("Plan", 13); add("Events", 13); add("New tracks", 13); add("Collision", 26); add("Speed", 30);
    if (run.stages.length) add("Stages", 66, 9);
    return rows;
  }

  row(name) { return this.rows.find((r) => r.name === name); }

  x(ms) { return LEFT + ((ms - this.start) / this.span) * this.width; }

  ms(x) { return this.start + ((x - LEFT) / this.width) * this.span; }

  /** Frame under a pointer. */
  frameAt(event) {
    const x = event.clientX - this.box.getBoundingClientRect().left;
    return placeOf(this.run.t_ms, this.ms(x));
  }

  /** Show a span about a time; true when it changed. */
  zoom(factor, ms) {
    const least = Math.min(this.full, 20 * (this.run.period_ms ?? 100));
    const span = Math.min(Math.max(this.span * factor, least), this.full);
    const share = (ms - this.start) / this.span;
    this.span = span;
    this.moveTo(ms - share * span);
  }

  moveTo(start) {
    const first = this.run.t_ms[0];
    this.start = Math.min(Math.max(start, first), first + this.full - this.span);
    this.drawLanes();
  }

  /** Keep a time in view. */
  follow(ms) {
    if (ms < this.start || ms > this.start + this.span) this.moveTo(ms - 0.1 * this.span);
  }

  visible() {
    const run = this.run;
    return [Math.max(placeOf(run.t_ms, this.start) - 1, 0), Math.min(placeOf(run.t_ms, this.start + this.span) + 2, run.frames)];
  }

  drawLanes() {
    const { g, width, height } = context(this.lanes);
    this.width = Math.max(width - LEFT - RIGHT, 10);
    const [from, end] = this.visible();
    this.drawAxis(g, height);
    g.font = `12px ${FONT}`; g.textBaseline = "middle"; g.textAlign = "left";
    for (const r of this.rows) {
      g.fillStyle = palette.get("--soft"); g.fillRect(LEFT, r.top, this.width, r.height);
      g.fillStyle = palette.get("--dim"); g.fillText(r.name, 0, r.top + Math.min(r.height / 2, 13));
    }
    g.save(); g.beginPath(); g.rect(LEFT, 0, this.width, height); g.clip();
    this.drawStatus(g, from, end);
    this.drawEvents(g);
    this.drawBirths(g, from, end);
    this.drawCollision(g, from, end);
    this.drawSpeed(g, from, end);
    if (this.run.stages.length) this.drawStages(g, from, end);
    g.restore();
    this.drawScales(g);
  }

  drawAxis(g, height) {
    const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
    const step = (steps.find((s) => ((s * 1e3) / this.span) * this.width > 78) ?? 7200) * 1e3;
    g.font = `11px ${FONT}`; g.textAlign = "center"; g.textBaseline = "top"; g.lineWidth = 1;
    const digits = step >= 1000 ? 0 : step >= 100 ? 1 : 2;
    for (let n = Math.ceil(this.start / step); n * step <= this.start + this.span; n++) {
      const x = Math.round(this.x(n * step)) + 0.5;
      g.strokeStyle = palette.get("--line"); g.beginPath(); g.moveTo(x, 4); g.lineTo(x, height - 16); g.stroke();
      g.fillStyle = palette.get("--dim"); g.fillText(clockText(n * step + 0.01, digits), x, height - 14);
    }
  }

  drawStatus(g, from, end) {
    const run = this.run, r = this.row("Plan");
    for (let k = from; k < end;) {
      const status = run.status[k], begin = k;
      while (k < end && run.status[k] === status) k++;
      const a = this.x(run.t_ms[begin]), b = this.x(k < run.frames ? run.t_ms[k] : run.end_ms);
      g.fillStyle = palette.get(statusColour(run.texts[status]));
      g.fillRect(a, r.top, Math.max(b - a, 1), r.height);
    }
  }

  /** Places of events but births: a line for how long, a mark where each begins. */
  drawEvents(g) {
    const run = this.run, r = this.row("Events"), y = r.top + r.height / 2;
    const seen = new Set(); // of marks that would lie on each other
    const first = this.start - 20, last = this.start + this.span;
    for (let e = 0; e < run.event_frame.length; e++) {
      const kind = run.event_kind[e];
      if (kind === 5) continue;
      const a = run.t_ms[run.event_frame[e]], stop = run.event_end[e];
      const b = stop < run.frames ? run.t_ms[stop] : run.end_ms;
      if (b < first || a > last) continue;
      const x = Math.round(this.x(a)), key = x * 8 + kind;
      if (seen.has(key)) continue;
      seen.add(key);
      g.fillStyle = palette.get(KIND_COLOURS[kind]);
      if (kind === 2 || kind === 3) { g.globalAlpha = 0.3; g.fillRect(x, r.top, this.x(b) - x, r.height); g.globalAlpha = 1; }
      g.beginPath(); g.moveTo(x, y - 5); g.lineTo(x + 4, y); g.lineTo(x, y + 5); g.lineTo(x - 4, y); g.fill();
    }
  }

  drawBirths(g, from, end) {
    const run = this.run, r = this.row("New tracks");
    g.fillStyle = palette.get("--accent");
    let column = -1, count = 0;
    const put = () => {
      if (!count) return;
      const h = Math.min(4 + count * 3, r.height);
      g.fillRect(column - 1, r.top + r.height - h, 2, h);
    };
    for (let k = from; k < end; k++) {
      const x = Math.round(this.x(run.t_ms[k]));
      if (x !== column) { put(); column = x; count = 0; }
      count += this.births[k];
    }
    put();
  }

  /** Columns of a lane: the least and greatest value in each pixel, so that no peak is lost. */
  columns(values, from, end, put) {
    const run = this.run;
    let column = null, low = NaN, high = NaN;
    const flush = () => { if (high === high) put(column, low, high); };
    const { start, span, width } = this;
    for (let k = from; k < end; k++) {
      const x = Math.floor(LEFT + ((run.t_ms[k] - start) / span) * width), value = values[k];
      if (x !== column) { flush(); column = x; low = high = NaN; }
      if (Number.isFinite(value)) { low = low <= value ? low : value; high = high >= value ? high : value; }
    }
    flush();
  }

  frameWidth() {
    return Math.max(((this.run.period_ms ?? 100) / this.span) * this.width, 1);
  }

  drawCollision(g, from, end) {
    const run = this.run, r = this.row("Collision"), wide = this.frameWidth();
    const y = (s) => r.top + Math.min(s / run.horizon_s, 1) * r.height;
    // bars hang from the floor: the nearer, the taller
    this.columns(run.ttc_s, from, end, (x, low) => {
      g.fillStyle = palette.get(low < run.limit_s ? "--stop" : "--blocked");
      const top = y(low);
      g.fillRect(x, top, Math.ceil(wide), Math.max(r.top + r.height - top, 2));
    });
    this.rule(g, y(run.limit_s), "--dim");
  }

  rule(g, y, colour) {
    g.strokeStyle = palette.get(colour); g.lineWidth = 1; g.setLineDash([4, 3]);
    g.beginPath(); g.moveTo(LEFT, Math.round(y) + 0.5); g.lineTo(LEFT + this.width, Math.round(y) + 0.5); g.stroke();
    g.setLineDash([]);
  }

  topSpeed() {
    if (!this.fastest) {
      let top = 5;
      for (const values of [this.run.own_mps, this.run.target_mps]) for (const v of values) if (v > top) top = v;
      this.fastest = Math.ceil((top * 3.6) / 10) * 10;
    }
    return this.fastest;
  }

  drawSpeed(g, from, end) {
    const run = this.run, r = this.row("Speed"), scale = (r.height - 2) / this.topSpeed();
    for (const [values, colour, width] of [[run.own_mps, "--faint", 1.2], [run.target_mps, "--path", 1.8]]) {
      g.strokeStyle = palette.get(colour); g.lineWidth = width; g.lineJoin = "round"; g.beginPath();
      let pen = false, before = null;
      this.columns(values, from, end, (x, low, high) => {
        const a = r.top + r.height - 1 - high * 3.6 * scale, b = r.top + r.height - 1 - low * 3.6 * scale;
        if (pen && x - before <= 2 * this.frameWidth() + 2) g.lineTo(x, a); else g.moveTo(x, a);
        if (b !== a) g.lineTo(x, b);
        pen = true; before = x;
      });
      g.stroke();
    }
  }

  /** The stages shown, those within the frame's time first. */
  shown() { return this.run.stages.map((_, k) => k).filter((k) => this.stages.has(k)); }

  /** The top of the scale: the budget stays in sight, and single long frames do not set it. */
  topMs() {
    const run = this.run, shown = this.shown(), key = shown.join();
    if (this.topKey !== key) {
      const sums = new Float64Array(run.frames);
      for (let k = 0; k < run.frames; k++) for (const s of shown) sums[k] += run.ms[s][k] || 0;
      sums.sort();
      this.topKey = key;
      this.top = Math.max(sums[Math.floor(0.98 * (run.frames - 1))] * 1.15, (run.period_ms ?? 0) * 1.25, 1);
    }
    return this.top;
  }

  drawStages(g, from, end) {
    const run = this.run, r = this.row("Stages"), scale = r.height / this.topMs();
    const shown = this.shown(), wide = this.frameWidth();
    const colours = shown.map((s) => palette.get(stageColour(run, s)));
    // the longest frame of each pixel, so that no late one hides
    let column = null, worst = -1, most = -1;
    const put = () => {
      let y = r.top + r.height;
      for (let i = 0; i < shown.length && y > r.top; i++) {
        const h = Math.min((run.ms[shown[i]][worst] || 0) * scale, y - r.top);
        g.fillStyle = colours[i]; g.fillRect(column, y - h, Math.max(Math.ceil(wide) - (wide > 5 ? 1 : 0), 1), h);
        y -= h;
      }
    };
    for (let k = from; k < end; k++) {
      const x = Math.floor(this.x(run.t_ms[k]));
      let sum = 0;
      for (const s of shown) sum += run.ms[s][k] || 0;
      if (x !== column) { if (worst >= 0) put(); column = x; most = -1; }
      if (sum > most) { most = sum; worst = k; }
    }
    if (worst >= 0) put();
    if (run.period_ms) this.rule(g, r.top + r.height - run.period_ms * scale, "--ink");
  }

  drawScales(g) {
    const run = this.run;
    g.font = `11px ${FONT}`; g.textBaseline = "middle"; g.textAlign = "left"; g.fillStyle = palette.get("--faint");
    const speed = this.row("Speed"), stages = this.row("Stages");
    g.fillText("km/h", 0, speed.top + 26);
    if (stages) {
      g.fillText("ms a frame", 0, stages.top + 29);
      if (run.period_ms) {
        g.fillText("budget", 0, stages.top + 45); g.fillText(`${fixed(run.period_ms, 1)} ms`, 0, stages.top + 58);
      }
    }
  }

  /** What moves: the frame's line, its values and the chosen track's life. */
  drawMarks(k, chosen, hover) {
    const { g } = context(this.marks), run = this.run, x = this.x(run.t_ms[k]);
    if (chosen !== null) this.drawLife(g, chosen);
    if (hover !== null) {
      g.fillStyle = palette.get("--faint"); g.fillRect(Math.round(this.x(run.t_ms[hover])), 4, 1, this.bottom);
    }
    if (x >= LEFT - 1 && x <= LEFT + this.width + 1) {
      g.fillStyle = palette.get("--accent"); g.fillRect(Math.round(x) - 1, 4, 2, this.bottom - 2);
      g.beginPath(); g.moveTo(x - 5, 0); g.lineTo(x + 5, 0); g.lineTo(x, 8); g.fill();
    }
    g.font = `600 12px ${FONT}`; g.textAlign = "left"; g.textBaseline = "middle";
    const at = LEFT + this.width + 8;
    const value = (name, text, colour = "--ink") => {
      const r = this.row(name);
      g.fillStyle = palette.get(colour); g.fillText(text, at, r.top + Math.min(r.height / 2, 15));
    };
    const ttc = run.ttc_s[k];
    value("Collision", ttcText(run, k, " s"), Number.isFinite(ttc) ? (ttc < run.limit_s ? "--fault" : "--ink") : "--faint");
    value("Speed", `${Math.round(run.target_mps[k] * 3.6)} km/h`);
    if (run.stages.length) {
      let sum = 0;
      for (const s of this.shown()) sum += run.ms[s][k] || 0;
      value("Stages", `${fixed(sum, sum < 100 ? 1 : 0)} ms`, run.late[k] ? "--fault" : "--ink");
    }
  }

  drawLife(g, id) {
    const run = this.run, r = this.row("New tracks");
    if (this.lifeId !== id) { this.lifeId = id; this.life = lifeOf(run, id); }
    const [a, b] = this.life;
    g.save(); g.beginPath(); g.rect(LEFT, 0, this.width, this.bottom); g.clip();
    g.fillStyle = palette.get("--accent"); g.globalAlpha = 0.3;
    g.fillRect(this.x(run.t_ms[a]), r.top, this.x(run.t_ms[b]) - this.x(run.t_ms[a]) + this.frameWidth(), r.height);
    g.restore();
  }
}

/** Time to collision: none within its horizon, or no plan to tell it of. */
function ttcText(run, k, unit = "") {
  const ttc = run.ttc_s[k];
  return ttc !== ttc ? "–" : Number.isFinite(ttc) ? `${ttc.toFixed(1)}${unit}` : `> ${run.horizon_s}${unit}`;
}

/** First and last frame of a track. */
function lifeOf(run, id) {
  let first = run.frames - 1, last = 0;
  for (let t = 0; t < run.track_id.length; t++) {
    if (run.track_id[t] !== id) continue;
    const k = placeOf(run.track_start, t, run.frames);
    first = Math.min(first, k); last = Math.max(last, k);
  }
  return [first, last];
}

/** Colour of a stage: those beside the stack are grey. */
function stageColour(run, k) {
  const inside = run.stages.filter((n) => !run.beside.includes(n));
  const at = inside.indexOf(run.stages[k]);
  return at >= 0 ? `--s${at % 6}` : `--s${6 + (run.beside.indexOf(run.stages[k]) % 2)}`;
}
