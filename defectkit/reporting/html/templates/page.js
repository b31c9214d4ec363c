// What the parts of the report share: its data, the thresholds as they stand, its images.

const DATA = JSON.parse(byId("data").textContent);
const MODEL = { low: DATA.low, high: DATA.high };
const state = { low: DATA.low, high: DATA.high };
const DETAILS = byId("image-details").textContent.split("\n");
const redraws = []; // called with no argument whenever the thresholds have been moved
const settles = []; // called when a move has ended

// What the page sorts and filters by is at hand; regions and scores are read when they are shown.
class PageImage {
  constructor(index) {
    const columns = DATA.images;
    for (const name of ["id", "score", "width", "height", "picture", "overlay", "size"]) this[name] = columns[name][index];
    this.defective = columns.defective[index] === 1;
    this.group = columns.names[columns.group[index]];
    this.classes = columns.classes[index];
    this.index = index;
  }

  get details() {
    return JSON.parse(DETAILS[this.index]);
  }
}

const images = DATA.images.id.map((_, index) => new PageImage(index));

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

// An image with its outlines, as large as the place that it is put in.
function miniature(image) {
  const source = pictureOf(image);
  if (!source) return html("span", { class: "none", text: "no picture" });
  return svg(
    "svg",
    { viewBox: `0 0 ${image.width} ${image.height}`, class: "miniature", "aria-hidden": "true" },
    svg("image", { href: source, width: image.width, height: image.height }),
    ...outlines(image.details.regions ?? []),
  );
}

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
