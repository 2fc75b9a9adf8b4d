// The outbox: every event is in localStorage before the next image shows, and leaves it only when the server
// says that it is stored. Sending twice does no harm (the server knows an event by its id); sending never would.

const SPACE = "curriculum-sorting";
const BATCH_EVENTS = 100;
const BATCH_LETTERS = 50_000; // below the 64 KB that a browser sends for a page that is going away
const ANSWER_WITHIN = 15_000;
const HEARTBEAT_EVERY = 20_000;
const HEARTBEAT_GONE = 180_000; // hidden tabs' timers run once a minute
const LONGEST_WAIT = 8_000;

// crypto.randomUUID exists on https and localhost only, a team's server may be plain http.
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function post(path, body, options = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_WITHIN),
    ...options,
  });
  return { status: response.status, answer: await response.json() };
}

// One tab is one load of the page. It outlives the component: a click on another page of the app must not stop sending.
// `before`: earlier loads in the same tab, whose answers are this one's at once. (A duplicated tab takes them for its own
// too: then they are sent twice, which does no harm.)
const tab = (globalThis.curriculumSorting ??= { id: uuid(), before: earlierLoads(), outboxes: new Map(), lives: false });

function earlierLoads() {
  try {
    return JSON.parse(sessionStorage.getItem(`${SPACE}-loads`)) ?? [];
  } catch {
    return [];
  }
}

class Outbox {
  static of(annotator, dataset) {
    const prefix = [SPACE, encodeURIComponent(annotator), encodeURIComponent(dataset), ""].join("|");
    if (!tab.outboxes.has(prefix)) tab.outboxes.set(prefix, new Outbox(prefix, annotator, dataset));
    return tab.outboxes.get(prefix);
  }

  constructor(prefix, annotator, dataset) {
    Object.assign(this, { prefix, annotator, dataset, token: null, entries: [], count: 0, busy: false, failures: 0, batch: BATCH_EVENTS });
    Object.assign(this, { away: false, denied: "", memoryOnly: false, adopted: new Set(), listener: null, wake: null });
    for (const load of tab.before) this.take(load); // before the first question which images are next
    this.live();
    addEventListener("online", () => this.retry());
    addEventListener("pageshow", () => this.retry());
    addEventListener("pagehide", () => this.flush());
    addEventListener("beforeunload", (event) => {
      if (this.memoryOnly && this.entries.length) event.preventDefault();
    });
    setInterval(() => this.adopt(), 30_000);
  }

  // -- keeping ---------------------------------------------------------------------------------

  add(...events) {
    for (const event of events) this.store(event);
    this.tell();
    this.pump();
  }

  store(event) {
    const key = `${this.prefix}${tab.id}|${String(this.count++).padStart(9, "0")}`;
    try {
      localStorage.setItem(key, JSON.stringify(event));
    } catch {
      this.memoryOnly = true;
    }
    this.entries.push({ key, event });
  }

  remove(ids) {
    const gone = this.entries.filter((entry) => ids.has(entry.event.id));
    this.entries = this.entries.filter((entry) => !ids.has(entry.event.id));
    for (const { key } of gone) forget(key);
    if (!this.entries.length) this.memoryOnly = !storageWorks();
    return gone.map((entry) => entry.event);
  }

  waiting() {
    return this.entries.length;
  }

  examples() {
    return this.entries.map((entry) => entry.event.example);
  }

  // Whether answers of an earlier page wait: the server's list of what was done lacks them.
  inherits() {
    return this.entries.some(({ key }) => !key.startsWith(`${this.prefix}${tab.id}|`));
  }

  // -- sending ---------------------------------------------------------------------------------

  use(token, listener) {
    this.token = token;
    this.listener = listener;
    this.denied = "";
    this.adopt();
    this.retry();
  }

  retry() {
    clearTimeout(this.wake);
    this.pump();
  }

  async pump() {
    if (this.busy || !this.token) return;
    this.busy = true;
    let going = true;
    while (going && this.entries.length) going = await this.send(this.next());
    this.busy = false;
    this.tell();
  }

  next() {
    const batch = [];
    let letters = 0;
    for (const { event } of this.entries.slice(0, this.batch)) {
      letters += JSON.stringify(event).length * 3; // a letter is up to three bytes
      if (batch.length && letters > BATCH_LETTERS) break;
      batch.push(event);
    }
    return batch;
  }

  body(batch) {
    return { token: this.token, dataset: this.dataset, events: batch };
  }

  // True: go on with the next batch at once.
  async send(batch) {
    try {
      const { status, answer } = await post("/api/annotations", this.body(batch));
      if (status === 200) return this.acknowledge(batch, answer);
      const ours = typeof answer?.error === "string"; // a proxy or a login page refuses in words of its own: what was answered waits
      if (ours && status === 403) return this.deny(answer.error);
      if (ours && (status === 400 || status === 413)) return this.single(batch, answer.error);
    } catch {
      // no connection, no answer in time, or an answer that isn't ours: the same as a server that is away
    }
    this.away = true;
    this.tell();
    this.wake = setTimeout(() => this.pump(), Math.min(LONGEST_WAIT, 250 * 2 ** this.failures++) * (0.75 + Math.random() / 2));
    return false;
  }

  acknowledge(batch, answer) {
    Object.assign(this, { away: false, denied: "", failures: 0, batch: BATCH_EVENTS });
    const stored = this.remove(new Set(answer.stored));
    const refused = answer.refused.filter(({ id }) => batch.some((event) => event.id === id));
    for (const { id, reason } of refused) this.refuse(this.remove(new Set([id])), reason);
    this.tell(stored);
    return stored.length + refused.length > 0;
  }

  deny(reason) {
    this.denied = reason;
    this.tell();
    return false; // a new token, from a page loaded anew, goes on
  }

  // A batch that was turned away as a whole: one by one, so that a bad event doesn't hold up the good ones.
  single(batch, reason) {
    if (batch.length === 1) this.refuse(this.remove(new Set([batch[0].id])), reason);
    this.batch = 1;
    return true;
  }

  refuse(events, reason) {
    for (const event of events) this.listener?.refused(event, reason);
  }

  // The page is going away: once more, without waiting for the answer. What isn't acknowledged stays in the outbox.
  flush() {
    if (!this.entries.length || !this.token) return;
    post("/api/annotations", this.body(this.next()), { keepalive: true, signal: undefined }).catch(() => {});
  }

  tell(stored = []) {
    this.listener?.outboxChanged();
    if (stored.length) this.listener?.stored(stored);
  }

  // -- what was left elsewhere -------------------------------------------------------------------

  // What this person left of other data sets is sent too; `tokens` by data set.
  sendElsewhere(tokens) {
    const mine = everythingLeft().filter(([name]) => name === this.annotator);
    for (const dataset of new Set(mine.map(([, dataset]) => dataset))) {
      const refused = (event, reason) => this.listener?.refused(event, `${reason} (data set ${dataset})`);
      const known = dataset in tokens && dataset !== this.dataset;
      if (known) Outbox.of(this.annotator, dataset).use(tokens[dataset], { outboxChanged() {}, stored() {}, refused });
    }
  }

  // Only they themselves can send what other people left: how many answers, by name.
  othersLeft() {
    const left = {};
    for (const [name] of everythingLeft()) if (name !== this.annotator) left[name] = (left[name] ?? 0) + 1;
    return left;
  }

  // Who holds the lock of an outbox is the only one to send what is in it: first its page, when that is gone another.
  live() {
    if (navigator.locks) navigator.locks.request(this.prefix + tab.id, () => new Promise(() => {})); // held until the page is gone
    if (tab.lives) return;
    tab.lives = true;
    try {
      sessionStorage.setItem(`${SPACE}-loads`, JSON.stringify([...tab.before.filter((load) => keysOf(SPACE).some((key) => key.includes(load))), tab.id]));
    } catch {
      // then the heartbeat or the lock of this page tells the next that it is gone
    }
    if (!navigator.locks) {
      const beat = () => remember(`${SPACE}-alive|${tab.id}`, String(Date.now()));
      beat();
      setInterval(beat, HEARTBEAT_EVERY);
      addEventListener("pageshow", beat);
      addEventListener("pagehide", () => forget(`${SPACE}-alive|${tab.id}`)); // another tab may send at once what waits here
    }
  }

  adopt() {
    const others = keysOf(this.prefix).map((key) => key.slice(this.prefix.length).split("|")[0]);
    for (const other of new Set(others)) {
      if (other !== tab.id && !this.adopted.has(other)) this.adoptIfGone(other);
    }
  }

  adoptIfGone(other) {
    if (navigator.locks) {
      navigator.locks.request(this.prefix + other, { ifAvailable: true }, (lock) => lock && this.take(other));
    } else if (Date.now() - Number(recall(`${SPACE}-alive|${other}`)) > HEARTBEAT_GONE) {
      this.take(other);
    }
  }

  take(other) {
    this.adopted.add(other);
    const found = [];
    for (const key of keysOf(`${this.prefix}${other}|`)) {
      try {
        found.push({ key, event: JSON.parse(recall(key)) });
      } catch {
        console.warn("an entry of the outbox can't be read and is left where it is", key);
      }
    }
    this.entries = [...found.filter((entry) => entry.event), ...this.entries];
    this.tell();
    this.pump();
    return new Promise(() => {});
  }
}

function keysOf(prefix) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).sort();
  } catch {
    return [];
  }
}

// Whose answers wait in this browser, and of which data set: a pair for each answer.
const everythingLeft = () => keysOf(`${SPACE}|`).map((key) => key.split("|").slice(1, 3).map(decodeURIComponent));

function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
    return true;
  } catch {
    return false;
  }
}

function forget(key) {
  try {
    localStorage.removeItem(key);
  } catch {
    // nothing was kept there either
  }
}

function storageWorks() {
  const works = remember(`${SPACE}-probe`, "x");
  forget(`${SPACE}-probe`);
  return works;
}
