// The dialogs of a sorting screen: flag, note, and the list of keys in which they can be changed.

class Dialogs {
  constructor(screen) {
    Object.assign(this, { screen, root: screen.root, choosing: null });
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
    this.find(".examples").addEventListener("keydown", (event) => plainKey(event) === screen.keys.examples && this.find(".examples").close());
    for (const dialog of this.root.querySelectorAll("dialog")) {
      dialog.addEventListener("close", () => screen.focus());
      dialog.addEventListener("keydown", (event) => event.stopPropagation()); // R and C are letters here
    }
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  flag(images) {
    this.find(".flagging h2").textContent = `What is wrong with ${images === 1 ? "this image" : `these ${images} images`}?`;
    this.find(".flagging").showModal();
  }

  flagAs(reason) {
    this.find(".flagging").close();
    this.screen.judge("flag", { note: reason });
  }

  // A note that was left with Esc stands there again when the same image's note is opened next.
  note(example) {
    if (this.noted !== example) this.find(".noting textarea").value = "";
    this.noted = example;
    this.find(".noting").showModal();
    this.find(".noting textarea").focus();
  }

  saveNote() {
    const text = this.find(".noting textarea").value.trim();
    this.noted = null;
    this.find(".noting").close();
    if (text) this.screen.keepNote(text);
  }

  // -- examples ------------------------------------------------------------------------------------

  examples() {
    const { anchors } = this.screen;
    const columns = Object.keys(MARKS).map((level) => this.column(level, anchors.filter((anchor) => anchor.level === level)));
    this.find(".anchors").replaceChildren(...(anchors.length ? columns : ["Who leads hasn't chosen examples yet."]));
    this.find(".examples").showModal();
    this.find(".examples").focus();
  }

  column(level, anchors) {
    const column = document.createElement("section");
    column.innerHTML = '<h3></h3><div class="shown"></div>';
    column.firstChild.textContent = levelText(level);
    column.lastChild.append(...anchors.map(({ thumb, title, reason }) => {
      const figure = document.createElement("figure");
      figure.innerHTML = "<img><figcaption><b></b><br><span></span></figcaption>";
      Object.assign(figure.querySelector("img"), { src: thumb, alt: `${level}: ${title}` });
      figure.querySelector("b").textContent = title;
      figure.querySelector("span").textContent = reason;
      return figure;
    }));
    return column;
  }

  // -- keys ----------------------------------------------------------------------------------------

  help() {
    this.choosing = null;
    this.listKeys("");
    this.find(".helping").showModal();
  }

  listKeys(told) {
    const own = Object.keys(this.screen.meaning).map((action) => {
      const row = this.row(this.screen.meaning[action], this.choosing === action ? "press a key" : keyName(this.screen.keys[action]));
      row.insertAdjacentHTML("beforeend", "<td><button>Change</button></td>");
      row.querySelector("button").setAttribute("aria-label", `Change the key for ${action}`);
      row.querySelector("button").addEventListener("click", () => this.choose(action));
      return row;
    });
    this.find(".helping table").replaceChildren(...own, ...this.screen.fixed.map(([key, meaning]) => this.row(meaning, key)));
    this.find(".told").textContent = told;
  }

  row(meaning, key) {
    const row = document.createElement("tr");
    row.innerHTML = "<td></td><td><kbd></kbd></td>";
    row.querySelector("td").textContent = meaning;
    row.querySelector("kbd").textContent = key;
    return row;
  }

  choose(action) {
    this.choosing = action;
    this.listKeys(`Press the new key for ${action}, or Esc.`);
    this.find(".helping").focus();
  }

  newKey(event) {
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    if (!this.choosing) {
      if (plainKey(event) === this.screen.keys.help) this.find(".helping").close();
      return;
    }
    event.preventDefault();
    const action = this.choosing;
    this.choosing = null;
    if (event.key === "Escape") return this.listKeys("");
    const key = plainKey(event);
    const reason = whyNot(this.screen.keys, action, key) || (this.screen.moves.includes(key) ? `${keyName(key)} moves and selects here.` : "");
    if (reason) return this.listKeys(reason);
    this.setKeys({ ...loadKeys(), [action]: key }, `${keyName(key)} means ${action} now.`);
  }

  setKeys(keys, told) {
    const kept = saveKeys(keys);
    this.screen.useKeys(keys);
    this.listKeys(kept ? told : `${told} This browser's storage is off, so only until the page closes.`);
  }
}
