// The pointer in a picture: which run a dot is, and what the curves say at one moment.
const SVG = "http://www.w3.org/2000/svg";
const make = (name, attributes) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

function hintOf(figure) {
  let hint = figure.querySelector(".hint");
  if (!hint) {
    hint = Object.assign(document.createElement("div"), { className: "hint", hidden: true });
    hint.setAttribute("aria-hidden", "true");
    figure.append(hint);
  }
  return hint;
}

// The page's policy forbids style attributes in its text; what a script sets on the element itself is allowed.
function place(hint, figure, svg, x, y) {
  const box = svg.getBoundingClientRect(), around = figure.getBoundingClientRect(), view = svg.viewBox.baseVal;
  const left = (x / view.width) * box.width + box.left - around.left;
  hint.style.left = `${Math.max(0, Math.min(left + 12, around.width - hint.offsetWidth))}px`;
  hint.style.top = `${(y / view.height) * box.height + box.top - around.top + 12}px`;
}

function pointIn(svg, event) {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  return [((event.clientX - box.left) / box.width) * view.width, ((event.clientY - box.top) / box.height) * view.height];
}

function dotsOf(svg) {
  const dots = [];
  for (const path of svg.querySelectorAll(".dots"))
    for (const [, x, y] of path.getAttribute("d").matchAll(/M([\d.]+) ([\d.]+)/g)) dots.push([+x, +y]);
  return dots.sort((a, b) => a[0] - b[0]);
}

function watchProgress(svg) {
  const figure = svg.closest("figure"), hint = hintOf(figure), dots = dotsOf(svg);
  let runs = null, asked = false, found = -1;
  const ring = svg.appendChild(make("circle", { class: "ring", r: 6, visibility: "hidden" }));
  svg.addEventListener("pointermove", async (event) => {
    if (!asked && svg.dataset.progress) {
      asked = true;
      const answer = await fetch(svg.dataset.progress);
      runs = answer.ok ? (await answer.json()).progress : null;
    }
    if (!runs || runs.id.length !== dots.length) return;
    const [x, y] = pointIn(svg, event);
    let nearest = 18 ** 2;
    found = -1;
    dots.forEach(([dx, dy], index) => {
      const distance = (dx - x) ** 2 + (dy - y) ** 2;
      if (distance < nearest) { nearest = distance; found = index; }
    });
    hint.hidden = found < 0;
    ring.setAttribute("visibility", found < 0 ? "hidden" : "visible");
    svg.style.cursor = found < 0 ? "" : "pointer";
    if (found < 0) return;
    const value = runs.val_bpb[found], bold = document.createElement("b");
    bold.textContent = value === null ? runs.status[found] : `${value.toFixed(4)} ${runs.status[found]}`;
    hint.replaceChildren(bold, ` ${runs.name[found]}`, document.createElement("br"), runs.title[found]);
    ring.setAttribute("cx", dots[found][0]);
    ring.setAttribute("cy", dots[found][1]);
    place(hint, figure, svg, ...dots[found]);
  });
  svg.addEventListener("pointerleave", () => { hint.hidden = true; ring.setAttribute("visibility", "hidden"); });
  svg.addEventListener("click", (event) => {
    if (found < 0 || !runs || event.target.closest("a")) return;
    const topic = new URL(location.href).searchParams.get("topic");
    location.assign(`/runs/${encodeURIComponent(runs.id[found])}${topic ? `?${new URLSearchParams({ topic })}` : ""}`);
  });
}

function watchCurves(svg) {
  const figure = svg.closest("figure"), hint = hintOf(figure);
  const table = figure.nextElementSibling?.querySelector?.("tbody");
  if (!table) return;
  const curves = [...svg.querySelectorAll("path.curve")].map((path) => ({
    points: [...path.getAttribute("d").matchAll(/([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [+x, +y]), rows: [], name: "" }));
  const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  let at = 0;
  for (const curve of curves) { curve.rows = rows.slice(at, at + curve.points.length); at += curve.points.length; curve.name = curve.rows[0]?.[0] ?? ""; }
  const cross = svg.appendChild(make("path", { class: "cross", visibility: "hidden" }));
  const view = svg.viewBox.baseVal;
  svg.addEventListener("pointermove", (event) => {
    const [x, y] = pointIn(svg, event);
    const lines = [];
    for (const curve of curves) {
      let best = -1, distance = Infinity;
      curve.points.forEach(([px], index) => { if (Math.abs(px - x) < distance) { distance = Math.abs(px - x); best = index; } });
      if (best >= 0) lines.push(`${curve.rows[best][2]}  at ${curve.rows[best][1]} s${curves.length > 1 ? `  ${curve.name}` : ""}`);
    }
    hint.replaceChildren(...lines.flatMap((line, index) => (index ? [document.createElement("br"), line] : [line])));
    hint.hidden = false;
    cross.setAttribute("d", `M${x} 12V${view.height - 34}`);
    cross.setAttribute("visibility", "visible");
    place(hint, figure, svg, x, Math.max(10, y - 20));
  });
  svg.addEventListener("pointerleave", () => { hint.hidden = true; cross.setAttribute("visibility", "hidden"); });
}

export function watchPictures() {
  for (const svg of document.querySelectorAll("svg[data-progress]:not([data-watched])")) { svg.dataset.watched = ""; watchProgress(svg); }
  for (const svg of document.querySelectorAll("svg[data-curves]:not([data-watched])")) { svg.dataset.watched = ""; watchCurves(svg); }
}
