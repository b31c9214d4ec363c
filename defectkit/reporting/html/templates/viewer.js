// One image in a dialog: zoom, pan, outlines on and off, and its regions as a table.

const viewer = { list: [], index: 0, image: null, details: {}, view: null };

function openViewer(list, index) {
  viewer.list = list;
  byId("viewer").showModal();
  showImage(index);
}

function showImage(index) {
  viewer.index = (index + viewer.list.length) % viewer.list.length;
  const image = viewer.list[viewer.index];
  viewer.image = image;
  viewer.details = image.details;
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
  if (image.overlay) link.href = `overlays/${encodeURIComponent(image.overlay)}`;
  drawStage(image);
  listRegions(image);
  viewer.view.fit(image.width, image.height);
}

function scoreLayer(image) {
  const { scores } = viewer.details;
  byId("show-scores").disabled = !scores;
  if (!scores) return null;
  return svg("image", {
    href: `data:image/png;base64,${scores}`,
    width: image.width, height: image.height, preserveAspectRatio: "none", class: "scores",
  });
}

// The image, the truth and the finding are apart, so that a swipe can hide one side of each.
function drawStage(image) {
  const source = pictureOf(image);
  byId("stage").replaceChildren();
  byId("no-picture").hidden = Boolean(source);
  if (!source) return;
  const lines = outlines(viewer.details.regions ?? []);
  const ofTruth = (line) => line.classList.contains("truth");
  const part = (name, ...children) => svg("g", { class: `part ${name}` }, svg("g", { class: "moved" }, ...children));
  byId("stage").append(
    part("image", svg("image", { href: source, width: image.width, height: image.height })),
    part("finding-part", scoreLayer(image), ...lines.filter((line) => !ofTruth(line))),
    part("truth-part", ...lines.filter(ofTruth)),
  );
  drawSwipe();
  for (const path of byId("stage").querySelectorAll("[data-region]")) {
    path.addEventListener("pointerenter", () => light(path.dataset.region, true));
    path.addEventListener("pointerleave", () => light(path.dataset.region, false));
  }
}

function listRegions(image) {
  const share = (value) => (value === undefined ? "–" : `${Math.round(100 * value)} %`);
  const { regions = [], more } = viewer.details;
  const rows = regions.map((region, index) => {
    const kind = kindOf(region);
    const isTrue = region.kind === "true";
    const row = html(
      "tr",
      { tabindex: 0, "data-row": index, onclick: () => viewer.view.zoomTo(region.box) },
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
      if (event.key === "Enter") viewer.view.zoomTo(region.box);
    });
    return row;
  });
  byId("regions").replaceChildren(...rows);
  byId("regions-table").hidden = !rows.length;
  byId("no-regions").hidden = Boolean(rows.length);
  byId("no-regions").textContent =
    image.score < MODEL.low ? "No regions are listed of an image called good." : "No region was found: the score of the whole image gave the verdict.";
  byId("more-regions").textContent = more ? `${more} more regions are in regions.csv.` : "";
}

function light(index, on) {
  for (const one of document.querySelectorAll(`#stage [data-region="${index}"], #regions [data-row="${index}"]`)) {
    one.classList.toggle("lit", on);
  }
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
  t: () => toggle("truth"),
  f: () => toggle("finding"),
  m: () => toggle("scores"),
  i: viewImageAlone,
  s: () => turnSwipe(),
};

function setUpViewer() {
  viewer.view = new View(() => {
    byId("zoom").textContent = `${Math.round(100 * viewer.view.scale)} %`;
  });
  viewer.view.add(byId("stage"));
  Object.assign(KEYS, zoomKeys(viewer.view));
  // Of the whole page: the focus may have been on a region of the image before.
  document.addEventListener("keydown", (event) => {
    if (!byId("viewer").open || event.defaultPrevented || event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  const presses = { next: KEYS.ArrowRight, previous: KEYS.ArrowLeft, in: KEYS["+"], out: KEYS["-"], fit: KEYS[0], native: KEYS[1], alone: viewImageAlone };
  for (const [name, press] of Object.entries(presses)) byId(`viewer-${name}`).addEventListener("click", press);
  for (const name of ["truth", "finding", "scores"]) byId(`show-${name}`).addEventListener("change", showLayers);
  byId("viewer-close").addEventListener("click", () => byId("viewer").close());
  window.addEventListener("resize", () => byId("viewer").open && viewer.view.fit());
}

setUpViewer();
