// Short helpers that make elements, and what all pages say of an image and its regions.

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

const OUTCOMES = {
  escape: "escape",
  overkill: "overkill",
  review: "for review",
  hit: "hit",
  pass: "pass",
};

// The outlines of regions; a dark line below each makes them visible on any gray.
function outlines(regions) {
  return regions.flatMap((region, index) => {
    const side = region.kind === "true" ? "truth" : "finding";
    return [
      svg("path", { d: region.path, class: `shade ${side}` }),
      svg("path", { d: region.path, class: `line ${side} ${kindOf(region)}`, "data-region": index }),
    ];
  });
}
