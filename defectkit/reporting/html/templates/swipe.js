// A line across the image that is dragged: what it shows to the left and to the right differs.

const swipe = { mode: "off", share: 0.5 };
const SWIPES = ["off", "image", "truth"];

// The parts that are shown to the left of the line and to the right of it.
const SIDES = {
  image: { left: [], right: ["truth-part", "finding-part"], names: ["image", "image with marks"] },
  truth: { left: ["truth-part"], right: ["finding-part"], names: ["truth", "finding"] },
};

function turnSwipe(mode = SWIPES[(SWIPES.indexOf(swipe.mode) + 1) % SWIPES.length]) {
  swipe.mode = mode;
  byId("swipe").value = mode;
  drawSwipe();
}

const sideOf = (side) => svg("clipPath", { id: `swipe-${side}` }, svg("rect", { y: 0, height: "100%" }));

function drawSwipe() {
  const stage = byId("stage");
  for (const old of stage.querySelectorAll(".swipe")) old.remove();
  for (const part of stage.querySelectorAll(".part")) part.removeAttribute("clip-path");
  const sides = SIDES[swipe.mode];
  if (!sides || !stage.children.length) return;
  for (const side of ["left", "right"]) {
    for (const name of sides[side]) stage.querySelector(`.${name}`).setAttribute("clip-path", `url(#swipe-${side})`);
  }
  const handle = svg(
    "g",
    {
      class: "swipe handle", tabindex: 0, role: "slider", "aria-label": `${sides.names[0]} to the left, ${sides.names[1]} to the right`,
      "aria-valuemin": 0, "aria-valuemax": 100,
    },
    svg("rect", { x: -12, y: 0, width: 24, height: "100%", class: "grip" }),
    svg("line", { x1: 0, x2: 0, y1: 0, y2: "100%" }),
    svg("text", { x: -10, y: 22, "text-anchor": "end", text: sides.names[0] }),
    svg("text", { x: 10, y: 22, text: sides.names[1] }),
  );
  handle.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    event.preventDefault();
    handle.focus();
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    event.stopPropagation();
    const box = stage.getBoundingClientRect();
    placeSwipe((event.clientX - box.left) / box.width);
  });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    placeSwipe(swipe.share + step);
  });
  stage.append(svg("defs", { class: "swipe" }, sideOf("left"), sideOf("right")), handle);
  placeSwipe(swipe.share);
}

function placeSwipe(share) {
  swipe.share = Math.max(0, Math.min(1, share));
  const { width } = byId("stage").getBoundingClientRect();
  const at = swipe.share * width;
  const [left, right] = ["left", "right"].map((side) => byId(`swipe-${side}`).firstChild);
  fill(left, { x: 0, width: at }, []);
  fill(right, { x: at, width: Math.max(0, width - at) }, []);
  const handle = byId("stage").querySelector(".swipe.handle");
  handle.setAttribute("transform", `translate(${at} 0)`);
  handle.setAttribute("aria-valuenow", Math.round(100 * swipe.share));
}

byId("swipe").addEventListener("change", (event) => turnSwipe(event.target.value));
window.addEventListener("resize", drawSwipe);
