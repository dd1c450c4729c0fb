// What every page must be, asked of a browser: `contrasts()` names text that is hard to read, `nameless()` what a screen
// reader could not tell.
globalThis.contrasts = () => {
  const parse = (text) => { const n = text.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { const layers = []; for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((below, c) => over(c, below), [255, 255, 255]); };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.checkVisibility() || e.closest(".sr, .skip, title")) continue;
    const style = getComputedStyle(e), back = ground(e);
    const ink = over(parse(e.closest("svg") ? style.fill : style.color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${e.className.baseVal ?? e.className} ${text.slice(0, 40)}`);
  }
  return [...new Set(poor)]; };
globalThis.nameless = () => {
  const bad = [], all = (s) => [...document.querySelectorAll(s)];
  const named = (e) => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.title;
  if (all("h1").length !== 1) bad.push(`${all("h1").length} h1`);
  for (const s of ["main", "header", "nav[aria-label]"]) if (!all(s).length) bad.push(`no ${s}`);
  if (!document.documentElement.lang || !document.title) bad.push("no language or title");
  for (const e of all("button, a, summary, [role=region]")) if (!named(e)) bad.push(`nameless ${e.outerHTML.slice(0, 80)}`);
  for (const e of all("input:not([type=hidden])")) if (!e.labels.length && !e.getAttribute("aria-label")) bad.push(`unlabelled ${e.outerHTML.slice(0, 80)}`);
  for (const e of all("table thead th")) if (e.scope !== "col") bad.push(`th without scope ${e.textContent}`);
  for (const e of all("main svg")) if (!e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby") && e.getAttribute("aria-hidden") !== "true") bad.push(`svg ${e.outerHTML.slice(0, 80)}`);
  for (const e of all("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))) bad.push(`label ${e.getAttribute("aria-labelledby")}`);
  const ids = all("[id]").map((e) => e.id); for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push(`twice ${id}`);
  return bad; };
