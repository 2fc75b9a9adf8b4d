// Compare four: of four images first the hardest is chosen, then the easiest, and the next four are there.
// A key counts only once all four have been painted; nothing of the model or of other people is shown.

const FOUR_MEANING = {
  undo: "Undo: takes back your choice, or your last comparison, as often as you like, over days",
  skip: "Skip these four: they come again at the end",
  zoom: "The image in focus, large; arrows go to the others, 1 2 3 4 choose there too",
  examples: "Examples of easy, medium and hard, chosen by who leads",
  help: "This list",
};
const FOUR_KEYS = [
  ["1 2 3 4", "Choose: first the hardest, then the easiest. The same key again takes the first choice back"],
  ["arrows", "Move over the four"],
  ["Enter", "Choose the image in focus"],
];
const PLACES = ["1", "2", "3", "4"];
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HARDEST = "● hardest";

class Four extends Screen {
  constructor(root) {
    super(root, { view: "four", meaning: FOUR_MEANING, fixed: FOUR_KEYS, moves: [...PLACES, ...Object.keys(WAYS)] });
    Object.assign(this, { grid: this.find(".tiles"), large: this.find(".large"), watch: new Watch(), tiles: PLACES.map((_, place) => this.tile(place)) });
    for (const pair of [this.tiles.slice(0, 2), this.tiles.slice(2)]) {
      const row = document.createElement("div");
      row.setAttribute("role", "row");
      row.append(...pair);
      this.grid.append(row);
    }
    this.message = document.createElement("div");
    this.message.className = "words";
    this.grid.append(this.message);
    this.large.addEventListener("keydown", (event) => this.key(event));
    this.large.addEventListener("click", () => this.large.close());
  }

  tile(place) {
    const tile = document.createElement("div");
    tile.className = "tile";
    tile.setAttribute("role", "gridcell");
    tile.innerHTML = `<span class="picture"></span><p class="name"><kbd>${place + 1}</kbd><span></span><b class="mark"></b><button title="Large" aria-label="Image ${place + 1}, large">⤢</button></p>`;
    this.sparesFocus(tile);
    tile.addEventListener("click", () => this.choose(place));
    tile.querySelector("button").addEventListener("click", (event) => {
      event.stopPropagation();
      this.active = place;
      this.zoom();
    });
    return tile;
  }

  begin(who, data) {
    super.begin(who, data);
    Object.assign(this, { four: null, open: false, first: null, active: 0 });
    this.past = new PastFours(this.outbox);
    this.useQueue(new Fours(this.outbox, this));
  }

  start() {
    super.start();
    this.turnTo(undefined);
  }

  focus() {
    (this.four ? this.tiles[this.active] : this.grid).focus({ preventScroll: true });
  }

  // -- showing -----------------------------------------------------------------------------------

  async turnTo(four) {
    const turn = ++this.turn;
    Object.assign(this, { four, open: false, first: null });
    this.large.close();
    const there = four?.cards.every((card) => card.picture || card.broken);
    this.draw(there);
    if (!four) return;
    if (!there) await this.load(four, turn);
    if (turn !== this.turn) return;
    this.draw(true);
    if (four.cards.some((card) => card.broken)) return this.say("One of these images can't be shown. Skip these four.");
    await painted();
    if (turn !== this.turn) return;
    four.examples.forEach((example, place) => (this.tiles[place].dataset.example = example)); // there exactly while keys count for these four
    this.shownAt = new Date().toISOString();
    this.watch.restart();
    this.open = true;
  }

  async load(four, turn) {
    const patience = setTimeout(() => turn === this.turn && this.say("Loading the images ..."), 400);
    await Promise.all(four.cards.map((card) => ready(card)));
    clearTimeout(patience);
    if (turn === this.turn) this.say("");
  }

  draw(there) {
    this.tiles.forEach((tile, place) => {
      const card = this.four?.cards[place];
      const picture = (there && card?.picture) || null;
      const holder = tile.firstChild;
      if (holder.firstChild !== picture) holder.replaceChildren(...(picture ? [picture] : []));
      tile.querySelector("p > span").textContent = card?.class_title ?? "";
      delete tile.dataset.example;
    });
    this.message.hidden = Boolean(this.four);
    this.message.textContent = this.four ? "" : this.emptiness();
    this.words();
  }

  emptiness() {
    return this.queue.finished ? `${this.queue.end}${this.past.done.length ? " Undo still works." : ""}` : this.fetching();
  }

  filled() {
    if (!this.four) this.turnTo(this.queue.current());
  }

  // -- choosing ------------------------------------------------------------------------------------

  fixedKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return false;
    const digit = PLACES.indexOf(/^(Digit|Numpad)[1-4]$/.test(event.code) ? event.code.slice(-1) : event.key);
    if (digit >= 0) event.repeat || this.choose(digit);
    else if (event.key === "Enter") event.repeat || this.choose(this.active);
    else if (WAYS[event.key]) this.move(...WAYS[event.key]);
    else return false;
    return true;
  }

  move(across, down) {
    const [column, row] = [(this.active % 2) + across, Math.floor(this.active / 2) + down];
    if (column < 0 || column > 1 || row < 0 || row > 1) return;
    this.active = 2 * row + column;
    this.grid.classList.add("moving");
    this.words();
    if (!this.large.open) this.focus();
  }

  // First the hardest, then the easiest; the same again takes the first choice back.
  choose(place) {
    if (!this.open) return;
    if (!this.large.open) this.active = place; // what is shown large stays
    if (this.first === place) this.first = null;
    else if (this.first === null) this.first = place;
    else return this.answer(this.first, place);
    this.words();
    this.tell(this.first === null ? "Choice taken back. Which is the hardest?" : `${this.nameAt(place)} is the hardest. Now the easiest.`);
  }

  answer(hardest, easiest) {
    const { four } = this;
    this.open = false;
    const { examples, adaptive } = four;
    const seconds = Math.round(this.watch.seconds() * 1000) / 1000;
    this.keepFour({ action: "compare", examples, hardest: examples[hardest], easiest: examples[easiest], adaptive, shown_at: this.shownAt, seconds }, four);
    this.last = `Before: ${this.nameAt(hardest)} the hardest, ${this.nameAt(easiest)} the easiest.`;
    this.next(() => this.queue.judge(four.example));
  }

  keepFour(more, four) {
    const event = { id: uuid(), answered_at: new Date().toISOString(), ...more };
    if (event.action === "compare") this.past.add(event.id, four);
    else this.past.drop(event.undoes);
    this.recount(event.action === "compare" ? 1 : -1);
    this.outbox.add(event);
  }

  next(leave) {
    leave();
    this.turnTo(this.queue.current());
  }

  skip() {
    if (!this.four || !(this.open || this.four.cards.some((card) => card.broken))) return;
    const { four } = this;
    this.last = "Before: skipped.";
    this.next(() => this.queue.skip(four));
  }

  async undo() {
    if (this.undoing) return;
    if (this.first !== null) return this.choose(this.first); // what was done last is a choice
    this.undoing = true;
    const { last } = this;
    const latest = await this.past.latest();
    this.undoing = false;
    if (last !== this.last || this.first !== null || this.inDialog()) return this.say("Not undone: you went on before the server answered.");
    if (!latest) return this.say(this.past.more ? "Older comparisons can't be reached until the server is back." : "There is nothing left to undo.");
    this.keepFour({ action: "undo_compare", undoes: latest.id });
    this.last = "Your comparison of these four is taken back.";
    this.next(() => this.queue.putBack(latest.four));
  }

  zoom() {
    if (this.large.open) return this.large.close();
    if (!this.open) return;
    this.large.showModal();
    this.words();
  }

  act(action) {
    this[action]();
  }

  // -- words -------------------------------------------------------------------------------------

  nameAt(place) {
    return `image ${place + 1} (${this.four.cards[place].class_title})`;
  }

  words() {
    const step = this.first === null ? "hardest" : "easiest";
    for (const word of this.root.querySelectorAll("[data-step]")) word.classList.toggle("now", Boolean(this.four) && word.dataset.step === step);
    this.tiles.forEach((tile, place) => {
      const chosen = this.first === place;
      tile.tabIndex = place === this.active ? 0 : -1;
      tile.setAttribute("aria-selected", String(chosen));
      tile.querySelector(".mark").textContent = chosen ? HARDEST : "";
      tile.setAttribute("aria-label", this.four ? `${this.nameAt(place)}${chosen ? ", chosen as the hardest" : ""}` : `image ${place + 1}`);
    });
    this.find(".said").textContent = this.standing();
    this.showLarge();
    this.showCounts();
  }

  showLarge() {
    if (!this.large.open || !this.four) return;
    const [picture, words] = this.large.children;
    const card = this.four.cards[this.active];
    picture.src = card.image;
    picture.alt = card.picture?.alt ?? "";
    const chosen = this.first === null ? "" : this.first === this.active ? `: ${HARDEST}` : ` · ${HARDEST}: image ${this.first + 1}`;
    words.textContent = this.nameAt(this.active) + chosen;
  }

  standing() {
    if (!this.four) return "";
    return this.first === null ? (this.last ?? "") : `${HARDEST}: ${this.nameAt(this.first)}. Now the easiest; ${this.first + 1} again takes it back.`;
  }

  tell(text) {
    this.find(".live").textContent = text;
  }

  // -- what the queue and the outbox tell -----------------------------------------------------------

  recount(by) {
    if (!this.counts) return;
    this.counts.mine = Math.max(0, this.counts.mine + by);
    this.showCounts();
  }

  showCounts() {
    if (!this.counts) return;
    this.find(".counts").textContent = `${number(this.counts.mine)} compared by you · pool of ${number(this.counts.pool)} images`;
  }

  refused(event, reason) {
    if (event.action === "compare") {
      this.past.drop(event.id);
      this.recount(-1);
    }
    this.refusal = `An answer (${this.describe(event)}) was not taken: ${reason}`;
    this.warn();
  }
}

export default mount(Four);
