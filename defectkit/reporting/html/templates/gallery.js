// The images in four tabs, filtered, searched and sorted; and the worst ones on the first screen.

const PAGE_SIZE = 60;
const TABS = ["escape", "overkill", "review", "rest"];
const SIZES = { any: [0, Infinity], tiny: [0, 64], small: [64, 256], medium: [256, 1024], large: [1024, 4096], huge: [4096, Infinity] };
const gallery = { tab: "escape", list: [] };
const byName = new Intl.Collator("en", { numeric: true });

const tabOf = (outcome) => (TABS.includes(outcome) ? outcome : "rest");

const distance = (image) => Math.max(image.score - state.high, state.low - image.score);
const ORDERS = {
  urgent: {
    escape: (a, b) => a.score - b.score,
    overkill: (a, b) => b.score - a.score,
    review: (a, b) => b.score - a.score,
    rest: (a, b) => distance(a) - distance(b),
  },
  ascending: (a, b) => a.score - b.score,
  descending: (a, b) => b.score - a.score,
  name: (a, b) => byName.compare(a.id, b.id),
  size: (a, b) => (b.size ?? -1) - (a.size ?? -1),
};

function orderOf(tab) {
  const order = ORDERS[byId("sort").value];
  const compare = typeof order === "function" ? order : order[tab];
  return (a, b) => compare(a, b) || (a.id < b.id ? -1 : 1);
}

// The images that the filters let through.
function wantedImages() {
  const text = byId("search").value.trim().toLowerCase();
  const [least, most] = SIZES[byId("filter-size").value];
  const ofClass = DATA.images.class_names.indexOf(byId("filter-class").value.slice(1));
  const [group, outcome] = ["filter-group", "filter-outcome"].map((id) => byId(id).value);
  return images.filter((image) =>
    (!text || image.id.toLowerCase().includes(text)) &&
    (ofClass < 0 || image.classes.includes(ofClass)) &&
    (!group || image.group === group.slice(1)) &&
    (!outcome || outcomeOf(image) === outcome) &&
    (most === Infinity && !least ? true : image.size !== null && image.size >= least && image.size < most));
}

function drawGallery() {
  const members = Object.fromEntries(TABS.map((tab) => [tab, []]));
  for (const image of wantedImages()) members[tabOf(outcomeOf(image))].push(image);
  for (const tab of TABS) {
    const button = byId(`tab-${tab}`);
    button.querySelector(".count").textContent = members[tab].length;
    button.setAttribute("aria-selected", tab === gallery.tab);
    button.tabIndex = tab === gallery.tab ? 0 : -1;
    byId(`about-${tab}`).hidden = tab !== gallery.tab;
  }
  gallery.list = members[gallery.tab].sort(orderOf(gallery.tab));
  byId("gallery").setAttribute("aria-labelledby", `tab-${gallery.tab}`);
  byId("tiles").replaceChildren();
  byId("none").hidden = gallery.list.length > 0;
  showMore();
}

// Pictures are decoded as soon as they are in the page, so only some are at first.
function showMore() {
  const { list } = gallery;
  const shown = byId("tiles").children.length;
  byId("tiles").append(
    ...list.slice(shown, shown + PAGE_SIZE).map((image, place) => tile(image, () => openViewer(list, shown + place))),
  );
  const left = Math.max(0, list.length - shown - PAGE_SIZE);
  byId("more").hidden = !left;
  byId("more").textContent = `Show more (${left} left)`;
}

function fillFilter(id, names) {
  const sorted = [...names].sort(byName.compare);
  byId(id).append(...sorted.map((name) => html("option", { value: `=${name}`, text: name })));
  byId(id).closest("label").hidden = sorted.length < 2;
}

function selectTab(tab, focus = false) {
  gallery.tab = tab;
  drawGallery();
  if (focus) byId(`tab-${tab}`).focus();
}

// Wide images need wide tiles.
function fitTiles() {
  const shapes = images.filter((one) => one.height).map((one) => one.width / one.height).sort((a, b) => a - b);
  const shape = shapes[shapes.length >> 1] ?? 1;
  document.body.classList.add(shape > 2.2 ? "wide-tiles" : shape > 1.2 ? "landscape-tiles" : "square-tiles");
}

function drawWorst() {
  const worst = ["escape", "overkill", "review"].flatMap((tab) =>
    images.filter((one) => outcomeOf(one) === tab).sort(ORDERS.urgent[tab]));
  byId("worst").replaceChildren(
    ...worst.slice(0, 12).map((image, index) => tile(image, () => openViewer(worst, index))),
  );
  byId("worst-section").hidden = !worst.length;
}

function setUpGallery() {
  fitTiles();
  drawWorst();
  fillFilter("filter-class", DATA.images.class_names);
  const groups = DATA.images.names;
  fillFilter("filter-group", groups.length < images.length ? groups : []);
  gallery.tab = TABS.find((tab) => images.some((one) => tabOf(outcomeOf(one)) === tab)) ?? "rest";
  for (const [place, tab] of TABS.entries()) {
    byId(`tab-${tab}`).addEventListener("click", () => selectTab(tab));
    byId(`tab-${tab}`).addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) selectTab(TABS[(place + step + TABS.length) % TABS.length], true);
    });
  }
  for (const id of ["filter-class", "filter-group", "filter-outcome", "filter-size", "sort"]) byId(id).addEventListener("change", drawGallery);
  byId("search").addEventListener("input", drawGallery);
  byId("more").addEventListener("click", showMore);
  settles.push(drawGallery);
  drawGallery();
}

setUpGallery();
redraw();

// What is folded away belongs on paper too.
const folded = () => [...document.querySelectorAll("details:not([open]).printed")];
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = folded();
  for (const one of opened) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
