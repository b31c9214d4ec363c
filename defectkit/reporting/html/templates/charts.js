// Charts, drawn as SVG from the data of the page.

const BOX = { width: 480, height: 300, left: 70, right: 26, top: 12, bottom: 46 };
const MAX_POINTS = 800;

const byScore = (kind) =>
  Float64Array.from(images.filter((one) => one.defective === kind), (one) => one.score).sort();
const scores = { defective: byScore(true), good: byScore(false) };

// How many of the sorted values are below a limit.
function countBelow(sorted, limit) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function countsAt(low, high) {
  const [bad, good] = [scores.defective, scores.good];
  const [escapes, passes] = [countBelow(bad, low), countBelow(good, low)];
  const [missed, kept] = [countBelow(bad, high), countBelow(good, high)];
  return {
    escapes,
    passes,
    reviewsDefective: missed - escapes,
    reviewsGood: kept - passes,
    hits: bad.length - missed,
    overkills: good.length - kept,
  };
}

// At each threshold that changes a verdict, from the highest: (threshold, escapes, overkills).
function operatingPoints() {
  const cuts = [...new Set([...scores.defective, ...scores.good])].sort((a, b) => b - a);
  const points = [{ cut: Infinity, escapes: scores.defective.length, overkills: 0 }];
  for (const cut of cuts) {
    points.push({
      cut,
      escapes: countBelow(scores.defective, cut),
      overkills: scores.good.length - countBelow(scores.good, cut),
    });
  }
  return points;
}

function thin(points) {
  const step = Math.ceil(points.length / MAX_POINTS);
  return points.filter((_, i) => i % step === 0 || i === points.length - 1);
}

// A chart: axes are {label, ticks: [[value, text]], place: value -> 0..1}.
function chart(host, { label, x, y, line = [], ribbon = [], limit = null, dots = [], step = false, diagonal = false }) {
  const { width, height, left, right, top, bottom } = BOX;
  const across = (value) => left + x.place(value) * (width - left - right);
  const up = (value) => height - bottom - y.place(value) * (height - top - bottom);
  const marker = svg("g", { class: "marker" });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const [value, text] of y.ticks) {
    drawing.append(
      svg("line", { x1: left, x2: width - right, y1: up(value), y2: up(value), class: "grid" }),
      svg("text", { x: left - 8, y: up(value) + 4, "text-anchor": "end", text }),
    );
  }
  for (const [value, text] of x.ticks) {
    drawing.append(
      svg("text", { x: across(value), y: height - bottom + 18, "text-anchor": "middle", text }),
    );
  }
  const middle = top + (height - top - bottom) / 2;
  drawing.append(
    svg("line", { x1: left, x2: width - right, y1: up(y.ticks[0][0]), y2: up(y.ticks[0][0]), class: "axis" }),
    svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle", class: "name", text: x.label }),
    svg("text", { x: 14, y: middle, "text-anchor": "middle", class: "name", transform: `rotate(-90 14 ${middle})`, text: y.label }),
  );
  if (diagonal) {
    drawing.append(svg("line", { x1: across(0), x2: across(1), y1: up(0), y2: up(1), class: "limit" }));
  }
  if (ribbon.length) {
    const edge = [...ribbon.map(([a, low]) => [a, low]), ...ribbon.map(([a, , high]) => [a, high]).reverse()];
    drawing.append(svg("polygon", { points: edge.map(([a, b]) => `${across(a)},${up(b)}`).join(" "), class: "ribbon" }));
  }
  if (limit) {
    drawing.append(
      svg("line", { x1: across(limit.x), x2: across(limit.x), y1: up(0), y2: up(1), class: "limit" }),
      svg("text", { x: across(limit.x) - 6, y: up(0.03), "text-anchor": "end", text: limit.text }),
    );
  }
  if (line.length) {
    const moves = line.map(([a, b], i) => {
      const [px, py] = [across(a).toFixed(1), up(b).toFixed(1)];
      return i === 0 ? `M${px} ${py}` : step ? `H${px}V${py}` : `L${px} ${py}`;
    });
    drawing.append(svg("path", { d: moves.join(""), class: "curve" }));
  }
  for (const dot of dots) {
    drawing.append(
      svg("line", { x1: across(dot.x), x2: across(dot.x), y1: up(dot.low), y2: up(dot.high), class: "whisker" }),
      svg("circle", { cx: across(dot.x), cy: up(dot.y), r: 5, class: "dot" }, svg("title", { text: dot.text })),
      svg("text", { x: across(dot.x) + 9, y: up(dot.y) + 4, class: "count", text: dot.count }),
    );
  }
  drawing.append(marker);
  host.append(drawing);
  return (places) => {
    marker.replaceChildren(
      ...places.map(([a, b, hint]) =>
        svg("circle", { cx: across(a), cy: up(b), r: 6 }, svg("title", { text: hint }))),
    );
  };
}

const SHARES = [0, 0.2, 0.4, 0.6, 0.8, 1].map((value) => [value, `${Math.round(100 * value)} %`]);
const linear = (label) => ({ label, ticks: SHARES, place: (value) => value });

// The square root gives the corner that matters, with few of both, the most room.
const stretched = (label) => ({
  label,
  ticks: [0, 0.01, 0.05, 0.2, 0.5, 1].map((value) => [value, `${Math.round(100 * value)} %`]),
  place: (value) => Math.sqrt(value),
});

function drawCharts() {
  const [n, m] = [scores.defective.length, scores.good.length];
  if (!n || !m) {
    byId("charts").hidden = true;
    return;
  }
  const points = thin(operatingPoints());
  const precision = (p) => (n - p.escapes) / Math.max(1, n - p.escapes + p.overkills);
  const ranked = points.slice(1); // above all scores nothing is called defective
  const moves = [
    chart(byId("chart-trade"), {
      label: "Escape rate against overkill rate, at each threshold",
      x: stretched("overkills, of the good images"),
      y: stretched("escapes, of the defective images"),
      line: points.map((p) => [p.overkills / m, p.escapes / n]),
    }),
    chart(byId("chart-pr"), {
      label: "Precision against recall, at each threshold",
      x: linear("recall: defective images called defective"),
      y: linear("precision"),
      line: ranked.map((p) => [1 - p.escapes / n, precision(p)]),
    }),
    chart(byId("chart-roc"), {
      label: "Receiver operating characteristic",
      x: linear("good images called defective"),
      y: linear("defective images called defective"),
      line: points.map((p) => [p.overkills / m, 1 - p.escapes / n]),
      step: true,
    }),
  ];
  redraws.push(() => {
    const cuts = state.low === state.high ? [state.low] : [state.low, state.high];
    const at = cuts.map((cut) => [countsAt(cut, cut), `threshold ${cut.toFixed(4)}`]);
    moves[0](at.map(([c, hint]) => [c.overkills / m, c.escapes / n, hint]));
    moves[1](at.filter(([c]) => c.hits + c.overkills).map(([c, hint]) =>
      [c.hits / n, c.hits / (c.hits + c.overkills), hint]));
    moves[2](at.map(([c, hint]) => [c.overkills / m, c.hits / n, hint]));
  });
}

// The areas of defects on a logarithmic axis, and where on it the middle of a bin is.
function areaAxis(bins, sizes) {
  const edges = bins.map(([name]) => name.split(/[-+]/).filter(Boolean).map(Number));
  const filled = edges.filter((_, i) => bins[i][1].total);
  const least = Math.min(...(sizes ?? []), ...filled.map(([low]) => Math.max(low, 8)));
  const most = Math.max(...(sizes ?? []), ...filled.map(([low, high]) => high ?? 4 * low));
  const [start, end] = [Math.log(Math.max(1, least)), Math.log(most)];
  const decades = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];
  const within = (areas) => areas.filter((area) => area >= Math.exp(start) && area <= most);
  const few = within(decades).length < 3;
  const ticks = within(few ? decades.flatMap((area) => [area, 2 * area, 5 * area]) : decades);
  return {
    label: "area of the defect in pixels",
    ticks: ticks.map((area) => [area, area.toLocaleString("en")]),
    place: (area) => (Math.log(area) - start) / (end - start),
    middle: ([low, high]) => Math.sqrt(Math.max(low, least) * Math.min((high ?? Infinity) + 1, most)),
    edges,
  };
}

function drawSizes() {
  const bins = Object.entries(DATA.area);
  if (!bins.some(([, rate]) => rate.total)) {
    byId("chart-size").closest("figure").hidden = true;
    return;
  }
  const curve = DATA.detection ?? {};
  const x = areaAxis(bins, curve.sizes);
  const along = (values) => (values ? curve.sizes.map((size, i) => [size, values[i]]) : []);
  chart(byId("chart-size"), {
    label: "Share of the true regions that were found, by their area",
    x,
    y: linear("found"),
    line: along(curve.probability),
    ribbon: curve.low ? curve.sizes.map((size, i) => [size, curve.low[i], curve.high[i]]) : [],
    limit: curve.a90 ? { x: curve.a90, text: "90 % found" } : null,
    dots: bins.flatMap(([name, rate], i) =>
      rate.total
        ? [{
            x: x.middle(x.edges[i]), y: rate.value, low: rate.low, high: rate.high,
            count: `${rate.found}/${rate.total}`,
            text: `${name} pixels: ${rate.found} of ${rate.total} found, ${interval(rate)}`,
          }]
        : []),
  });
}

drawCharts();
drawSizes();
