// The images in hand: listed by the server, loaded and decoded before their turn, so that the next one shows at once.

const DECODED = 8;
const ASK_AGAIN = 5_000;
const ONE_BY_ONE = { ahead: 16 };

const thumbOf = (item) => item.image.replace("/img/", "/thumb/");

// Loads and decodes a picture; a server that is away is waited for, a picture that can't be shown is `broken`.
async function loadPicture(item, address) {
  for (let tries = 0; ; ) {
    const picture = new Image();
    picture.decoding = "sync"; // never a frame with an empty place
    picture.alt = `an image of the class ${item.class_title}`;
    picture.src = address + (tries ? `?again=${Date.now()}` : "");
    try {
      await picture.decode();
      item.picture = picture;
      return;
    } catch {
      if ((await answers(address)) && ++tries > 1) {
        item.broken = true;
        return;
      }
    }
    await pause(700);
  }
}

// Whether the server itself says that it has this picture, or hasn't: a login page in its place, of a proxy or a hotel, says neither.
async function answers(address) {
  try {
    const { ok, status, headers } = await fetch(address, { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN) });
    return ok ? Boolean(headers.get("Content-Type")?.startsWith("image/")) : status === 404;
  } catch {
    return false;
  }
}

const ready = (item, address = item.image) => (item.loading ??= loadPicture(item, address));

class Queue {
  // `ahead`: how many images are kept loaded; `ofClass`: of one class alone; `small`: thumbnails.
  constructor(outbox, listener, { ahead, ofClass, small } = ONE_BY_ONE) {
    Object.assign(this, { outbox, listener, ahead, ofClass, small, hand: [], finished: false, end: null, later: false, filling: false });
    Object.assign(this, { judgements: 0, judged: new Map(), stopped: false });
  }

  current() {
    return this.hand[0];
  }

  // Judged: out of the hand, and not in again by an answer that was asked for before.
  judge(example) {
    this.judged.set(example, ++this.judgements);
    this.finished = false;
    this.hand = this.hand.filter((item) => item.example !== example);
    this.prepare();
    this.fill();
  }

  putBack(item) {
    this.hand = [item, ...this.hand.filter((other) => other.example !== item.example)];
    this.prepare();
  }

  prepare() {
    for (const item of this.hand.slice(0, this.ahead)) ready(item, this.small ? thumbOf(item) : item.image);
    for (const item of this.hand.slice(1, DECODED)) item.picture?.decode().catch(() => {});
  }

  async fill() {
    if (this.filling || this.finished || this.hand.length >= this.ahead) return;
    this.filling = true;
    for (let wait = 300; !this.stopped && !(await this.ask(this.small ? this.ahead : undefined)); wait = Math.min(wait * 2, LONGEST_WAIT)) await pause(wait);
    if (this.later && !this.hand.length) await pause(ASK_AGAIN);
    this.filling = false;
    // Asked while the last answer was still on its way, the server couldn't say whether that was all.
    if (!this.hand.length && !this.stopped && !this.outbox.waiting()) this.fill();
  }

  // True when the server answered. `limit` 0 asks for the progress alone.
  async ask(limit) {
    const since = this.judgements;
    const quiet = !this.outbox.waiting();
    const exclude = [...new Set([...this.hand.map((item) => item.example), ...this.outbox.examples().filter(Boolean)])];
    try {
      const { status, answer } = await post("/api/queue", { token: this.outbox.token, dataset: this.outbox.dataset, exclude, limit, class: this.ofClass });
      if (status === 403) this.outbox.deny(answer.error);
      if (status !== 200) return false;
      if (limit !== 0) this.take(answer, since, exclude);
      // Counts that are older than what was pressed meanwhile would jump back.
      if ((quiet && since === this.judgements) || !this.listener.knowsProgress()) this.listener.progress(answer.progress, answer.left);
      return true;
    } catch {
      return false;
    }
  }

  take({ examples: cards, end, later }, since, excluded) {
    const inHand = new Set(this.hand.map((item) => item.example));
    const waiting = new Set(this.outbox.examples()); // of a tab that is gone, perhaps, and taken over while this was asked
    const open = cards.filter(({ example }) => !waiting.has(example) || excluded.includes(example));
    const fresh = open.filter(({ example }) => !inHand.has(example) && !((this.judged.get(example) ?? 0) > since));
    this.hand.push(...fresh);
    Object.assign(this, { end, later });
    this.finished = !fresh.length && !excluded.length && !later && open.length === cards.length; // else a skipped image of the outbox may be due again
    this.prepare();
    this.listener.filled();
  }
}
