// The grid's tiles and class buttons in the document: draws what the grid says, and tells it of clicks.

const STATES = { ...MARKS, flagged: "⚑" };

class Board {
  constructor(screen) {
    Object.assign(this, { screen, grid: screen.find(".tiles"), tiles: [], buttons: new Map() });
    for (let row = 0; row < PAGE / COLUMNS; row++) {
      const line = document.createElement("div");
      line.setAttribute("role", "row");
      line.append(...Array.from({ length: COLUMNS }, () => this.tile()));
      this.grid.append(line);
    }
    this.message = document.createElement("div");
    this.message.className = "words";
    this.grid.append(this.message);
    this.grid.addEventListener("pointerdown", (event) => (this.touch = event.pointerType === "touch"));
    this.grid.addEventListener("mousedown", (event) => event.preventDefault()); // the focus goes where the grid says
    this.grid.addEventListener("click", (event) => this.clicked(event));
    this.grid.addEventListener("dblclick", (event) => this.placeOf(event) >= 0 && screen.act("zoom"));
  }

  tile() {
    const tile = document.createElement("div");
    tile.className = "tile";
    tile.setAttribute("role", "gridcell");
    tile.innerHTML = '<span class="picture"></span><span class="tick" aria-hidden="true">✓</span><span class="state"></span>';
    this.tiles.push(tile);
    return tile;
  }

  placeOf(event) {
    return this.tiles.indexOf(event.target.closest(".tile:not([hidden])"));
  }

  clicked(event) {
    const place = this.placeOf(event);
    if (place >= 0) this.screen.pick(place, event, this.touch);
    else this.screen.select([]);
  }

  focus(place) {
    (this.tiles[place].hidden ? this.grid : this.tiles[place]).focus({ preventScroll: true });
  }

  // -- drawing -------------------------------------------------------------------------------------

  draw() {
    const { page } = this.screen;
    this.tiles.forEach((tile, place) => this.drawTile(tile, place, page[place]));
    const text = page.length ? "" : this.screen.emptiness();
    if (this.message.textContent !== text) this.message.textContent = text;
    this.message.hidden = Boolean(page.length);
    this.drawClasses();
    this.drawLarge(page[this.screen.active]);
  }

  drawTile(tile, place, item) {
    const { screen } = this;
    tile.hidden = !item;
    tile.tabIndex = place === screen.active ? 0 : -1;
    tile.setAttribute("aria-selected", String(screen.selected.has(place)));
    const holder = tile.firstChild;
    if (holder.firstChild !== (item?.picture ?? null)) holder.replaceChildren(...(item?.picture ? [item.picture] : []));
    if (screen.seen.has(item?.example)) tile.dataset.example = item.example; // there exactly while keys count for this image
    else delete tile.dataset.example;
    if (!item) return;
    if (item.broken) holder.textContent = "can't be shown";
    const state = screen.past.stateOf(item.example) ?? "";
    tile.dataset.state = state;
    const text = state in STATES ? `${STATES[state]} ${state}` : state;
    if (tile.lastChild.textContent !== text) tile.lastChild.textContent = text;
    tile.setAttribute("aria-label", `image ${place + 1} of ${screen.page.length}, ${item.class_title}, ${state || "no level"}`);
  }

  drawClasses() {
    const { classes, left, name } = this.screen;
    if ([...this.buttons.keys()].join("/") !== [...classes.keys()].join("/")) this.makeButtons(classes);
    for (const [each, button] of this.buttons) {
      const count = left?.[each];
      button.lastChild.textContent = count === undefined ? "" : count ? number(count) : "✓";
      button.setAttribute("aria-label", `${classes.get(each)}${count === undefined ? "" : `, ${number(count)} left`}`);
      const pressed = String(each === name);
      if (button.getAttribute("aria-pressed") === pressed) continue;
      button.setAttribute("aria-pressed", pressed);
      if (each === name) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    this.screen.find("[data-do=next]").firstChild.data = this.nextText();
  }

  makeButtons(classes) {
    this.buttons = new Map([...classes].map(([name, title]) => {
      const button = document.createElement("button");
      button.append(title, " ", document.createElement("span"));
      this.screen.sparesFocus(button);
      button.addEventListener("click", () => this.screen.switchTo(name));
      return [name, button];
    }));
    this.screen.find(".classes").replaceChildren(...this.buttons.values());
  }

  nextText() {
    const { left, name } = this.screen;
    return left && left[name] <= this.screen.openItems().length && this.screen.otherClass() ? "Next class " : `Next ${PAGE} `;
  }

  // The thumbnail at once, the image itself as soon as it is there.
  drawLarge(item) {
    const { large } = this.screen;
    if (!large.open || !item) return;
    const [picture, words] = large.children;
    const state = this.screen.past.stateOf(item.example);
    words.textContent = `${item.class_title} · image ${this.screen.active + 1} of ${this.screen.page.length} · ${state ? levelText(state) : "no level"}`;
    if (picture.dataset.of === item.example) return;
    Object.assign(picture.dataset, { of: item.example });
    picture.src = thumbOf(item);
    picture.alt = item.picture?.alt ?? "";
    const whole = new Image();
    whole.src = item.image;
    whole.decode().then(() => picture.dataset.of === item.example && (picture.src = whole.src)).catch(() => {});
  }
}
