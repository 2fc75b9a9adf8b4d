// A grid of thumbnails; the page is told which one was pressed.

function tile({ example, sha256, title, caption }, pick) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "tile", title, onclick: () => pick(example) });
  const image = document.createElement("img");
  Object.assign(image, { loading: "lazy", src: `/thumb/${sha256}`, alt: title });
  const lines = caption.map((line) => Object.assign(document.createElement("span"), { textContent: line }));
  button.dataset.example = example;
  button.append(image, ...lines);
  return button;
}

export default ({ data, parentElement, setTriggerValue }) => {
  const grid = parentElement.querySelector(".tiles");
  const shown = JSON.stringify(data);
  if (grid.dataset.shown === shown) return; // every run of the page calls anew
  grid.dataset.shown = shown;
  grid.style.setProperty("--tile", `${data.pixels}px`);
  grid.replaceChildren(...data.tiles.map((each) => tile(each, (example) => setTriggerValue("picked", example))));
};
