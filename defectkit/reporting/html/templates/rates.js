"use strict";
// Rates with their 95 % Clopper-Pearson interval, as the Python side computes them.

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
  -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
  1.5056327351493116e-7,
];

function logGamma(x) {
  const at = x - 1;
  const sum = LANCZOS.reduce((total, factor, i) => (i ? total + factor / (at + i) : factor), 0);
  const t = at + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (at + 0.5) * Math.log(t) - t + Math.log(sum);
}

// The regularized incomplete beta function I_x(a, b), by Lentz's continued fraction.
function betaInc(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaInc(1 - x, b, a);
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
  ) / a;
  const safe = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let c = 1;
  let d = 1 / safe(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m < 2000; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / safe(1 + even * d);
    c = safe(1 + even / c);
    fraction *= c * d;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / safe(1 + odd * d);
    c = safe(1 + odd / c);
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-14) break;
  }
  return front * fraction;
}

// The x at which I_x(a, b) is p.
function betaQuantile(p, a, b) {
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (betaInc(middle, a, b) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

function clopperPearson(count, total) {
  if (!total) return { value: null, low: 0, high: 1 };
  return {
    value: count / total,
    low: count ? betaQuantile(0.025, count, total - count + 1) : 0,
    high: count < total ? betaQuantile(0.975, count + 1, total - count) : 1,
  };
}

function percent(share) {
  return share === null ? "–" : `${(100 * share).toFixed(1)} %`;
}

function interval(rate) {
  if (rate.value === null) return "–";
  const [low, high] = [rate.low, rate.high].map((end) => (100 * end).toFixed(1));
  return `${percent(rate.value)} (95 % interval ${low} to ${high} %)`;
}
