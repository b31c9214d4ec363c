"use strict";
// The marks of the suspicions: accepted or dismissed, kept by the browser, saved as a CSV.

const SUSPECTS = JSON.parse(byId("data").textContent);
const KEY = `defectkit suspects ${SUSPECTS.key}`;
const MARKS = ["accept", "dismiss"];
let marks = new Map();

// Only numbers and these two words are kept; whatever else stands there is not taken.
function readMarks() {
  const known = new Map();
  try {
    for (const [place, mark] of Object.entries(JSON.parse(localStorage.getItem(KEY)) ?? {})) {
      if (SUSPECTS.rows[place] && MARKS.includes(mark)) known.set(Number(place), mark);
    }
  } catch {
    // No storage, or nothing that can be read: there are no marks.
  }
  return known;
}

function keepMarks() {
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(marks)));
  } catch {
    byId("kept").textContent = "This browser does not keep the marks: save them before you close the page.";
  }
}

function setMark(place, mark) {
  if (mark === null || marks.get(place) === mark) marks.delete(place);
  else marks.set(place, mark);
  keepMarks();
  showMarks();
}

function showMarks() {
  SUSPECTS.rows.forEach((_, place) => {
    const box = byId(`suspect-${place}`);
    for (const mark of MARKS) {
      box.classList.toggle(mark, marks.get(place) === mark);
      box.querySelector(`.${mark}`).setAttribute("aria-pressed", marks.get(place) === mark);
    }
  });
  for (const figure of document.querySelectorAll("figure")) {
    const open = [...figure.querySelectorAll(".suspect")].some((box) => !marks.has(placeOf(box)));
    figure.hidden = byId("open-only").checked && !open;
  }
  const accepted = [...marks.values()].filter((mark) => mark === "accept").length;
  byId("decided").textContent =
    `${marks.size} of ${SUSPECTS.rows.length} decided: ${accepted} accepted, ${marks.size - accepted} dismissed.`;
  byId("save").disabled = !marks.size;
  byId("clear").disabled = !marks.size;
}

const placeOf = (box) => Number(box.id.slice("suspect-".length));

const marksAsCsv = () =>
  SUSPECTS.head + [...marks].sort(([a], [b]) => a - b).map(([place, mark]) => SUSPECTS.rows[place][MARKS.indexOf(mark)]).join("");

function saveMarks() {
  const address = URL.createObjectURL(new Blob([marksAsCsv()], { type: "text/csv" }));
  html("a", { href: address, download: "relabel.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Focus the next suspicion that is shown, or the one before.
function goOn(place, step) {
  const shown = [...document.querySelectorAll(".suspect")].filter((box) => !box.closest("figure").hidden);
  const next = step > 0 ? shown.find((box) => placeOf(box) > place) : shown.findLast((box) => placeOf(box) < place);
  next?.focus();
}

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

function setUpSuspects() {
  marks = readMarks();
  for (const box of document.querySelectorAll(".suspect")) {
    const place = placeOf(box);
    for (const mark of MARKS) box.querySelector(`.${mark}`).addEventListener("click", () => setMark(place, mark));
    box.addEventListener("keydown", (event) => {
      const mark = { a: "accept", d: "dismiss" }[event.key.toLowerCase()];
      const step = mark ? 1 : STEPS[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (mark) setMark(place, mark);
      goOn(place, step);
    });
  }
  byId("save").addEventListener("click", saveMarks);
  byId("clear").addEventListener("click", () => {
    marks.clear();
    keepMarks();
    showMarks();
  });
  byId("open-only").addEventListener("change", showMarks);
  showMarks();
}

// Storage that is touched while the page loads may stay an empty one of its own: a busy Chromium
// loses the marks of a page that reads them at once.
if (SUSPECTS.rows.length) addEventListener("load", setUpSuspects);
