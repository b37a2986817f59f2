// What leads the player from frame to frame: the video, or a clock where there is none.

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
