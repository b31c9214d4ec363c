// What share of the images with about the same score is defective: are scores probabilities?

function drawReliability() {
  byId("reliability").hidden = !DATA.reliability.length;
  if (!DATA.reliability.length) return;
  chart(byId("chart-reliability"), {
    label: "Share of defective images against the score, with 95 % intervals",
    x: { ...linear("mean score of the images"), ticks: SHARES.map(([value]) => [value, value]) },
    y: linear("defective, of these images"),
    diagonal: true,
    dots: DATA.reliability.map((bin) => ({
      x: bin.score, y: bin.value, low: bin.low, high: bin.high, count: "",
      text: `mean score ${bin.score.toFixed(3)}: ${bin.count} of ${bin.total} images are defective, ${interval(bin)}`,
    })),
  });
}

drawReliability();
