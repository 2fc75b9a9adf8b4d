// Fours to compare: those in hand, with their pictures, and one's own of the past, which undo brings back.

const FOURS_AHEAD = 4;
const KEPT_FOURS = 12; // of the past, that stay loaded

const nameOf = (examples) => [...examples].sort().join("\n");
const fourOf = (cards, adaptive) => {
  const examples = cards.map((card) => card.example);
  return { cards, adaptive, examples, example: nameOf(examples) }; // one name, as an image has in its queue
};

class Fours extends Queue {
  constructor(outbox, listener) {
    super(outbox, listener, { ahead: FOURS_AHEAD });
    this.skipped = new Map();
  }

  // Passed over: it comes again when there is no other.
  skip(four) {
    this.skipped.set(four.example, four.examples);
    this.judge(four.example);
  }

  prepare() {
    for (const four of this.hand.slice(0, this.ahead)) for (const card of four.cards) ready(card);
    for (const { cards } of this.hand.slice(1, 3)) for (const { picture } of cards) picture?.decode().catch(() => {});
  }

  onTheWay() {
    return this.outbox.entries.flatMap(({ event }) => (event.examples ? [event.examples] : []));
  }

  // True when the server answered. `limit` 0 asks for the progress alone.
  async ask(limit) {
    const since = this.judgements;
    const waiting = this.onTheWay();
    const quiet = !this.outbox.waiting();
    const fours = [...this.hand.map((four) => four.examples), ...waiting, ...this.skipped.values()];
    const exclude = [...new Map(fours.map((examples) => [nameOf(examples), examples])).values()];
    try {
      const { status, answer } = await post("/api/fours", { token: this.outbox.token, dataset: this.outbox.dataset, exclude, limit });
      if (status === 403) this.outbox.deny(answer.error);
      if (status !== 200) return false;
      if (limit !== 0) this.take(answer, since, waiting);
      if ((quiet && since === this.judgements) || !this.listener.knowsProgress()) this.listener.progress(answer.progress);
      return true;
    } catch {
      return false;
    }
  }

  take({ fours, end }, since, waiting) {
    const inHand = new Set(this.hand.map((four) => four.example));
    const all = fours.map(({ examples, adaptive }) => fourOf(examples, adaptive));
    const fresh = all.filter(({ example }) => !inHand.has(example) && !((this.judged.get(example) ?? 0) > since));
    this.hand.push(...fresh);
    this.end = end;
    const none = !this.hand.length && !waiting.length;
    this.finished = none && !this.skipped.size;
    if (none) this.skipped.clear();
    this.prepare();
    this.listener.filled();
  }
}

// One's own comparisons that stand, newest first; older ones are fetched as undo needs them.
class PastFours {
  constructor(outbox) {
    Object.assign(this, { outbox, done: [], gone: new Set(), more: true, loading: null, oldest: undefined });
  }

  // Fetches one more page; false where there is none or the server doesn't answer.
  load() {
    this.loading ??= this.page().finally(() => (this.loading = null));
    return this.loading;
  }

  async page() {
    if (!this.more || this.outbox.inherits()) return false; // what waits there is newer than all that the server could list
    try {
      const body = { token: this.outbox.token, dataset: this.outbox.dataset, before: this.oldest };
      const { status, answer } = await post("/api/fours/history", body);
      if (status !== 200) return false;
      this.asked = true;
      const known = new Set([...this.gone, ...this.done.map(({ id }) => id)]);
      for (const { id, examples, adaptive } of answer.comparisons) if (!known.has(id)) this.done.push({ id, four: fourOf(examples, adaptive) });
      this.oldest = answer.comparisons.at(-1)?.id ?? this.oldest;
      this.more = answer.more;
      return true;
    } catch {
      return false;
    }
  }

  add(id, four) {
    this.done.unshift({ id, four });
    for (const card of this.done[KEPT_FOURS]?.four.cards ?? []) Object.assign(card, { picture: null, loading: null });
  }

  drop(id) {
    this.gone.add(id);
    this.done = this.done.filter((one) => one.id !== id);
  }

  // What undo takes back; undefined where nothing is left, or the server is away.
  async latest() {
    while (!this.done.length && this.more) if (!(await this.load())) break;
    return this.done[0];
  }
}
