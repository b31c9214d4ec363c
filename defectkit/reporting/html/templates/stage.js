// A view of a picture that is zoomed and moved, in one place of the page or in several at once.

class View {
  constructor(onPlace = () => {}) {
    Object.assign(this, { scale: 1, x: 0, y: 0, width: 0, height: 0, hosts: [], onPlace });
  }

  // Show the view in an SVG element too, and let it be moved there; what has the class "moved" moves.
  add(host) {
    this.hosts.push(host);
    host.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = host.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 400), { x: event.clientX - box.left, y: event.clientY - box.top });
    }, { passive: false });
    host.addEventListener("pointerdown", (event) => host.setPointerCapture(event.pointerId));
    host.addEventListener("pointermove", (event) => {
      if (!host.hasPointerCapture(event.pointerId)) return;
      this.x += event.movementX;
      this.y += event.movementY;
      this.place();
    });
  }

  get box() {
    return this.hosts[0].getBoundingClientRect();
  }

  place() {
    for (const host of this.hosts) {
      for (const group of host.querySelectorAll(".moved")) {
        group.setAttribute("transform", `translate(${this.x} ${this.y}) scale(${this.scale})`);
      }
      host.classList.toggle("pixels", this.scale >= 3);
    }
    this.onPlace();
  }

  // Show a picture of this size as a whole.
  fit(width = this.width, height = this.height) {
    Object.assign(this, { width, height });
    const box = this.box;
    this.scale = Math.min((box.width - 24) / (width || 1), (box.height - 24) / (height || 1));
    this.center(width / 2, height / 2);
  }

  center(x, y) {
    const box = this.box;
    this.x = box.width / 2 - x * this.scale;
    this.y = box.height / 2 - y * this.scale;
    this.place();
  }

  // Zoom about a point of the element, by default its center.
  zoom(factor, at = null) {
    const box = this.box;
    const point = at ?? { x: box.width / 2, y: box.height / 2 };
    const scale = Math.max(0.02, Math.min(64, this.scale * factor));
    this.x = point.x - ((point.x - this.x) * scale) / this.scale;
    this.y = point.y - ((point.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.place();
  }

  zoomTo([x, y, width, height]) {
    const box = this.box;
    this.scale = Math.max(1, Math.min(16, (0.4 * Math.min(box.width, box.height)) / Math.max(width, height)));
    this.center(x + width / 2, y + height / 2);
  }
}

// Zoom by keys, and what presses them.
const zoomKeys = (view) => ({
  "+": () => view.zoom(1.25),
  "-": () => view.zoom(0.8),
  0: () => view.fit(),
  1: () => view.zoom(1 / view.scale),
});
