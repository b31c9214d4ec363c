"use strict";
// The same image as each run sees it, side by side: what is zoomed or moved in one moves in all.

const DATA = JSON.parse(byId("data").textContent);
const compared = { index: 0, view: null };

// A place for the bare image, and one for each run.
function makeStages() {
  compared.view = new View(() => {
    byId("zoom").textContent = `${Math.round(100 * compared.view.scale)} %`;
  });
  for (const name of ["Image", ...DATA.runs]) {
    const host = svg("svg", { class: "stage", role: "img", "aria-label": `${name}; drag to move it, turn the wheel to zoom` });
    const caption = html("figcaption", {}, html("strong", { text: name }), html("span", { class: "told" }));
    byId("stages").append(html("figure", {}, caption, host));
    compared.view.add(host);
  }
}

// The truth is dashed and lies on top, so that both lines show where they are the same.
function lines(paths) {
  const sides = [["false", "finding"], ["found", "finding"], ["missed", "truth"], ["hit", "truth"]];
  return sides.filter(([kind]) => paths[kind]).flatMap(([kind, side]) => [
    svg("path", { d: paths[kind], class: `shade ${side}` }),
    svg("path", { d: paths[kind], class: `line ${side} ${kind}` }),
  ]);
}

function showCompared(index) {
  compared.index = (index + DATA.images.length) % DATA.images.length;
  const image = DATA.images[compared.index];
  byId("compared").value = compared.index;
  [...byId("stages").children].forEach((figure, place) => {
    const found = place ? image.runs[place - 1] : null;
    const { width, height } = image;
    figure.querySelector(".stage").replaceChildren(
      svg("g", { class: "moved" },
        svg("image", { href: `data:image/jpeg;base64,${image.picture}`, width, height }),
        ...lines(found ? found.paths : {})),
    );
    figure.querySelector(".told").replaceChildren(...(found
      ? [
          html("span", { class: `badge ${found.outcome}`, text: OUTCOMES[found.outcome] }),
          `${found.verdict === "review" ? "" : ` called ${found.verdict},`} score ${found.score.toFixed(3)}`,
        ]
      : [image.kind === "good" ? "truly good" : `truly defective, ${image.kind}`]));
  });
  compared.view.fit(image.width, image.height);
}

function showMarks() {
  for (const name of ["truth", "finding"]) {
    byId("stages").classList.toggle(`no-${name}`, !byId(`show-${name}`).checked);
  }
}

function toggle(name) {
  byId(`show-${name}`).checked = !byId(`show-${name}`).checked;
  showMarks();
}

function setUpComparison() {
  makeStages();
  const keys = {
    ...zoomKeys(compared.view),
    ArrowRight: () => showCompared(compared.index + 1),
    ArrowLeft: () => showCompared(compared.index - 1),
    t: () => toggle("truth"),
    f: () => toggle("finding"),
  };
  byId("compare").addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  const presses = { previous: "ArrowLeft", next: "ArrowRight", in: "+", out: "-", fit: 0, native: 1 };
  for (const [name, key] of Object.entries(presses)) byId(name).addEventListener("click", keys[key]);
  for (const name of ["truth", "finding"]) byId(`show-${name}`).addEventListener("change", showMarks);
  byId("compared").append(...DATA.images.map((image, place) => html("option", { value: place, text: `${image.id} (${image.kind})` })));
  byId("compared").addEventListener("change", (event) => showCompared(Number(event.target.value)));
  window.addEventListener("resize", () => compared.view.fit());
  showCompared(0);
}

if (DATA.images.length) setUpComparison();
