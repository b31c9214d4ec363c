// The histogram of the scores, and two thresholds that can be moved over it.

const AREA = { width: 1000, height: 350, left: 46, right: 16, top: 66, bottom: 46 };
const BINS = 50;
const MAX_LOGIT = Math.log(0.9999 / 0.0001);

const cutsBetween = () => {
  const all = [...new Set([...scores.defective, ...scores.good])].sort((a, b) => a - b);
  const between = all.slice(1).map((score, i) => (score + all[i]) / 2);
  return [0, ...between.map((cut, i) => (cut > all[i] ? cut : all[i + 1])), 1];
};
const cuts = cutsBetween();

const logit = (score) => {
  const value = Math.log(score / (1 - score));
  return Math.max(-MAX_LOGIT, Math.min(MAX_LOGIT, value));
};
const SCALES = {
  even: { place: (score) => score, score: (place) => place },
  stretched: {
    place: (score) => (logit(score) + MAX_LOGIT) / (2 * MAX_LOGIT),
    score: (place) => {
      if (place <= 0 || place >= 1) return Math.max(0, Math.min(1, place));
      return 1 / (1 + Math.exp(-(2 * place - 1) * MAX_LOGIT));
    },
  },
};
const TICKS = {
  even: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
  stretched: [0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999],
};

const panel = { scale: "even", drawing: null, bands: null, handles: {} };
const across = (score) =>
  AREA.left + SCALES[panel.scale].place(score) * (AREA.width - AREA.left - AREA.right);

function binned(sorted) {
  const counts = new Array(BINS).fill(0);
  for (const score of sorted) {
    counts[Math.min(BINS - 1, Math.floor(SCALES[panel.scale].place(score) * BINS))] += 1;
  }
  return counts;
}

// Good images above the line in the middle, defective ones below it.
function drawBars(group) {
  const middle = AREA.top + (AREA.height - AREA.top - AREA.bottom) / 2;
  const half = middle - AREA.top - 4;
  const both = { good: binned(scores.good), defective: binned(scores.defective) };
  const most = Math.max(1, ...both.good, ...both.defective);
  const tall = (count) => (half * Math.sqrt(count)) / Math.sqrt(most);
  const wide = (AREA.width - AREA.left - AREA.right) / BINS;
  for (const count of tickCounts(most)) {
    for (const side of [-1, 1]) {
      const y = middle + side * tall(count);
      group.append(
        svg("line", { x1: AREA.left, x2: AREA.width - AREA.right, y1: y, y2: y, class: "grid" }),
        svg("text", { x: AREA.left - 8, y: y + 4, "text-anchor": "end", text: count }),
      );
    }
  }
  for (const [kind, counts] of Object.entries(both)) {
    counts.forEach((count, i) => {
      if (!count) return;
      const y = kind === "good" ? middle - tall(count) : middle;
      group.append(
        svg(
          "rect",
          { x: AREA.left + i * wide + 0.75, y, width: wide - 1.5, height: tall(count), class: `bar ${kind}` },
          svg("title", { text: `${count} ${kind} image${count > 1 ? "s" : ""}` }),
        ),
      );
    });
  }
  group.append(svg("line", { x1: AREA.left, x2: AREA.width - AREA.right, y1: middle, y2: middle, class: "axis" }));
}

function tickCounts(most) {
  const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];
  const largest = nice.filter((count) => count <= most).at(-1);
  return [...new Set([nice.find((count) => count >= most / 12), largest])];
}

function drawPanel() {
  const ground = svg("g", {});
  panel.bands = svg("g", {});
  drawBars(ground);
  const bottom = AREA.height - AREA.bottom;
  for (const score of TICKS[panel.scale]) {
    ground.append(
      svg("line", { x1: across(score), x2: across(score), y1: bottom, y2: bottom + 5, class: "axis" }),
      svg("text", { x: across(score), y: bottom + 19, "text-anchor": "middle", text: score }),
    );
  }
  ground.append(
    svg("text", { x: (AREA.left + AREA.width - AREA.right) / 2, y: AREA.height - 6, "text-anchor": "middle", class: "name", text: "score of an image" }),
  );
  panel.drawing.replaceChildren(panel.bands, ground, panel.handles.low, panel.handles.high);
}

function drawBands() {
  const [start, low, high, end] = [AREA.left, across(state.low), across(state.high), AREA.width - AREA.right];
  const bands = [["good", start, low], ["review", low, high], ["defective", high, end]];
  panel.bands.replaceChildren(
    ...bands.flatMap(([name, from, to]) => {
      const room = to - from;
      const height = AREA.height - AREA.top - AREA.bottom;
      return [
        svg("rect", { x: from, y: AREA.top, width: Math.max(0, room), height, class: `band ${name}` }),
        room > 64
          ? svg("text", { x: (from + to) / 2, y: AREA.top - 10, "text-anchor": "middle", class: "verdict", text: name })
          : svg("text", {}),
      ];
    }),
  );
  for (const which of ["low", "high"]) {
    const handle = panel.handles[which];
    handle.setAttribute("transform", `translate(${across(state[which])} 0)`);
    handle.setAttribute("aria-valuenow", state[which]);
    handle.setAttribute("aria-valuetext", state[which].toFixed(4));
    const field = byId(`field-${which}`);
    if (document.activeElement !== field) field.value = Number(state[which].toFixed(6));
  }
}

function makeHandle(which) {
  const left = which === "low";
  const text = left ? "good below" : "defective from";
  const wide = left ? 122 : 146;
  const bottom = AREA.height - AREA.bottom;
  const handle = svg(
    "g",
    {
      class: `handle ${which}`, id: `handle-${which}`, tabindex: 0, role: "slider",
      "aria-label": left ? "Good below this score" : "Defective from this score",
      "aria-valuemin": 0, "aria-valuemax": 1,
    },
    svg("line", { x1: 0, x2: 0, y1: 18, y2: bottom }),
    svg("rect", { x: left ? -wide : 0, y: 6, width: wide, height: 28, rx: 5 }),
    svg("text", { x: left ? -wide / 2 : wide / 2, y: 25, "text-anchor": "middle", text }),
    svg("rect", { x: left ? -12 : -4, y: 34, width: 16, height: bottom - 34, class: "grip" }),
  );
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.focus();
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = panel.drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * AREA.width;
    const place = (x - AREA.left) / (AREA.width - AREA.left - AREA.right);
    move(which, SCALES[panel.scale].score(Math.max(0, Math.min(1, place))));
  });
  handle.addEventListener("pointerup", settle);
  handle.addEventListener("keydown", (event) => stepByKey(event, which));
  return handle;
}

// An arrow moves a threshold past one score, so that one verdict changes.
function stepByKey(event, which) {
  const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
  const ends = { Home: 0, End: cuts.length - 1 };
  const step = steps[event.key];
  if (step === undefined && !(event.key in ends)) return;
  event.preventDefault();
  const below = countBelow(cuts, state[which]); // of the cuts, those below the threshold
  const exact = cuts[below] === state[which];
  const next = step > 0 ? below + step - (exact ? 0 : 1) : below + step;
  const index = event.key in ends ? ends[event.key] : next;
  move(which, cuts[Math.max(0, Math.min(cuts.length - 1, index))]);
  settle();
}

// Move a threshold; the other one makes way.
function move(which, score) {
  state[which] = score;
  if (which === "low") state.high = Math.max(state.high, score);
  else state.low = Math.min(state.low, score);
  redraw();
}

function redraw() {
  for (const one of redraws) one();
}

function settle() {
  for (const one of settles) one();
}

function reset() {
  Object.assign(state, MODEL);
  redraw();
  settle();
}

function tellCounts() {
  const now = countsAt(state.low, state.high);
  const own = countsAt(MODEL.low, MODEL.high);
  const [n, m] = [scores.defective.length, scores.good.length];
  const cells = {
    escapes: [now.escapes, own.escapes], hits: [now.hits, own.hits],
    "reviews-defective": [now.reviewsDefective, own.reviewsDefective],
    "reviews-good": [now.reviewsGood, own.reviewsGood],
    passes: [now.passes, own.passes], overkills: [now.overkills, own.overkills],
  };
  for (const [name, [count, before]] of Object.entries(cells)) {
    byId(`cell-${name}`).textContent = count;
    byId(`was-${name}`).textContent = count === before ? "" : ` was ${before}`;
  }
  const reviews = now.reviewsDefective + now.reviewsGood;
  for (const [name, count, total] of [["escapes", now.escapes, n], ["overkills", now.overkills, m], ["reviews", reviews, n + m]]) {
    byId(`live-${name}`).textContent = `${count} of ${total}`;
    byId(`live-${name}-rate`).textContent = interval(clopperPearson(count, total));
  }
  byId("reset").disabled = !isMoved();
  for (const note of document.querySelectorAll(".if-moved")) note.hidden = !isMoved();
}

function setUpThresholds() {
  panel.drawing = byId("histogram");
  panel.handles = { low: makeHandle("low"), high: makeHandle("high") };
  const outer = images.filter((one) => one.score < 0.04 || one.score > 0.96).length;
  panel.scale = outer > 0.4 * images.length || state.low < 0.04 || state.high > 0.96 ? "stretched" : "even";
  byId("stretch").checked = panel.scale === "stretched";
  byId("stretch").addEventListener("change", (event) => {
    panel.scale = event.target.checked ? "stretched" : "even";
    drawPanel();
    redraw();
  });
  for (const which of ["low", "high"]) {
    const field = byId(`field-${which}`);
    field.addEventListener("change", () => {
      const score = Number(field.value);
      if (field.value !== "" && score >= 0 && score <= 1) move(which, score);
      field.blur();
      redraw();
      settle();
    });
  }
  for (const button of document.querySelectorAll(".reset")) button.addEventListener("click", reset);
  drawPanel();
  redraws.push(drawBands, tellCounts);
  settles.push(() => {
    const now = countsAt(state.low, state.high);
    byId("told").textContent =
      `${now.escapes} escapes, ${now.overkills} overkills, ${now.reviewsDefective + now.reviewsGood} for review`;
  });
}

setUpThresholds();
