// The grid: a page of images of one class, sorted many at a time. A key counts for an image only once it has been painted,
// and what one key press does to several images is one batch: one undo takes it back.

const PAGE = 20;
const AHEAD = 2 * PAGE + 4; // this page, the next, and some
const TURN_AFTER = 800; // how long a finished page stays in sight
const REST = 250; // after a page turned by itself, a key that was meant for the one before lands nowhere
const KEPT_PAGES = 12; // earlier pages that undo brings back as they were

const GRID_MEANING = {
  easy: "○ easy, for the selected images or the one in focus",
  medium: "◐ medium, likewise",
  hard: "● hard, likewise",
  undo: "Undo: takes back what the last key press did to all its images, as often as you like, over days",
  flag: "Flag: wrong class or broken image, likewise",
  note: "Note on the image in focus",
  zoom: "The image in focus, large; a level there is its own alone",
  examples: "Examples of easy, medium and hard, chosen by who leads",
  help: "This list",
};
const GRID_KEYS = [
  ["arrows", "Move; with Shift select on the way, with Ctrl keep the selection"],
  ["Space", "Select or deselect the image in focus"],
  ["Ctrl A", "Select all that have no level; once more: the whole page"],
  ["Esc", "Select nothing"],
  ["Enter", "Next page; images without a level are skipped and come again at the end"],
  ["Page ↑ ↓", "Another class"],
];
const names = (items) => new Set(items.map((item) => item.example));

class Grid extends Selecting {
  constructor(root) {
    super(root, { view: "grid", meaning: GRID_MEANING, fixed: GRID_KEYS, moves: MOVES });
    Object.assign(this, { grid: this.find(".tiles"), board: new Board(this), large: this.find(".large") });
    this.large.addEventListener("keydown", (event) => this.key(event));
    this.large.addEventListener("click", () => this.large.close());
  }

  // -- beginning, classes ------------------------------------------------------------------------

  begin(who, data) {
    super.begin(who, data);
    Object.assign(this, { page: [], seen: new Set(), trail: [], active: 0, anchor: 0, selected: new Set(), left: null });
    const kept = recall(this.classPlace());
    this.useClass(this.classes.has(kept) ? kept : data.classes[0][0]);
  }

  start() {
    super.start();
    this.show([]);
  }

  focus() {
    this.board.focus(this.active);
  }

  classPlace() {
    return `${SPACE}-class|${this.who}`;
  }

  useClass(name) {
    this.name = name;
    remember(this.classPlace(), name);
    this.useQueue(new Queue(this.outbox, this, { ahead: AHEAD, ofClass: name, small: true }));
  }

  switchTo(name) {
    this.stay();
    if (name === this.name) return;
    this.leave();
    this.useClass(name);
    this.show([]);
    this.queue.fill();
  }

  // The nearest class in this direction in which images are left; undefined where there is none but this one.
  otherClass(step = 1) {
    const all = [...this.classes.keys()];
    const from = all.indexOf(this.name);
    const others = all.slice(1).map((_, n) => all[(from + step * (n + 1) + all.length * all.length) % all.length]);
    return others.find((name) => this.left?.[name] > 0);
  }

  // -- pages ---------------------------------------------------------------------------------------

  isOpen(item) {
    return !this.past.levelOf(item.example) && this.past.stateOf(item.example) !== "flagged";
  }

  openItems() {
    return this.page.filter((item) => this.isOpen(item));
  }

  async show(items, rest = 0) {
    const turn = ++this.turn;
    const first = items.findIndex((item) => this.isOpen(item));
    Object.assign(this, { page: items, seen: new Set(), active: Math.max(first, 0), selected: new Set(), shownAt: null });
    this.anchor = this.active;
    this.large.close();
    const loading = items.filter((item) => !item.picture && !item.broken);
    for (const item of loading) ready(item, thumbOf(item)).then(() => turn === this.turn && this.reveal(turn));
    await this.reveal(turn, rest);
  }

  // Draws what is loaded; from the paint on, keys count for it.
  async reveal(turn, rest = 0) {
    const drawn = this.page.filter((item) => item.picture || item.broken);
    this.words();
    await painted();
    if (rest) await pause(rest);
    if (turn !== this.turn || !drawn.length) return;
    this.shownAt ??= new Date().toISOString();
    for (const item of drawn) this.seen.add(item.example);
    this.words();
  }

  leave() {
    if (this.page.length) this.trail = [...this.trail, this.page].slice(-KEPT_PAGES);
  }

  // The next images of the class, or the next class. `answered`: the server has just told all that it has.
  turnPage({ answered = false, rest = 0 } = {}) {
    const { hand, finished } = this.queue;
    const wanted = Math.min(PAGE, this.left?.[this.name] ?? PAGE);
    const wait = hand.length < wanted && !answered && !finished && !this.outbox.away;
    this.leave();
    this.show(wait ? [] : hand.slice(0, PAGE), rest);
    if (wait || !hand.length) this.queue.fill();
    if (!this.page.length) this.settle();
  }

  // A class in which nothing is left gives way to the next.
  settle() {
    if (this.page.length || this.queue.hand.length || this.left?.[this.name] !== 0) return;
    const other = this.otherClass();
    if (!other) return this.words();
    const done = this.classes.get(this.name);
    this.switchTo(other);
    this.say(`${done} is done. Now: ${this.classes.get(other)}.`);
  }

  next() {
    const finished = this.stay() || !this.openItems().length;
    const open = this.openItems();
    if (!this.page.length || !open.every((item) => this.seen.has(item.example))) return;
    if (finished) return this.turnPage();
    if (this.left && this.left[this.name] <= open.length) {
      const other = this.otherClass();
      return other ? this.switchTo(other) : this.say("These are the last ones: no other image is left.");
    }
    this.together("skip", open);
    this.turnPage();
  }

  // All of the page have a level: it stays in sight for a moment, and any other key or click keeps it there.
  finish() {
    this.root.classList.add("turning");
    this.turning = setTimeout(() => {
      this.stay();
      this.turnPage({ rest: REST });
    }, TURN_AFTER);
    this.words();
  }

  stay() {
    const turning = Boolean(this.turning);
    clearTimeout(this.turning);
    this.turning = null;
    this.root.classList.remove("turning");
    return turning;
  }

  stop() {
    this.stay();
    super.stop();
  }

  // -- acting ------------------------------------------------------------------------------------

  act(action) {
    this.told = "";
    if (action in MARKS) return this.judge("label", { level: action });
    if (action !== "next") this.stay();
    this[action]();
  }

  // The image shown large, else the selected ones, else the one in focus; as far as they can be seen.
  targets() {
    const places = this.selected.size && !this.large.open ? [...this.selected].sort((a, b) => a - b) : [this.active];
    return places.map((place) => this.page[place]).filter((item) => item && this.seen.has(item.example));
  }

  judge(action, more) {
    if (this.turning) return; // one key too many: the page is on its way
    const items = this.targets().filter((item) => (action === "label" ? !item.broken && this.past.levelOf(item.example) !== more.level : true));
    if (!items.length) return;
    this.together(action, items, more);
    this.large.close();
    this.selected.clear();
    const open = this.page.findIndex((item, place) => place > this.active && this.isOpen(item));
    this.moveTo(open >= 0 ? open : Math.max(this.page.findIndex((item) => this.isOpen(item)), 0));
    if (!this.openItems().length) this.finish();
  }

  together(action, items, more = {}) {
    const batch = uuid();
    this.keep(...items.map((item) => [this.event(action, item, { ...more, batch }), item]));
    for (const item of items) this.queue.judge(item.example);
  }

  // After an undo: the page with these images, all of them selected, so that a level key answers anew.
  undone(items) {
    const gone = names(items);
    const holds = (page) => items.every((item) => names(page).has(item.example));
    if (!holds(this.page)) this.bringBack(items, this.trail.findLastIndex(holds));
    for (const item of this.page.toReversed()) if (gone.has(item.example) && this.isOpen(item)) this.queue.putBack(item);
    const places = [...this.page.keys()].filter((place) => gone.has(this.page[place].example));
    this.selected = new Set(places.length > 1 ? places : []);
    this.moveTo(places[0]);
    this.say(this.describe(this.last).replace(/^t/, "T") + ".");
  }

  bringBack(items, found) {
    const page = found >= 0 ? this.trail[found] : items;
    if (found >= 0) this.trail.length = found;
    if (classOf(items[0]) !== this.name) this.useClass(classOf(items[0]));
    for (const item of page.toReversed()) if (this.isOpen(item)) this.queue.putBack(item);
    this.show(page);
    this.queue.fill();
  }

  flag() {
    if (this.targets().length) this.dialogs.flag(this.targets().length);
  }

  note() {
    if (this.page[this.active]) this.dialogs.note(this.page[this.active].example);
  }

  keepNote(text) {
    const item = this.page[this.active];
    this.keep([this.event("note", item, { note: text, batch: uuid() }), item]);
    this.words();
  }

  zoom() {
    if (this.large.open) return this.large.close();
    if (!this.seen.has(this.page[this.active]?.example)) return;
    this.large.showModal();
    this.words();
  }

  // -- words -------------------------------------------------------------------------------------

  words() {
    this.ask("How hard is it to tell that each of these is ", this.page.length ? this.classes.get(this.name) : "");
    this.find(".said").textContent = this.standing();
    this.board.draw();
    this.showCounts();
  }

  // Stands until the next key or click.
  say(text) {
    this.told = text;
    super.say(text);
  }

  standing() {
    const open = this.openItems().length;
    if (!this.page.length) return "";
    if (this.told) return this.told;
    if (this.turning) return "All of this page are answered. Going on ...";
    if (this.selected.size) return `${this.selected.size} selected`;
    return `${open} of ${this.page.length} to go`;
  }

  emptiness() {
    const all = this.left && Object.values(this.left).every((count) => count === 0);
    if (all) return `${this.thanks()} Undo still works.`;
    return this.queue.later && !this.outbox.away ? this.queue.end : this.fetching();
  }

  // -- what the queue tells ------------------------------------------------------------------------

  filled() {
    if (!this.page.length && this.queue.hand.length) this.turnPage({ answered: true });
  }

  knowsProgress() {
    return super.knowsProgress() && Boolean(this.left);
  }

  progress(counts, left) {
    this.left = left ?? this.left;
    super.progress(counts);
    this.words();
    this.settle();
  }

  recount(before, after, example) {
    super.recount(before, after);
    const open = (state) => Number(!state || state === "skipped");
    const name = classOf({ example });
    if (this.left && name in this.left) this.left[name] += open(after) - open(before);
  }
}

export default mount(Grid);
