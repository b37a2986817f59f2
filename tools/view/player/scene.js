// The scene of a frame: boxes over the picture, and objects and path from above.

const BEHIND_M = 7;
const SMALL_M = [0.5, 0.5]; // lights, signs and what has no size of its own

/** Boxes over the video, or on a bare picture where there is none. */
class Boxes {
  constructor(canvas, run) {
    Object.assign(this, { canvas, run, bare: true, note: "No video", all: false });
    this.size = run.size_px;
  }

  at(event) {
    const area = this.canvas.getBoundingClientRect();
    const scale = this.size[0] / area.width;
    return [(event.clientX - area.left) * scale, (event.clientY - area.top) * scale];
  }

  /** Id of the smallest box under the pointer, or null. */
  hit(event, k) {
    const [x, y] = this.at(event), run = this.run;
    let best = null, least = Infinity;
    for (let t = run.track_start[k]; t < run.track_start[k + 1]; t++) {
      const [x1, y1, x2, y2] = boxOf(run, t), area = (x2 - x1) * (y2 - y1);
      if (x >= x1 - 3 && x <= x2 + 3 && y >= y1 - 3 && y <= y2 + 3 && area < least) {
        best = run.track_id[t]; least = area;
      }
    }
    return best;
  }

  draw(k, chosen) {
    const { g, width } = context(this.canvas), run = this.run, scale = width / this.size[0];
    const taken = [], shown = [];
    if (this.bare) { this.drawNote(g); this.drawHorizon(g, k, scale, taken); }
    for (let t = run.track_start[k]; t < run.track_start[k + 1]; t++) {
      if (run.track_id[t] === chosen || this.bare || this.all) shown.push(t);
    }
    // far ones first, the chosen one last; texts the other way round
    shown.sort((a, b) => (run.track_id[a] === chosen) - (run.track_id[b] === chosen) || run.y2[a] - run.y2[b]);
    for (const t of shown) this.drawBox(g, t, scale, run.track_id[t] === chosen);
    for (const t of shown.reverse()) this.drawLabel(g, t, scale, run.track_id[t] === chosen, taken);
  }

  drawHorizon(g, k, scale, taken) {
    const y = this.run.horizon_row_px[k] * scale;
    if (!Number.isFinite(y)) return;
    g.strokeStyle = "#39424d"; g.setLineDash([6, 5]); g.lineWidth = 1;
    g.beginPath(); g.moveTo(0, y); g.lineTo(this.size[0] * scale, y); g.stroke(); g.setLineDash([]);
    g.fillStyle = "#77828f"; g.font = `12px ${FONT}`; g.textBaseline = "middle"; g.textAlign = "left";
    g.fillText("horizon", 8, y - 10);
    taken.push([8, y - 19, 60, y - 1]);
  }

  drawBox(g, t, scale, picked) {
    const run = this.run, [x1, y1, x2, y2] = boxOf(run, t).map((v) => v * scale);
    const colour = DARK[Math.min(run.class_id[t], 5)];
    g.lineWidth = picked ? 2.5 : 1.5;
    g.setLineDash(run.since_s[t] > 0.05 ? [6, 4] : []);
    if (picked) {
      g.strokeStyle = "rgb(0 0 0 / 65%)"; g.lineWidth = 6; g.strokeRect(x1, y1, x2 - x1, y2 - y1);
      g.strokeStyle = "#fff"; g.lineWidth = 2.5;
    } else g.strokeStyle = colour;
    g.strokeRect(x1, y1, x2 - x1, y2 - y1);
    g.setLineDash([]);
  }

  /** Why there is no picture. */
  drawNote(g) {
    g.fillStyle = "#77828f"; g.font = `12px ${FONT}`; g.textBaseline = "alphabetic"; g.textAlign = "left";
    g.fillText(`${this.note}: boxes as the record has them`, 10, this.canvas.clientHeight - 10);
  }

  /** The video has names of its own: only the chosen one is written over it. */
  drawLabel(g, t, scale, picked, taken) {
    if (!picked && !this.bare) return;
    const run = this.run, [x1, y1, , y2] = boxOf(run, t).map((v) => v * scale);
    const o = trackAt(run, t);
    const text = picked ? `#${o.id} ${o.name}${o.distance === null ? "" : ` ${o.distance.toFixed(1)} m`}` : `#${o.id}`;
    g.font = `600 12px ${FONT}`; g.textBaseline = "middle"; g.textAlign = "left";
    const wide = g.measureText(text).width + 10;
    const left = Math.min(Math.max(x1, 0), this.canvas.clientWidth - wide);
    const top = y1 - 20 >= 0 ? y1 - 20 : Math.min(y2 + 2, this.canvas.clientHeight - 20);
    if (!claim([left, top, left + wide, top + 18], taken) && !picked) return;
    g.fillStyle = picked ? "#fff" : "rgb(11 14 18 / 85%)"; g.fillRect(left, top, wide, 18);
    g.fillStyle = picked ? "#10151b" : DARK[Math.min(run.class_id[t], 5)]; g.fillText(text, left + 5, top + 9.5);
  }
}
// class colours as drawn in the video, for what lies on it in either theme
const DARK = ["#ff9f1c", "#ff4d7d", "#c77dff", "#2ee6d6", "#dce3ea", "#ffffff"];

/** Objects and path from above: forward is up, left is left. */
class Bird {
  constructor(canvas, run) {
    Object.assign(this, { canvas, run, ahead: 60 });
  }

  place(width, height) {
    const scale = height / (this.ahead + BEHIND_M);
    return (x, y) => [width / 2 - y * scale, height - (x + BEHIND_M) * scale];
  }

  zoom(factor) {
    this.ahead = Math.min(Math.max(this.ahead * factor, 15), 240);
  }

  hit(event, k) {
    const area = this.canvas.getBoundingClientRect(), run = this.run;
    const to = this.place(area.width, area.height);
    let best = null, least = 18;
    for (let t = run.track_start[k]; t < run.track_start[k + 1]; t++) {
      const o = trackAt(run, t);
      if (o.distance === null) continue;
      const [u, v] = to(o.ahead + this.sizeOf(o.name)[0] / 2, o.left);
      const far = Math.hypot(event.clientX - area.left - u, event.clientY - area.top - v);
      if (far < least) { least = far; best = o.id; }
    }
    return best;
  }

  sizeOf(name) {
    const key = name.replaceAll(" ", "_"), sizes = this.run.sizes_m;
    return Object.hasOwn(sizes, key) ? sizes[key] : SMALL_M;
  }

  draw(k, chosen) {
    const { g, width, height } = context(this.canvas);
    const view = { g, width, height, to: this.place(width, height), scale: height / (this.ahead + BEHIND_M) };
    g.fillStyle = palette.get("--bird"); g.fillRect(0, 0, width, height);
    this.drawCone(view, k);
    const taken = this.drawRings(view);
    this.drawPath(view, k, taken);
    this.drawOwn(view, taken);
    this.drawTracks(view, k, chosen, taken);
  }

  /** What the camera sees to its sides. */
  drawCone({ g, to }, k) {
    const run = this.run, focal = run.focal_px[k];
    if (!Number.isFinite(focal)) return;
    const half = Math.atan(run.size_px[0] / 2 / focal), yaw = run.yaw_rad[k] || 0, far = 600;
    g.fillStyle = palette.get("--road"); g.beginPath(); g.moveTo(...to(1.7, 0));
    for (const a of [yaw + half, yaw - half]) g.lineTo(...to(1.7 + far * Math.cos(a), far * Math.sin(a)));
    g.closePath(); g.fill();
  }

  drawRings({ g, width, to, scale }) {
    const step = this.ahead <= 20 ? 5 : this.ahead <= 45 ? 10 : this.ahead <= 110 ? 20 : 50;
    const [u, v] = to(0, 0), taken = [];
    g.strokeStyle = palette.get("--ring"); g.lineWidth = 1; g.font = `11px ${FONT}`;
    g.textAlign = "right"; g.textBaseline = "middle";
    for (let r = step; r < this.ahead * 1.4; r += step) {
      g.beginPath(); g.arc(u, v, r * scale, 0, 2 * Math.PI); g.stroke();
      const side = Math.min(width / 2 - 20, r * scale * 0.96);
      const y = v - Math.sqrt(Math.max((r * scale) ** 2 - side ** 2, 0));
      if (y < 8) continue;
      const box = [u + side - 30, y - 7, u + side + 14, y + 7];
      g.fillStyle = palette.get("--bird"); g.globalAlpha = 0.75;
      g.fillRect(box[0] + 4, box[1], 40, 14); g.globalAlpha = 1;
      g.fillStyle = palette.get("--dim"); g.fillText(`${r} m`, u + side + 12, y);
      taken.push(box);
    }
    return taken;
  }

  drawPath({ g, to, scale }, k, taken) {
    const run = this.run, from = run.point_start[k], end = run.point_start[k + 1], m = run.steps.m;
    if (end - from < 2) return;
    const at = (p) => to(run.px[p] * m, run.py[p] * m);
    g.lineWidth = Math.max(run.vehicle.width_m * scale, 4); g.lineJoin = "round"; g.lineCap = "butt";
    g.strokeStyle = palette.get("--path"); g.globalAlpha = 0.22; g.beginPath(); g.moveTo(...at(from));
    for (let p = from + 1; p < end; p++) g.lineTo(...at(p));
    g.stroke();
    g.globalAlpha = 1; g.lineWidth = 3; g.lineCap = "round";
    for (let p = from; p + 1 < end; p++) {
      g.strokeStyle = speedColour((run.pv[p] * m) / run.cruise_mps);
      g.beginPath(); g.moveTo(...at(p)); g.lineTo(...at(p + 1)); g.stroke();
    }
    this.drawSpeeds({ g, to }, from, end, taken);
  }

  /** Speeds along the path, in km/h, where there is room. */
  drawSpeeds({ g, to }, from, end, taken) {
    const run = this.run, m = run.steps.m;
    g.font = `11px ${FONT}`; g.textAlign = "left"; g.textBaseline = "middle";
    const goal = to(run.px[end - 1] * m, run.py[end - 1] * m)[1];
    let last = to(0, 0)[1];
    for (let p = from + 1; p < end; p++) {
      const [u, v] = to(run.px[p] * m, run.py[p] * m);
      if (p !== end - 1 && (last - v < 46 || v - goal < 30)) continue;
      const speed = run.pv[p] * m;
      const text = speed < 0.3 ? "stop" : `${Math.round(speed * 3.6)}`;
      const wide = g.measureText(text).width + 8, box = [u + 13, v - 8, u + 13 + wide, v + 8];
      last = v;
      g.fillStyle = palette.get("--ink");
      g.beginPath(); g.arc(u, v, 2.5, 0, 7); g.fill();
      if (!claim(box, taken)) continue;
      g.fillStyle = palette.get("--card"); g.globalAlpha = 0.85;
      g.beginPath(); g.roundRect(box[0], box[1], wide, 16, 4); g.fill(); g.globalAlpha = 1;
      g.fillStyle = palette.get("--ink"); g.fillText(text, u + 17, v + 0.5);
    }
  }

  drawOwn({ g, to, scale }, taken) {
    const { front_m: f, rear_m: r, width_m: w } = this.run.vehicle, h = w / 2;
    const shape = [[-r, h], [f - 0.9, h], [f, h * 0.55], [f, -h * 0.55], [f - 0.9, -h], [-r, -h]];
    g.fillStyle = palette.get("--own"); g.beginPath();
    shape.forEach(([x, y], i) => (i ? g.lineTo(...to(x, y)) : g.moveTo(...to(x, y))));
    g.closePath(); g.fill();
    const [u, v] = to(0, 0);
    taken.push([u - h * scale, v - f * scale, u + h * scale, v + r * scale]);
  }

  drawTracks(view, k, chosen, taken) {
    const run = this.run, seen = [];
    for (let t = run.track_start[k]; t < run.track_start[k + 1]; t++) {
      const o = trackAt(run, t);
      if (o.distance !== null) seen.push(o);
    }
    seen.sort((a, b) => (b.id === chosen) - (a.id === chosen) || a.distance - b.distance);
    for (let i = seen.length - 1; i >= 0; i--) this.drawTrack(view, seen[i], seen[i].id === chosen);
    for (const o of seen) taken.push(this.shape(view, o));
    for (const o of seen) this.drawLabel(view, o, o.id === chosen, taken);
  }

  /** Left, top, right and bottom of an object; nothing smaller than can be seen. */
  shape({ to, scale }, o) {
    const [long, wide] = this.sizeOf(o.name), [u, v] = to(o.ahead, o.left);
    const h = Math.max(wide * scale, 5) / 2;
    return [u - h, v - Math.max(long * scale, 6), u + h, v];
  }

  drawTrack(view, o, picked) {
    const { g, to, scale } = view, run = this.run, [long] = this.sizeOf(o.name);
    const [x1, y1, x2, v] = this.shape(view, o), u = (x1 + x2) / 2, h = x2 - x1, l = v - y1;
    const colour = palette.get(classColour(run, o.t));
    if (picked && o.aheadStd !== null) {
      g.strokeStyle = palette.get("--dim"); g.setLineDash([3, 3]); g.lineWidth = 1; g.beginPath();
      g.ellipse(u, v, 2 * o.leftStd * scale, 2 * o.aheadStd * scale, 0, 0, 7); g.stroke(); g.setLineDash([]);
    }
    g.globalAlpha = o.since > 0.05 ? 0.45 : 1;
    g.fillStyle = colour; g.beginPath(); g.roundRect(x1, y1, h, l, Math.min(3, h / 3)); g.fill();
    g.globalAlpha = 1;
    if (picked) { g.strokeStyle = palette.get("--pick"); g.lineWidth = 2.5; g.stroke(); }
    if (o.vx === null || Math.hypot(o.vx, o.vy) < 0.5) return;
    this.drawArrow(g, [u, v - l / 2], to(o.ahead + long / 2 + o.vx, o.left + o.vy));
  }

  /** To where it will be in a second, relative to the own vehicle. */
  drawArrow(g, [u, v], [a, b]) {
    const long = Math.hypot(a - u, b - v);
    if (!(long > 5 && long < 2000)) return;
    const c = (a - u) / long, s = (b - v) / long;
    g.strokeStyle = g.fillStyle = palette.get("--ink"); g.lineWidth = 1.5;
    g.beginPath(); g.moveTo(u, v); g.lineTo(a - 4 * c, b - 4 * s); g.stroke();
    g.beginPath(); g.moveTo(a, b); g.lineTo(a - 7 * c - 3.5 * s, b - 7 * s + 3.5 * c);
    g.lineTo(a - 7 * c + 3.5 * s, b - 7 * s - 3.5 * c); g.fill();
  }

  drawLabel(view, o, picked, taken) {
    const { g, width, height } = view, [x1, y1, x2, y2] = this.shape(view, o);
    const text = picked ? `#${o.id} ${o.name} ${o.distance.toFixed(1)} m` : `${o.id}`;
    g.font = `${picked ? 650 : 500} 11.5px ${FONT}`; g.textBaseline = "middle"; g.textAlign = "left";
    const room = g.measureText(text).width + 6, y = (y1 + y2) / 2;
    for (const x of [x2 + 1, x1 - 1 - room]) {
      const box = [x, y - 8, x + room, y + 8];
      if (x < 0 || box[2] > width || box[1] < 0 || box[3] > height) continue;
      if (!claim(box, taken) && !picked) continue;
      if (picked) { g.fillStyle = palette.get("--card"); g.beginPath(); g.roundRect(x, y - 8, room, 16, 4); g.fill(); }
      g.fillStyle = palette.get("--ink"); g.fillText(text, x + 3, y + 0.5);
      return;
    }
  }
}

/** Take a box of the picture for a text, if no other has it. */
function claim(box, taken) {
  if (taken.some((o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3])) return false;
  taken.push(box);
  return true;
}

/** Red at rest over violet to blue at cruising speed, as in the video. */
function speedColour(ratio) {
  const stops = [[0, 240, 65, 62], [0.45, 176, 77, 255], [0.9, 47, 141, 255], [9, 47, 141, 255]];
  const r = Math.min(Math.max(ratio, 0), 9), i = stops.findIndex((s, n) => n && r <= s[0]);
  const [a, b] = [stops[i - 1], stops[i]], f = (r - a[0]) / (b[0] - a[0]);
  return `rgb(${[1, 2, 3].map((n) => Math.round(a[n] + f * (b[n] - a[n]))).join(" ")})`;
}
