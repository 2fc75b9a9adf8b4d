// One's own standing judgements, newest first: what undo takes back and what Back walks over. Pages of older ones are
// fetched as they are needed; what is done in this tab is put in front.

class Past {
  constructor(outbox) {
    Object.assign(this, { outbox, events: [], levels: new Map(), turned: new Set(), more: true, loading: null, oldest: undefined });
  }

  // Fetches one more page; false where there is none or the server doesn't answer.
  load() {
    this.loading ??= this.page().finally(() => (this.loading = null));
    return this.loading;
  }

  async page() {
    if (!this.more || this.outbox.inherits()) return false; // what waits there is newer than all that the server could list
    try {
      const body = { token: this.outbox.token, dataset: this.outbox.dataset };
      const { status, answer } = await post("/api/history", this.oldest ? { ...body, before: this.oldest } : body);
      if (status !== 200) return false;
      this.asked = true;
      this.take(answer);
      return true;
    } catch {
      return false;
    }
  }

  take({ events, levels, more }) {
    const known = new Set(this.events.map((event) => event.id));
    for (const event of events) {
      event.item = { example: event.example, image: event.image, class_title: event.class_title };
      if (!known.has(event.id) && !this.undone?.has(event.id)) this.events.push(event);
    }
    for (const [example, labels] of Object.entries(levels)) {
      if (this.turned.has(example)) continue; // judged in this tab, which the server may not know yet
      const newer = this.levels.get(example) ?? [];
      const ids = new Set(newer.map((label) => label.id));
      const older = labels.filter(({ id }) => !ids.has(id) && !this.undone?.has(id));
      this.levels.set(example, [...newer, ...older]);
    }
    this.oldest = events.at(-1)?.id ?? this.oldest;
    this.more = more;
  }

  // `live`: the image has its turn. What was said of it before, if anything, is over then.
  add(event, item, live) {
    if (live) {
      this.turned.add(item.example);
      this.levels.set(item.example, []);
    }
    this.events.unshift({ ...event, item, undoable: true });
    if (event.action === "label") this.levels.set(item.example, [{ id: event.id, level: event.level }, ...(this.levels.get(item.example) ?? [])]);
  }

  drop(id) {
    (this.undone ??= new Set()).add(id);
    const gone = this.events.find((event) => event.id === id);
    this.events = this.events.filter((event) => event.id !== id);
    if (gone) this.levels.set(gone.example, (this.levels.get(gone.example) ?? []).filter((label) => label.id !== id));
    return gone;
  }

  // What an undo takes back: the latest judgement, or all of a key press in the grid; older pages as they are needed.
  async latest() {
    for (;;) {
      const found = this.events.find((event) => event.undoable);
      const all = found?.batch ? this.events.filter((event) => event.batch === found.batch && event.undoable) : [found];
      if (found && (!found.batch || !this.more || this.events.at(-1).batch !== found.batch)) return all.reverse();
      if (!this.more) return [];
      if (!(await this.load())) return [];
    }
  }

  // While an image has its turn it has no level yet.
  levelOf(example, live) {
    return live ? null : (this.levels.get(example)?.[0]?.level ?? null);
  }

  // What was done with an image since its turn came: an older label, which doesn't count any more, ends it.
  since(example, live) {
    const counts = new Set((!live && this.levels.get(example)?.map(({ id }) => id)) || []);
    const events = this.events.filter((event) => event.example === example);
    const end = events.findIndex((event) => event.action === "label" && !counts.has(event.id));
    return end < 0 ? events : events.slice(0, end);
  }

  // While an image has its turn, only what was noted on it in this turn.
  noteOf(item, live) {
    const events = live ? this.events.filter((event) => event.item === item) : this.since(item.example);
    return events.find((event) => event.action === "note")?.note ?? "";
  }

  // What stands of an image: a level, flagged, skipped, or nothing.
  stateOf(example, live) {
    const has = (action) => this.since(example, live).some((event) => event.action === action);
    return this.levelOf(example, live) ?? (has("flag") ? "flagged" : has("skip") ? "skipped" : null);
  }

  // The images judged, each once, newest first, without the one that is to be judged now.
  images(now) {
    const seen = new Map();
    for (const { item } of this.events) if (item.example !== now?.example && !seen.has(item.example)) seen.set(item.example, item);
    return [...seen.values()];
  }
}
