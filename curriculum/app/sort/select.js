// Moving over a page of images and selecting among them, as file managers do: keys, mouse and touch.

const COLUMNS = 5;
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS };
const MOVES = [...Object.keys(STEPS), " ", "Home", "End", "PageUp", "PageDown"];

// `page` holds the images, `active` is the place in focus, `selected` places, `anchor` where a selection began.
class Selecting extends Screen {
  fixedKey(event) {
    const control = event.ctrlKey || event.metaKey;
    if (event.altKey || (control && event.shiftKey)) return false;
    if (event.key === "Escape" && this.large.open) return false; // closes it, as Esc closes any dialog
    const does = {
      Enter: () => event.repeat || control || (this.large.open ? this.large.close() : this.next()),
      Escape: () => this.select([]),
      PageUp: () => this.otherClass(-1) && this.switchTo(this.otherClass(-1)),
      PageDown: () => this.otherClass() && this.switchTo(this.otherClass()),
      " ": () => event.repeat || this.toggle(this.active),
      Home: () => this.step(control ? 0 : this.active - (this.active % COLUMNS), event),
      End: () => this.step(control ? this.page.length - 1 : this.active - (this.active % COLUMNS) + COLUMNS - 1, event),
    }[event.key];
    const all = control && plainKey(event) === "a";
    const step = STEPS[event.key];
    if (!does && !all && !step) return false;
    this.told = "";
    if (event.key !== "Enter") this.stay();
    if (all) this.selectAll();
    else if (step) this.step(this.active + step, event);
    else does();
    return true;
  }

  step(place, { shiftKey, ctrlKey, metaKey }) {
    const to = place < this.page.length || place - this.active === COLUMNS ? place : this.page.length - 1;
    if (to < 0 || to >= this.page.length) return;
    if (shiftKey) return this.extendTo(to);
    if (!ctrlKey && !metaKey) this.selected.clear();
    this.anchor = to;
    this.moveTo(to);
  }

  moveTo(place) {
    this.active = place;
    this.anchor = this.selected.size ? this.anchor : place;
    this.words();
    this.focus();
  }

  extendTo(place) {
    const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)];
    this.selected = new Set([...this.page.keys()].slice(from, to + 1));
    this.moveTo(place);
  }

  toggle(place) {
    if (!this.selected.delete(place)) this.selected.add(place);
    this.anchor = place;
    this.moveTo(place);
  }

  select(places) {
    this.selected = new Set(places);
    this.words();
  }

  selectAll() {
    const all = [...this.page.keys()];
    const open = all.filter((place) => this.isOpen(this.page[place]));
    const already = open.every((place) => this.selected.has(place));
    this.select(already ? all : open);
  }

  pick(place, { shiftKey, ctrlKey, metaKey }, touch) {
    this.told = "";
    this.stay();
    if (shiftKey) return this.extendTo(place);
    if (ctrlKey || metaKey || touch) return this.toggle(place);
    this.selected = new Set([place]);
    this.anchor = place;
    this.moveTo(place);
  }
}
