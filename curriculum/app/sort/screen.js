// What the ways of sorting share: who sorts what, keeping and taking back, counts and words, keys and buttons.

const MARKS = { easy: "○", medium: "◐", hard: "●" };
const SYNC_AFTER = 3_000;

// Resolves when what is in the document now is on the screen.
const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

const classOf = (item) => item.example.slice(0, item.example.indexOf("/"));
const number = (value) => value.toLocaleString("en");
const levelText = (level) => (MARKS[level] ? `${MARKS[level]} ${level}` : level);

// Streamlit covers the page when its server is away. Sorting goes on without it, and the badge says so.
function closeConnectionError() {
  const dialog = document.querySelector("[role=dialog]");
  if (dialog?.textContent.startsWith("Connection error")) dialog.querySelector("button[aria-label=Close]")?.click();
}

class Screen {
  // A way of sorting has `view`, its name; `meaning`, its actions in words; `fixed`, keys that can't be changed, in
  // words; `moves`, those of them that a person might have chosen for an action of the other way.
  constructor(root, own) {
    Object.assign(this, { root, ...own, listening: false, turn: 0, onKey: (event) => this.key(event) });
    this.wireButtons();
    this.dialogs = new Dialogs(this);
    this.useKeys(loadKeys());
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  // -- beginning and ending ----------------------------------------------------------------------

  // Called on every run of the page; only another annotator or data set begins anew.
  use(data, tellPage) {
    this.tellPage = tellPage;
    this.estranged = data.recognised && tab.person && tab.person !== data.annotator ? data.annotator : null;
    this.root.inert = Boolean(this.estranged);
    if (this.estranged) return this.estrange();
    tab.person = data.annotator;
    this.anchors = data.anchors;
    const who = JSON.stringify([data.annotator, data.dataset]);
    if (who !== this.who) this.begin(who, data);
    this.outbox.use(data.token, this);
    this.outbox.sendElsewhere(data.tokens);
    this.others = this.outbox.othersLeft();
    this.warn();
    this.listen();
    if (!this.started) this.start();
  }

  // The connection broke off, and by now this browser's cookie names who signed in in another tab: no key of this one may count as theirs.
  estrange() {
    this.stop();
    this.warn();
  }

  begin(who, { annotator, dataset, classes }) {
    Object.assign(this, { who, dataset, classes: new Map(classes), started: false, counts: null, last: null, refusal: "", others: {} });
    this.find(".counts").textContent = ""; // another data set's
    this.dialogs.noted = null; // another person's
    this.outbox = Outbox.of(annotator, dataset);
    this.past = new Past(this.outbox);
  }

  // Only one queue asks at a time.
  useQueue(queue) {
    if (this.queue) this.queue.stopped = true;
    this.queue = queue;
  }

  start() {
    this.started = true;
    this.focus(); // out of the sidebar's fields: keys sort from now on
    this.say("");
    this.past.load();
    this.queue.fill();
  }

  listen() {
    this.queue.stopped = false;
    if (this.listening) return;
    this.listening = true;
    document.addEventListener("keydown", this.onKey);
    this.notices = new MutationObserver(closeConnectionError);
    this.notices.observe(document.body, { childList: true });
    this.fit = () => this.root.style.setProperty("--above", `${this.root.getBoundingClientRect().top + (this.scroller()?.scrollTop ?? 0)}px`);
    this.fit();
    addEventListener("resize", this.fit);
  }

  stop() {
    if (!this.listening) return;
    this.queue.stopped = true;
    this.listening = false;
    document.removeEventListener("keydown", this.onKey);
    removeEventListener("resize", this.fit);
    this.notices.disconnect();
  }

  scroller() {
    return document.querySelector("[data-testid=stMain]");
  }

  // -- keeping and taking back -------------------------------------------------------------------

  event(action, item, more = {}) {
    return { id: uuid(), example: item.example, action, shown_at: this.shownAt ?? null, answered_at: new Date().toISOString(), ...more };
  }

  // What was done together: events, each with its image.
  keep(...done) {
    for (const [event, item] of done) {
      const live = this.isLive(event);
      const before = this.past.stateOf(item.example, live);
      if (event.action === "undo") this.past.drop(event.undoes);
      else this.past.add(event, item, live);
      this.recount(before, this.past.stateOf(item.example, live && event.action === "note"), item.example);
    }
    this.last = { ...done[0][0], together: done.length };
    this.outbox.add(...done.map(([event]) => event));
  }

  // Whether an event is about an image that has its turn, which may be its second.
  isLive() {
    return false;
  }

  async undo() {
    if (this.undoing) return;
    this.undoing = true;
    const { last } = this;
    const events = await this.past.latest();
    this.undoing = false;
    if (last !== this.last || this.inDialog()) return this.say("Not undone: you went on before the server answered.");
    if (!events.length) return this.say(this.past.more ? "Older answers can't be reached until the server is back." : "There is nothing left to undo.");
    const batch = events[0].batch ? uuid() : undefined;
    this.keep(...events.map(({ id, item }) => [this.event("undo", item, { undoes: id, shown_at: null, batch }), item]));
    this.undone(events.map(({ item }) => item));
  }

  // -- words -------------------------------------------------------------------------------------

  ask(words, name) {
    const title = document.createElement("b");
    title.textContent = name;
    this.find(".question").replaceChildren(...(name ? [words, title, "?"] : ["\u00a0"]));
  }

  describe({ action, level, note, together = 1 }) {
    const images = together > 1 ? `, ${number(together)} images` : "";
    if (action === "undo" && together > 1) return `taken back, all ${number(together)} images of one key press in the grid`;
    return { label: levelText(level), skip: "skipped", undo: "taken back", flag: `flagged: ${note}`, note: "note kept", compare: "four compared", undo_compare: "a comparison taken back" }[action] + images;
  }

  say(text) {
    this.find(".live").textContent = text;
    this.find(".said").textContent = text || this.standing();
  }

  warn() {
    const text = this.warning();
    this.find(".warning").textContent = text;
    this.find(".warning").hidden = !text;
  }

  // The worst of what is wrong; "" where nothing is.
  warning() {
    if (this.estranged) return `This tab was ${tab.person}'s, and this browser is signed in as ${this.estranged} by now. Load this page anew to sort as ${this.estranged}; answers of ${tab.person}'s that wait here are kept.`;
    if (this.outbox.denied) return this.outbox.denied;
    if (this.outbox.memoryOnly) return "This browser's storage is full or switched off: answers that wait are kept in this page only. Keep it open until the badge says saved.";
    if (this.refusal) return this.refusal;
    const left = Object.entries(this.others).map(([name, count]) => `${number(count)} answer${count > 1 ? "s" : ""} of ${name}'s`);
    return left.length ? `Not sent yet, in this browser: ${left.join(", ")}. They are sent when that person signs in here and opens Sort.` : "";
  }

  thanks() {
    const flagged = this.counts?.flagged ? ` Flagged and set aside: ${number(this.counts.flagged)}.` : "";
    return `${this.queue.end ?? "No image is left to sort. Thank you!"}${flagged}`;
  }

  fetching() {
    if (this.outbox.denied) return "The server gives no images to this page any more: load it anew. Your answers are kept.";
    return this.outbox.away ? "The next images come as soon as the server answers. Your answers are kept." : "Fetching images ...";
  }

  // -- what the queue and the outbox tell -----------------------------------------------------------

  knowsProgress() {
    return Boolean(this.counts);
  }

  progress(counts) {
    this.counts = counts;
    this.showCounts();
  }

  recount(before, after) {
    if (!this.counts || before === after) return;
    const change = (state, by) => {
      if (state in this.counts.mine) this.counts.mine[state] += by;
      else if (state) this.counts[state] = Math.max(0, this.counts[state] + by);
    };
    change(before, -1);
    change(after, 1);
  }

  showCounts() {
    if (!this.counts) return;
    const { mine, skipped, flagged, total, team, median_seconds: median } = this.counts;
    const done = mine.easy + mine.medium + mine.hard;
    const parts = [`${number(done)} of ${number(total)} sorted by you`];
    parts.push(Object.keys(MARKS).map((level) => `${levelText(level)} ${number(mine[level])}`).join("  "));
    if (skipped) parts.push(`${number(skipped)} skipped`);
    if (flagged) parts.push(`${number(flagged)} flagged`);
    if (median !== null) parts.push(`median ${median.toFixed(1)} s an image`);
    parts.push(`team ${number(team)}`);
    this.find(".counts").textContent = parts.join(" · ");
    this.find(".bar i").style.width = `${(100 * done) / Math.max(total, 1)}%`;
    this.find(".bar").setAttribute("aria-valuemax", total);
    this.find(".bar").setAttribute("aria-valuenow", done);
  }

  outboxBadge() {
    const waiting = this.outbox.waiting();
    if (this.outbox.denied) return `not accepted, ${number(waiting)} waiting`;
    if (this.outbox.away && this.outbox.memoryOnly) return `offline, ${number(waiting)} waiting: keep this page open`;
    if (this.outbox.away) return `offline, ${number(waiting)} waiting, nothing is lost`;
    return waiting ? `${number(waiting)} waiting` : "saved";
  }

  // Called by the outbox whenever something in it changes.
  outboxChanged() {
    const badge = this.find(".badge");
    const text = this.outboxBadge();
    if (badge.textContent !== text) badge.textContent = text;
    badge.classList.toggle("away", this.outbox.away || Boolean(this.outbox.denied));
    if (Object.keys(this.others).length) this.others = this.outbox.othersLeft();
    this.warn();
  }

  stored(events) {
    if (events.length) this.find(".live").textContent = `Stored: ${this.describe(events.at(-1))}.`;
    if (this.outbox.waiting()) return;
    if (!this.past.asked) this.past.load();
    if (!this.queue.hand.length) this.queue.fill();
    clearTimeout(this.syncing);
    this.syncing = setTimeout(() => this.listening && this.queue.ask(0), SYNC_AFTER);
  }

  refused(event, reason) {
    const before = this.past.stateOf(event.example);
    this.past.drop(event.id);
    this.recount(before, this.past.stateOf(event.example), event.example);
    this.words();
    this.refusal = `An answer (${[this.describe(event), event.example].filter(Boolean).join(", ")}) was not taken: ${reason}`;
    this.warn();
  }

  // -- keys and buttons ----------------------------------------------------------------------------

  key(event) {
    if (event.defaultPrevented || this.inDialog() || isTyping(event) || pressesButton(event)) return;
    if (document.querySelector("[role=dialog]")) return; // one of Streamlit's own
    if (this.fixedKey(event)) return event.preventDefault();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const action = actionOf(this.keys, event);
    if (!(action in this.meaning)) return;
    event.preventDefault();
    if (event.repeat && action !== "back" && action !== "forward") return;
    this.act(action);
  }

  fixedKey() {
    return false;
  }

  inDialog() {
    return Boolean(this.root.querySelector("dialog[open]:not(.large)"));
  }

  help() {
    this.dialogs.help();
  }

  examples() {
    this.dialogs.examples();
  }

  wireButtons() {
    for (const button of this.root.querySelectorAll("[data-do], [data-view]")) this.sparesFocus(button);
    for (const button of this.root.querySelectorAll("[data-do]")) button.addEventListener("click", () => this.act(button.dataset.do));
    for (const button of this.root.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === this.view));
      button.addEventListener("click", () => button.dataset.view !== this.view && this.tellPage("view", button.dataset.view));
    }
  }

  // The mouse takes no focus: Space and Enter stay what they are.
  sparesFocus(button) {
    button.addEventListener("mousedown", (event) => event.preventDefault());
  }

  // A key that moves here can't mean an action, as it may in the other way of sorting: then the default does.
  useKeys(keys) {
    const own = Object.entries(keys).map(([action, key]) => [action, action in this.meaning && this.moves.includes(key) ? DEFAULT_KEYS[action] : key]);
    this.keys = Object.fromEntries(own);
    for (const button of this.root.querySelectorAll("[data-do] kbd")) button.textContent = keyName(this.keys[button.parentElement.dataset.do] ?? "Enter");
  }
}

const screens = new WeakMap();

// Streamlit calls what this gives on every run of the page, and what that returns when the component goes away.
const mount = (Kind) => ({ data, parentElement, setTriggerValue }) => {
  const root = parentElement.querySelector(".sorting");
  if (!screens.has(root)) screens.set(root, new Kind(root));
  const screen = screens.get(root);
  const use = (screen.uses = (screen.uses ?? 0) + 1);
  screen.use(data, setTriggerValue);
  return () => screen.uses === use && screen.stop(); // a run that was overtaken ends after the next has begun
};
