// Which key does what: the defaults, a person's own choice (kept in this browser), and what may not be chosen.

const DEFAULT_KEYS = {
  easy: "1",
  medium: "2",
  hard: "3",
  undo: "Backspace",
  back: "ArrowLeft",
  forward: "ArrowRight",
  skip: " ",
  flag: "f",
  note: "n",
  zoom: "z",
  examples: "h",
  help: "?",
};

const MEANING = {
  easy: "○ easy, and on to the next image",
  medium: "◐ medium, and on to the next image",
  hard: "● hard, and on to the next image",
  undo: "Undo: takes back what you did last, as often as you like, over days",
  back: "Back over the images that you have judged; a level key there judges anew",
  forward: "Forward again",
  skip: "Skip: the image comes again at the end",
  flag: "Flag: wrong class or broken image",
  note: "Note on this image",
  zoom: "Zoom: whole image or actual pixels",
  examples: "Examples of easy, medium and hard, chosen by who leads",
  help: "This list",
};

const KEY_NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Backspace: "⌫" };
const KEYS_PLACE = `${SPACE}-keys`;
const TAKEN = { r: "Streamlit runs the page anew with R", c: "Streamlit clears its cache with C" };
const NEEDED = ["Tab", "Enter", "Escape", "Shift", "Control", "Alt", "Meta", "AltGraph", "Dead", "Process", "Unidentified"];

const keyName = (key) => key.startsWith("no key") ? "" : KEY_NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
const plainKey = (event) => (event.key.length === 1 ? event.key.toLowerCase() : event.key);

function loadKeys() {
  try {
    const own = JSON.parse(recall(KEYS_PLACE)) ?? {};
    const taken = new Set(Object.values(own));
    // An action that is newer than the person's choice has no key where that choice has taken its own.
    const keyOf = (action) => (typeof own[action] === "string" ? own[action] : taken.has(DEFAULT_KEYS[action]) ? `no key for ${action}` : DEFAULT_KEYS[action]);
    const keys = Object.fromEntries(Object.keys(DEFAULT_KEYS).map((action) => [action, keyOf(action)]));
    return new Set(Object.values(keys)).size === Object.keys(keys).length ? keys : { ...DEFAULT_KEYS };
  } catch {
    return { ...DEFAULT_KEYS };
  }
}

const saveKeys = (keys) => remember(KEYS_PLACE, JSON.stringify(keys));

// Why an action can't have this key; "" where it can.
function whyNot(keys, action, key) {
  if (TAKEN[key]) return `${keyName(key)} can't be used: ${TAKEN[key]}.`;
  if (NEEDED.includes(key)) return `${key} can't be used: the browser needs it.`;
  const other = Object.keys(keys).find((name) => name !== action && keys[name] === key);
  return other ? `${keyName(key)} means ${other} already.` : "";
}

// Keys count by their place too: a French keyboard types digits only with Shift, a Greek one no Latin letters at all.
function actionOf(keys, event) {
  const find = (key) => Object.keys(keys).find((action) => keys[action] === key);
  const [, digit] = (!event.shiftKey && /^Digit(\d)$/.exec(event.code)) || [];
  const [, letter] = (/[^\x00-\x7f]/.test(event.key) && /^Key([A-Z])$/.exec(event.code)) || [];
  return find(plainKey(event)) ?? find(digit ?? letter?.toLowerCase());
}

function isTyping(event) {
  const target = event.composedPath()[0];
  return Boolean(target?.isContentEditable || target?.matches?.("input, textarea, select, [role=combobox], [role=listbox] *, [role=slider]"));
}

// A button that was reached by the keyboard keeps its own Space and Enter.
function pressesButton(event) {
  return (event.key === " " || event.key === "Enter") && Boolean(event.composedPath()[0]?.closest?.("button, [role=button], summary"));
}
