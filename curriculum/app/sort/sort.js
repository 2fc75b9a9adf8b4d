// One by one: shows the image in turn, takes keys and clicks, and says what became of them.
// A key counts only once the image has been painted, and once per image: it can't land on a picture that nobody saw.

const KEPT_PAST = 60; // pictures of the past that stay loaded

class Sorter extends Screen {
  constructor(root) {
    super(root, { view: "one", meaning: MEANING, fixed: [], moves: [] });
    Object.assign(this, { stage: this.find(".stage"), zoomed: false, watch: new Watch() });
    this.stage.addEventListener("click", (event) => event.target.matches("img") && this.zoom());
  }

  begin(who, data) {
    super.begin(who, data);
    Object.assign(this, { item: null, open: false, trail: null, place: 0 });
    this.useQueue(new Queue(this.outbox, this));
  }

  start() {
    super.start();
    this.turnTo(undefined);
  }

  focus() {
    this.stage.focus({ preventScroll: true });
  }

  // -- showing -----------------------------------------------------------------------------------

  live() {
    return this.place === 0;
  }

  // The image whose turn it is: one of the past while browsing, else the next of the queue.
  due() {
    return this.live() ? this.queue.current() : this.trail[this.place - 1];
  }

  async turnTo(item) {
    const turn = ++this.turn;
    Object.assign(this, { item, open: false });
    if (!item?.picture) this.stage.replaceChildren(); // nobody shall judge the picture before
    this.words();
    if (!item) return this.nothing();
    if (!item.picture && !item.broken) await this.load(item, turn);
    if (turn !== this.turn) return;
    if (item.broken) return this.message("This image can't be shown. Skip it, or flag it as broken.");
    await this.paint(item.picture, turn);
  }

  async load(item, turn) {
    const patience = setTimeout(() => turn === this.turn && this.message("Loading the image ..."), 400);
    await ready(item);
    clearTimeout(patience);
  }

  async paint(picture, turn) {
    delete picture.dataset.example;
    this.size(picture);
    this.stage.replaceChildren(picture);
    await painted();
    if (turn !== this.turn) return;
    picture.dataset.example = this.item.example; // there exactly while keys count for this image
    this.shownAt = new Date().toISOString();
    this.watch.restart();
    this.open = true;
  }

  message(text) {
    const words = document.createElement("div");
    words.className = "words";
    words.textContent = text;
    this.stage.replaceChildren(words);
  }

  nothing() {
    if (this.queue.finished) this.message(`${this.thanks()} Back and Undo still work.`);
    else this.message(this.queue.later && !this.outbox.away ? this.queue.end : this.fetching());
  }

  // -- acting ------------------------------------------------------------------------------------

  act(action) {
    if (action in MARKS) this.judge("label", { level: action });
    else if (action === "zoom") this.zoom();
    else this[action]();
  }

  event(action, item, more) {
    const event = { ...super.event(action, item, more), place: this.place };
    if (action === "label" || action === "skip") event.seconds = Math.round(this.watch.seconds() * 1000) / 1000;
    return event;
  }

  // A level, a skip or a flag: stored, and on to the next image.
  judge(action, more) {
    const item = this.item;
    if (!item || !(this.open || (item.broken && action !== "label"))) return;
    this.open = false;
    this.keep([this.event(action, item, more), item]);
    this.queue.judge(item.example);
    if (this.live()) {
      const old = this.past.events[KEPT_PAST]?.item;
      if (old) Object.assign(old, { picture: null, loading: null });
      this.turnTo(this.due());
    } else this.forward();
  }

  isLive(event) {
    return this.live() && event.action !== "undo";
  }

  skip() {
    if (this.live()) this.judge("skip");
    else this.forward(); // an image of the past keeps what it has
  }

  // After an undo: the image again, with the level that is in force, or first in the queue where there is none. Of several
  // that were taken back together the first; the others come next.
  undone(items) {
    for (const item of items.toReversed()) if (!this.past.levelOf(item.example)) this.queue.putBack(item);
    const [item] = items;
    const still = this.past.levelOf(item.example);
    this.trail = still ? this.past.images(this.queue.current()) : null;
    this.place = still ? this.trail.findIndex((other) => other.example === item.example) + 1 : 0;
    this.turnTo(this.due());
  }

  async back() {
    if (this.live()) this.trail = null; // of an earlier look back: more has been judged since
    this.trail ??= this.past.images(this.queue.current());
    if (this.place >= this.trail.length && this.past.more) {
      const { turn } = this;
      this.say("Fetching older images ...");
      await this.past.load();
      this.say("");
      if (turn !== this.turn || this.inDialog()) return; // what is in sight is wanted now
      const known = new Set(this.trail?.map((item) => item.example));
      this.trail = [...(this.trail ?? []), ...this.past.images(this.queue.current()).filter((item) => !known.has(item.example))];
    }
    if (this.place >= this.trail.length) return this.say("There is no earlier image.");
    this.place += 1;
    this.turnTo(this.due());
    for (const item of this.trail.slice(this.place, this.place + 3)) ready(item);
    this.letGo();
  }

  forward() {
    if (this.live()) return;
    this.place -= 1;
    if (this.live()) this.trail = null;
    this.turnTo(this.due());
  }

  letGo() {
    for (const item of this.trail.slice(0, Math.max(0, this.place - KEPT_PAST))) Object.assign(item, { picture: null, loading: null });
  }

  // Zoomed, a pixel of the image is one of the screen, or a whole number of them where the image is small.
  size(picture) {
    const times = Math.max(1, Math.ceil(this.stage.clientHeight / picture.naturalHeight));
    picture.style.width = this.zoomed ? `${picture.naturalWidth * times}px` : "";
  }

  zoom() {
    this.zoomed = !this.zoomed;
    this.stage.classList.toggle("zoomed", this.zoomed);
    if (this.item?.picture) this.size(this.item.picture);
    this.find("[data-do=zoom]").setAttribute("aria-pressed", String(this.zoomed));
  }

  // -- words -------------------------------------------------------------------------------------

  words() {
    this.ask("How hard is it to tell that this is ", this.item?.class_title);
    this.find(".said").textContent = this.standing();
    for (const level of Object.keys(MARKS)) {
      const chosen = Boolean(this.item) && this.past.levelOf(this.item.example, this.live()) === level;
      this.find(`[data-do=${level}]`).setAttribute("aria-pressed", String(chosen));
    }
    this.find("[data-do=forward]").disabled = this.live();
    this.showAnchors();
    this.showCounts();
  }

  // On each level's button the example of it that is nearest: of the same class where there is one.
  showAnchors() {
    this.find(".levels").classList.toggle("anchored", this.anchors.length > 0);
    for (const level of Object.keys(MARKS)) {
      const picture = this.find(`[data-do=${level}] img`);
      const anchors = this.anchors.filter((anchor) => anchor.level === level);
      const { thumb } = anchors.find((anchor) => this.item && anchor.class === classOf(this.item)) ?? anchors[0] ?? {};
      if (thumb && picture.getAttribute("src") !== thumb) picture.src = thumb;
      picture.hidden = !thumb;
    }
  }

  // One line: what stands of this image while browsing, else what was done last.
  standing() {
    if (!this.item) return "";
    const state = this.past.stateOf(this.item.example, this.live());
    const note = this.past.noteOf(this.item, this.live());
    const own = [state && `Your answer: ${levelText(state)}.`, note && `Your note: ${note}`].filter(Boolean).join(" ");
    if (!this.live()) return `${number(this.place)} back. ${own || "No answer stands."} A level key answers anew, ${keyName(this.keys.forward)} goes forward.`;
    return own || (this.last ? `Before: ${this.describe(this.last)}` : "");
  }

  filled() {
    if (this.live() && !this.item) this.turnTo(this.due());
  }

  // -- flag and note -------------------------------------------------------------------------------

  flag() {
    if (this.item && (this.open || this.item.broken)) this.dialogs.flag(1);
  }

  note() {
    if (this.item && (this.open || this.item.broken)) this.dialogs.note(this.item.example);
  }

  keepNote(text) {
    this.keep([this.event("note", this.item, { note: text }), this.item]);
    this.words();
  }
}

export default mount(Sorter);
