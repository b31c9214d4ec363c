// One image in a dialog: zoom, pan, outlines on and off, and its regions as a table.

const viewer = { list: [], index: 0, scale: 1, x: 0, y: 0, group: null, image: null };

function openViewer(list, index) {
  viewer.list = list;
  byId("viewer").showModal();
  showImage(index);
}

function showImage(index) {
  viewer.index = (index + viewer.list.length) % viewer.list.length;
  const image = viewer.list[viewer.index];
  viewer.image = image;
  const outcome = outcomeOf(image);
  const truth = image.defective ? "defective" : "good";
  const verdict = verdictOf(image.score);
  byId("viewer-name").textContent = image.id;
  byId("viewer-place").textContent = `${viewer.index + 1} of ${viewer.list.length}`;
  byId("viewer-facts").replaceChildren(
    html("span", { class: `badge ${outcome}`, text: OUTCOMES[outcome] }),
    html("span", {
      text: `score ${image.score.toFixed(4)} · truly ${truth}, ${verdict === "review" ? "sent to review" : `called ${verdict}`}`,
    }),
    html("span", { class: "meaning", text: `${image.width} × ${image.height} pixels${image.group && image.group !== image.id ? ` · group ${image.group}` : ""}` }),
  );
  const link = byId("viewer-overlay");
  link.hidden = !image.overlay;
  if (image.overlay) link.href = image.overlay;
  drawStage(image);
  listRegions(image);
  fit();
}

function scoreLayer(image) {
  byId("show-scores").disabled = !image.scores;
  if (!image.scores) return "";
  return svg("image", {
    href: `data:image/png;base64,${image.scores}`,
    width: image.width, height: image.height, preserveAspectRatio: "none", class: "scores",
  });
}

function drawStage(image) {
  const source = pictureOf(image);
  viewer.group = svg("g", {});
  if (source) {
    viewer.group.append(
      svg("image", { href: source, width: image.width, height: image.height }),
      scoreLayer(image),
      ...outlines(image),
    );
  }
  byId("stage").replaceChildren(viewer.group);
  byId("no-picture").hidden = Boolean(source);
  byId("no-picture").textContent = `This page has no picture of this image${image.overlay ? "; its overlay is beside the page." : ". --overlays all draws it beside the page."}`;
  for (const path of viewer.group.querySelectorAll("[data-region]")) {
    path.addEventListener("pointerenter", () => light(path.dataset.region, true));
    path.addEventListener("pointerleave", () => light(path.dataset.region, false));
  }
}

function listRegions(image) {
  const share = (value) => (value === undefined ? "–" : `${Math.round(100 * value)} %`);
  const rows = image.regions.map((region, index) => {
    const kind = kindOf(region);
    const isTrue = region.kind === "true";
    const row = html(
      "tr",
      { tabindex: 0, "data-row": index, onclick: () => zoomTo(region) },
      html("th", { scope: "row" }, html("span", { class: `key ${kind}` }), KINDS[kind]),
      html("td", { text: region.class || "–" }),
      html("td", { class: "number", text: region.area }),
      html("td", { class: "number", text: isTrue ? share(region.coverage) : share(region.true) }),
      html("td", { class: "number", text: region.score === undefined ? "–" : region.score.toFixed(2) }),
    );
    for (const [name, on] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
      row.addEventListener(name, () => light(index, on));
    }
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter") zoomTo(region);
    });
    return row;
  });
  byId("regions").replaceChildren(...rows);
  byId("regions-table").hidden = !rows.length;
  byId("no-regions").hidden = Boolean(rows.length);
  byId("no-regions").textContent =
    image.verdict === "good" ? "No regions are listed of an image called good." : "No region was found: the score of the whole image gave the verdict.";
  byId("more-regions").textContent = image.more ? `${image.more} more regions are in regions.csv.` : "";
}

function light(index, on) {
  for (const one of document.querySelectorAll(`#stage [data-region="${index}"], #regions [data-row="${index}"]`)) {
    one.classList.toggle("lit", on);
  }
}

const stageBox = () => byId("stage").getBoundingClientRect();

function place() {
  const { group, x, y, scale } = viewer;
  group.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
  byId("stage").classList.toggle("pixels", scale >= 3);
  byId("zoom").textContent = `${Math.round(100 * scale)} %`;
}

function fit() {
  const box = stageBox();
  const { width, height } = viewer.image;
  viewer.scale = Math.min((box.width - 24) / (width || 1), (box.height - 24) / (height || 1));
  centre(width / 2, height / 2);
}

function centre(x, y) {
  const box = stageBox();
  viewer.x = box.width / 2 - x * viewer.scale;
  viewer.y = box.height / 2 - y * viewer.scale;
  place();
}

// Zoom about a point of the stage, by default its center.
function zoom(factor, at = null) {
  const box = stageBox();
  const point = at ?? { x: box.width / 2, y: box.height / 2 };
  const scale = Math.max(0.02, Math.min(64, viewer.scale * factor));
  viewer.x = point.x - ((point.x - viewer.x) * scale) / viewer.scale;
  viewer.y = point.y - ((point.y - viewer.y) * scale) / viewer.scale;
  viewer.scale = scale;
  place();
}

function zoomTo(region) {
  const [x, y, width, height] = region.box;
  const box = stageBox();
  viewer.scale = Math.max(1, Math.min(16, (0.4 * Math.min(box.width, box.height)) / Math.max(width, height)));
  centre(x + width / 2, y + height / 2);
}

function toggle(name) {
  const field = byId(`show-${name}`);
  field.checked = !field.checked;
  showLayers();
}

function showLayers() {
  for (const name of ["truth", "finding"]) {
    byId("stage").classList.toggle(`no-${name}`, !byId(`show-${name}`).checked);
  }
  byId("stage").classList.toggle("with-scores", byId("show-scores").checked);
}

function viewImageAlone() {
  const none = !byId("show-truth").checked && !byId("show-finding").checked;
  byId("show-truth").checked = none;
  byId("show-finding").checked = none;
  byId("show-scores").checked = false;
  showLayers();
}

const KEYS = {
  ArrowRight: () => showImage(viewer.index + 1),
  ArrowLeft: () => showImage(viewer.index - 1),
  "+": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: fit,
  1: () => zoom(1 / viewer.scale),
  t: () => toggle("truth"),
  f: () => toggle("finding"),
  m: () => toggle("scores"),
  i: viewImageAlone,
};

function setUpViewer() {
  const stage = byId("stage");
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stageBox();
    zoom(Math.exp(-event.deltaY / 400), { x: event.clientX - box.left, y: event.clientY - box.top });
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
  stage.addEventListener("pointermove", (event) => {
    if (!stage.hasPointerCapture(event.pointerId)) return;
    viewer.x += event.movementX;
    viewer.y += event.movementY;
    place();
  });
  // Of the whole page: the focus may have been on a region of the image before.
  document.addEventListener("keydown", (event) => {
    if (!byId("viewer").open || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  const presses = { next: KEYS.ArrowRight, previous: KEYS.ArrowLeft, in: KEYS["+"], out: KEYS["-"], fit, native: KEYS[1], alone: viewImageAlone };
  for (const [name, press] of Object.entries(presses)) byId(`viewer-${name}`).addEventListener("click", press);
  for (const name of ["truth", "finding", "scores"]) byId(`show-${name}`).addEventListener("change", showLayers);
  byId("viewer-close").addEventListener("click", () => byId("viewer").close());
  window.addEventListener("resize", () => byId("viewer").open && fit());
}

setUpViewer();
