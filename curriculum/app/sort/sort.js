// The sorting screen: shows the image in turn, takes keys and clicks, and says what became of them.
// A key counts only once the image has been painted, and once per image: it can't land on a picture that nobody saw.

const MARKS = { easy: "○", medium: "◐", hard: "●" };
const SYNC_AFTER = 3_000;
const KEPT_PAST = 60; // pictures of the past that stay loaded

// Resolves when what is in the document now is on the screen.
const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

const number = (value) => value.toLocaleString("en");
const levelText = (level) => (MARKS[level] ? `${MARKS[level]} ${level}` : level);

// Streamlit covers the page when its server is away. Sorting goes on without it, and the badge says so.
function closeConnectionError() {
  const dialog = document.querySelector("[role=dialog]");
  if (dialog?.textContent.startsWith("Connection error")) dialog.querySelector("button[aria-label=Close]")?.click();
}

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

class Sorter {
  constructor(root) {
    Object.assign(this, { root, keys: loadKeys(), watch: new Watch(), onKey: (event) => this.key(event) });
    Object.assign(this, { stage: this.find(".stage"), zoomed: false, listening: false, turn: 0 });
    this.wireButtons();
    this.wireDialogs();
    this.nameKeys();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  // -- beginning and ending ----------------------------------------------------------------------

  // Called on every run of the page; only another annotator or data set begins anew.
  use({ token, annotator, dataset }) {
    const who = JSON.stringify([annotator, dataset]);
    if (who !== this.who) this.begin(annotator, dataset, who);
    this.outbox.use(token, this);
    this.listen();
    if (!this.started) this.start();
  }

  begin(annotator, dataset, who) {
    if (this.queue) this.queue.stopped = true;
    Object.assign(this, { who, dataset, started: false, item: null, open: false, trail: null, place: 0, counts: null, warning: "" });
    this.outbox = Outbox.of(annotator, dataset);
    this.queue = new Queue(this.outbox, this);
    this.past = new Past(this.outbox);
  }

  start() {
    this.started = true;
    this.stage.focus({ preventScroll: true }); // out of the sidebar's fields: keys sort from now on
    this.say("");
    this.past.load();
    this.queue.fill();
    this.turnTo(undefined);
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
    this.queue.stopped = true;
    this.listening = false;
    document.removeEventListener("keydown", this.onKey);
    removeEventListener("resize", this.fit);
    this.notices.disconnect();
  }

  scroller() {
    return document.querySelector("[data-testid=stMain]");
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
    if (this.queue.finished) {
      const flagged = this.counts?.flagged ? ` Flagged and set aside: ${number(this.counts.flagged)}.` : "";
      this.message(`${this.queue.end}${flagged} Back and Undo still work.`);
    } else if (this.queue.later && !this.outbox.away) {
      this.message(this.queue.end);
    } else {
      this.message(this.outbox.away ? "The next images come as soon as the server answers. Your answers are kept." : "Fetching images ...");
    }
  }

  // -- acting ------------------------------------------------------------------------------------

  act(action) {
    if (action in MARKS) this.judge("label", { level: action });
    else if (action === "zoom") this.zoom();
    else this[action]();
  }

  event(action, item, more = {}) {
    const event = { id: uuid(), example: item.example, action, place: this.place, shown_at: this.shownAt ?? null, answered_at: new Date().toISOString(), ...more };
    if (action === "label" || action === "skip") event.seconds = Math.round(this.watch.seconds() * 1000) / 1000;
    return event;
  }

  // A level, a skip or a flag: stored, and on to the next image.
  judge(action, more) {
    const item = this.item;
    if (!item || !(this.open || (item.broken && action !== "label"))) return;
    this.open = false;
    this.keep(this.event(action, item, more), item);
    this.queue.judge(item.example);
    if (this.live()) this.turnTo(this.due());
    else this.forward();
  }

  keep(event, item) {
    const live = this.live() && event.action !== "undo";
    const before = this.past.stateOf(item.example, live);
    if (event.action === "undo") this.past.drop(event.undoes);
    else this.past.add(event, item, live);
    this.recount(before, this.past.stateOf(item.example, live && event.action === "note"));
    this.last = event;
    this.outbox.add(event);
  }

  skip() {
    if (this.live()) this.judge("skip");
    else this.forward(); // an image of the past keeps what it has
  }

  async undo() {
    if (this.undoing) return;
    this.undoing = true;
    const event = await this.past.latest();
    this.undoing = false;
    if (!event) return this.say(this.past.more ? "Older answers can't be reached until the server is back." : "There is nothing left to undo.");
    this.keep(this.event("undo", event.item, { undoes: event.id, shown_at: null }), event.item);
    this.goTo(event.item);
  }

  // After an undo: the image again, with the level that is in force, or first in the queue where there is none.
  goTo(item) {
    const still = this.past.levelOf(item.example);
    if (!still) this.queue.putBack(item);
    this.trail = still ? this.past.images(this.queue.current()) : null;
    this.place = still ? this.trail.findIndex((other) => other.example === item.example) + 1 : 0;
    this.turnTo(this.due());
  }

  async back() {
    this.trail ??= this.past.images(this.queue.current());
    if (this.place >= this.trail.length && this.past.more) {
      this.say("Fetching older images ...");
      await this.past.load();
      this.say("");
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
    const question = this.find(".question");
    const title = document.createElement("b");
    title.textContent = this.item?.class_title ?? "";
    question.replaceChildren(...(this.item ? ["How hard is it to tell that this is ", title, "?"] : ["\u00a0"]));
    this.find(".said").textContent = this.standing();
    for (const level of Object.keys(MARKS)) {
      const chosen = Boolean(this.item) && this.past.levelOf(this.item.example, this.live()) === level;
      this.find(`[data-do=${level}]`).setAttribute("aria-pressed", String(chosen));
    }
    this.find("[data-do=forward]").disabled = this.live();
    this.showCounts();
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

  describe(event) {
    if (event.action === "label") return levelText(event.level);
    return { skip: "skipped", undo: "taken back", flag: `flagged: ${event.note}`, note: "note kept" }[event.action];
  }

  say(text) {
    this.find(".live").textContent = text;
    this.find(".said").textContent = text || this.standing();
  }

  warn(text) {
    this.warning = text;
    this.find(".warning").textContent = text;
    this.find(".warning").hidden = !text;
  }

  // -- what the queue and the outbox tell -----------------------------------------------------------

  filled() {
    if (this.live() && !this.item) this.turnTo(this.due());
  }

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
    if (this.outbox.denied) this.warn(this.outbox.denied);
    else if (this.outbox.memoryOnly) this.warn("This browser's storage is full or switched off: answers that wait are kept in this page only. Keep it open until the badge says saved.");
    else if (this.warning && !this.refusals) this.warn("");
  }

  stored(events) {
    if (events.length) this.find(".live").textContent = `Stored: ${this.describe(events.at(-1))}.`;
    if (this.outbox.waiting()) return;
    if (!this.queue.hand.length) this.queue.fill();
    clearTimeout(this.syncing);
    this.syncing = setTimeout(() => this.listening && this.queue.ask(0), SYNC_AFTER);
  }

  refused(event, reason) {
    this.refusals = (this.refusals ?? 0) + 1;
    const before = this.past.stateOf(event.example);
    this.past.drop(event.id);
    this.recount(before, this.past.stateOf(event.example));
    this.warn(`An answer (${this.describe(event)}, ${event.example}) was not taken: ${reason}`);
  }

  // -- keys, buttons, dialogs ----------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (this.root.querySelector("dialog[open]") || isTyping(event) || pressesButton(event)) return;
    if (document.querySelector("[role=dialog]")) return; // one of Streamlit's own
    const action = actionOf(this.keys, event);
    if (!action) return;
    event.preventDefault();
    if (event.repeat && action !== "back" && action !== "forward") return;
    this.act(action);
  }

  wireButtons() {
    for (const button of this.root.querySelectorAll("[data-do]")) {
      button.addEventListener("mousedown", (event) => event.preventDefault()); // the mouse takes no focus: Space stays Skip
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    this.stage.addEventListener("click", (event) => event.target.matches("img") && this.zoom());
  }

  wireDialogs() {
    for (const button of this.root.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
    for (const button of this.root.querySelectorAll("[data-reason]")) button.addEventListener("click", () => this.flagAs(button.dataset.reason));
    this.find("[data-save]").addEventListener("click", () => this.saveNote());
    this.find("[data-defaults]").addEventListener("click", () => this.setKeys({ ...DEFAULT_KEYS }, "The keys are as they were."));
    this.find(".flagging").addEventListener("keydown", (event) => {
      const reason = this.root.querySelectorAll("[data-reason]")[["1", "2"].indexOf(event.key)];
      if (reason && !event.repeat) reason.click();
    });
    this.find(".noting").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.saveNote();
    });
    this.find(".helping").addEventListener("keydown", (event) => this.newKey(event));
    for (const dialog of this.root.querySelectorAll("dialog")) {
      dialog.addEventListener("close", () => this.stage.focus({ preventScroll: true }));
      dialog.addEventListener("keydown", (event) => event.stopPropagation()); // R and C are letters here
    }
  }

  flag() {
    if (this.item && (this.open || this.item.broken)) this.find(".flagging").showModal();
  }

  flagAs(reason) {
    this.find(".flagging").close();
    this.judge("flag", { note: reason });
  }

  note() {
    if (!this.item || !(this.open || this.item.broken)) return;
    this.find(".noting textarea").value = "";
    this.find(".noting").showModal();
    this.find(".noting textarea").focus();
  }

  saveNote() {
    const text = this.find(".noting textarea").value.trim();
    this.find(".noting").close();
    if (!text) return;
    this.keep(this.event("note", this.item, { note: text }), this.item);
    this.words();
  }

  help() {
    this.choosing = null;
    this.listKeys("");
    this.find(".helping").showModal();
  }

  listKeys(told) {
    const rows = Object.keys(DEFAULT_KEYS).map((action) => {
      const row = document.createElement("tr");
      row.innerHTML = "<td></td><td><kbd></kbd></td><td><button>Change</button></td>";
      row.querySelector("td").textContent = MEANING[action];
      row.querySelector("kbd").textContent = this.choosing === action ? "press a key" : keyName(this.keys[action]);
      row.querySelector("button").setAttribute("aria-label", `Change the key for ${action}`);
      row.querySelector("button").addEventListener("click", () => this.choose(action));
      return row;
    });
    this.find(".helping table").replaceChildren(...rows);
    this.find(".told").textContent = told;
  }

  choose(action) {
    this.choosing = action;
    this.listKeys(`Press the new key for ${action}, or Esc.`);
    this.find(".helping").focus();
  }

  newKey(event) {
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    if (!this.choosing) {
      if (plainKey(event) === this.keys.help) this.find(".helping").close();
      return;
    }
    event.preventDefault();
    const action = this.choosing;
    this.choosing = null;
    if (event.key === "Escape") return this.listKeys("");
    const reason = whyNot(this.keys, action, plainKey(event));
    if (reason) return this.listKeys(reason);
    this.setKeys({ ...this.keys, [action]: plainKey(event) }, `${keyName(plainKey(event))} means ${action} now.`);
  }

  setKeys(keys, told) {
    this.keys = keys;
    const kept = saveKeys(keys);
    this.nameKeys();
    this.listKeys(kept ? told : `${told} This browser's storage is off, so only until the page closes.`);
  }

  nameKeys() {
    for (const button of this.root.querySelectorAll("[data-do]")) button.querySelector("kbd").textContent = keyName(this.keys[button.dataset.do]);
  }
}

const sorters = new WeakMap();

// Streamlit calls this on every run of the page, and what it returns when the component goes away.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".sorting");
  if (!sorters.has(root)) sorters.set(root, new Sorter(root));
  const sorter = sorters.get(root);
  sorter.use(data);
  return () => sorter.stop();
}
