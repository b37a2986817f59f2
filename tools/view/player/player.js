// The player: one frame is shown everywhere at once, led by the video or by a clock of its own.

const RATES = [0.1, 0.25, 0.5, 1, 2, 4, 8];

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
      this.boxes.note = "No video";
      this.resize();
      if (!(this.lead instanceof VideoLead)) return this.tell("This browser cannot play the run's video; its boxes are shown in its place.");
      this.tell("The video broke off; its boxes are shown in its place.");
      video.hidden = this.boxes.bare = true;
      this.lead = new ClockLead(run, (k) => this.show(k));
      this.go(this.frame);
    });
    this.boxes.note = "The video is loading";
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
    by("late").hidden = !(run.summary.realtime && run.late[k]);
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
