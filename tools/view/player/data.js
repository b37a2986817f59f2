// Reading the run's block: a text and columns, see player_data.py.

const KINDS = ["status", "reason", "fault", "ttc", "late", "track"];
const KIND_NAMES = ["status", "reason", "faults", "collision", "late", "new tracks"];
const ARRAYS = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

const by = (id) => document.getElementById(id);

/** Bytes of base64 text. */
function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** The run: what the text says, its columns by name, and a few short hands. */
async function readRun() {
  const source = by("run-data");
  const packed = new Blob([bytesOf(source.textContent)]);
  source.remove();
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  const block = await new Response(stream).arrayBuffer();
  const length = new DataView(block).getUint32(0, true);
  const run = JSON.parse(new TextDecoder().decode(new Uint8Array(block, 4, length)));
  for (const [name, [kind, place, count]] of Object.entries(run.columns)) {
    run[name] = new ARRAYS[kind](block, 4 + length + place, count);
  }
  run.frames = run.t_ms.length;
  run.ms = run.stages.map((_, k) => run["stage_" + k]);
  // of a run without times, or of a single frame, a tenth of a second is as good as any
  run.end_ms = run.t_ms[run.frames - 1] + (run.period_ms ?? 100);
  return run;
}

/** An address of the video that the page holds in parts, or null. */
function embeddedVideo() {
  const parts = document.querySelectorAll(".video-part");
  if (!parts.length) return null;
  const blobs = [];
  for (const part of parts) {
    blobs.push(new Blob([bytesOf(part.textContent)]));
    part.remove();
  }
  return URL.createObjectURL(new Blob(blobs, { type: "video/mp4" }));
}

/** The last place of ascending values at or before x, 0 at least. */
function placeOf(values, x, count = values.length) {
  let low = 0, high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle] <= x) low = middle; else high = middle - 1;
  }
  return Math.max(low, 0);
}

/** The frame whose picture has the time nearest to s. */
function frameNearest(run, s) {
  const k = placeOf(run.video_s, s);
  return k + 1 < run.frames && run.video_s[k + 1] - s < s - run.video_s[k] ? k + 1 : k;
}

/** Where to seek to see frame k: well within its time, for players round. */
function seekTime(run, k) {
  const start = run.video_s[k];
  const end = k + 1 < run.frames ? run.video_s[k + 1] : start + (run.period_ms ?? 40) / 1e3;
  return start + Math.min((end - start) / 2, 0.25);
}

const className = (run, t) => run.classes[run.class_id[t]].replaceAll("_", " ");
const classColour = (run, t) => `--c${Math.min(run.class_id[t], 5)}`;
const known = (run, value) => value !== run.steps.unknown;

/** A track's figures; null for what is not known. */
function trackAt(run, t) {
  const m = (v) => (known(run, v) ? v * run.steps.m : null);
  const ahead = m(run.ahead[t]), left = m(run.left[t]);
  return {
    t, id: run.track_id[t], name: className(run, t), score: run.score[t],
    ahead, left, distance: ahead === null || left === null ? null : Math.hypot(ahead, left),
    vx: m(run.vx[t]), vy: m(run.vy[t]), aheadStd: m(run.ahead_std[t]), leftStd: m(run.left_std[t]),
    age: run.age_s[t], since: run.since_s[t],
  };
}

/** Row of the track with this id in frame k, or -1. */
function rowOf(run, k, id) {
  for (let t = run.track_start[k]; t < run.track_start[k + 1]; t++) if (run.track_id[t] === id) return t;
  return -1;
}

function boxOf(run, t) {
  const s = run.steps.box_px;
  return [run.x1[t] * s, run.y1[t] * s, run.x2[t] * s, run.y2[t] * s];
}

function clockText(ms, digits = 3) {
  const s = Math.max(ms, 0) / 1e3, whole = Math.floor(s / 60);
  const rest = (Math.floor((s - whole * 60) * 10 ** digits + 1e-6) / 10 ** digits).toFixed(digits);
  return `${whole}:${rest.padStart(digits ? digits + 3 : 2, "0")}`;
}

/** A length of time in words. */
function lengthText(ms) {
  const s = ms / 1e3;
  return s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
}

/** A number with a true minus sign, and none before a zero. */
function fixed(value, digits) {
  if (value === null || !Number.isFinite(value)) return "–";
  return value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

/** An element with text and attributes; text is never taken for markup. */
function element(tag, text = "", more = {}) {
  const e = document.createElement(tag);
  if (text !== "") e.textContent = text;
  for (const [name, value] of Object.entries(more)) {
    if (name === "dot") e.style.setProperty("--dot", `var(${value})`); else e.setAttribute(name, value);
  }
  return e;
}

/** Colours of the style sheet by name, read anew when the theme changes. */
const palette = {
  values: new Map(),
  get(name) {
    if (!this.values.has(name)) {
      this.values.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
    }
    return this.values.get(name);
  },
};

/** A canvas sized to its place on the screen: its context in CSS pixels, with width and height. */
function context(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

const FONT = 'system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif';
