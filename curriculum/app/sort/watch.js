// Seconds that a picture has been looked at: time in a hidden tab is left out.
class Watch {
  constructor() {
    this.restart();
    document.addEventListener("visibilitychange", () => this.turn());
  }
  restart() {
    this.sum = 0;
    this.since = document.hidden ? null : performance.now();
  }
  turn() {
    if (this.since !== null) this.sum += performance.now() - this.since;
    this.since = document.hidden ? null : performance.now();
  }
  seconds() {
    return (this.sum + (this.since === null ? 0 : performance.now() - this.since)) / 1000;
  }
}
