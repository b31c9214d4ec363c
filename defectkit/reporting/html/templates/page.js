// What the parts of the page share: its data, the thresholds as they stand, and short helpers.

const DATA = JSON.parse(document.getElementById("data").textContent);
const MODEL = { low: DATA.low, high: DATA.high };
const state = { low: DATA.low, high: DATA.high };
const images = DATA.images;
const redraws = []; // called with no argument whenever the thresholds have been moved
const settles = []; // called when a move has ended

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const html = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

function verdictOf(score) {
  if (score < state.low) return "good";
  return score >= state.high ? "defective" : "review";
}

function outcomeOf(image) {
  const verdict = verdictOf(image.score);
  if (verdict === "review") return "review";
  if (verdict === "defective") return image.defective ? "hit" : "overkill";
  return image.defective ? "escape" : "pass";
}

const isMoved = () => state.low !== MODEL.low || state.high !== MODEL.high;

// Where the picture of an image is: within the page, beside it, or nowhere.
function pictureOf(image) {
  if (!image.picture) return "";
  const inside = byId(`picture:${image.picture}`);
  if (inside) return `data:image/jpeg;base64,${inside.textContent}`;
  return `report_pictures/${encodeURIComponent(image.picture)}`;
}

const KINDS = {
  hit: "true defect, found",
  missed: "true defect, missed",
  found: "found, true",
  false: "found, false alarm",
};

function kindOf(region) {
  if (region.kind === "true") return region.found ? "hit" : "missed";
  return region.kind === "found" ? "found" : "false";
}

// The outlines of an image; a dark line below each makes them visible on any gray.
function outlines(image) {
  return image.regions.flatMap((region, index) => {
    const side = region.kind === "true" ? "truth" : "finding";
    return [
      svg("path", { d: region.path, class: `shade ${side}` }),
      svg("path", { d: region.path, class: `line ${side} ${kindOf(region)}`, "data-region": index }),
    ];
  });
}

// An image with its outlines, as large as the place that it is put in.
function miniature(image) {
  const source = pictureOf(image);
  if (!source) return html("span", { class: "none", text: "no picture" });
  return svg(
    "svg",
    { viewBox: `0 0 ${image.width} ${image.height}`, class: "miniature", "aria-hidden": "true" },
    svg("image", { href: source, width: image.width, height: image.height }),
    ...outlines(image),
  );
}

const OUTCOMES = {
  escape: "escape",
  overkill: "overkill",
  review: "for review",
  hit: "hit",
  pass: "pass",
};

function tile(image, open) {
  const outcome = outcomeOf(image);
  return html(
    "button",
    { type: "button", class: "tile", onclick: open },
    html("span", { class: "frame" }, miniature(image)),
    html("span", { class: "name", text: image.id, title: image.id }),
    html(
      "span",
      { class: "facts" },
      html("span", { class: `badge ${outcome}`, text: OUTCOMES[outcome] }),
      html("span", { class: "number", title: "score", text: image.score.toFixed(3) }),
    ),
  );
}
