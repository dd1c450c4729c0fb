// What a page gains with scripts: it stays up to date, filters without loading, and answers the pointer. Everything it
// says is in the page without them. Text from the server becomes text or parsed HTML that the server made and escaped.
import { watchPictures } from "./pictures.js";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const parsed = (html) => new DOMParser().parseFromString(html, "text/html");

// --- themes ---------------------------------------------------------------------------------------------------------
const themes = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };
function showTheme() {
  const button = $("#theme");
  if (!button) return;
  button.hidden = false;
  button.textContent = themes[document.documentElement.dataset.theme ?? ""];
}
$("#theme")?.addEventListener("click", () => {
  const order = Object.keys(themes);
  const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "") + 1) % order.length];
  if (next) document.documentElement.dataset.theme = next; else delete document.documentElement.dataset.theme;
  if (next) localStorage.setItem("theme", next); else localStorage.removeItem("theme");
  showTheme();
});

// --- small things ---------------------------------------------------------------------------------------------------
function ago(date) {
  const seconds = (Date.now() - date) / 1000;
  if (seconds < 0 || seconds > 86400) return null;
  if (seconds < 60) return "just now";
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}
function tellTimes() {
  for (const time of $$("td time[datetime], .feed time[datetime]")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    time.title = date.toLocaleString();
    time.dataset.absolute ??= time.textContent;
    time.textContent = ago(date) ?? time.dataset.absolute;
  }
}
async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    const code = button.parentElement.querySelector("code");
    if (code) getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copy(button);
  for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const menu = $("details.menu[open]");
    if (menu) { menu.open = false; $("summary", menu).focus(); }
  }
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const search = $("input[type=search]");
    if (search) { search.focus(); event.preventDefault(); }
  }
});

// --- the table ------------------------------------------------------------------------------------------------------
const chosen = new Set();
function showChosen() {
  const button = $("#compare-button");
  if (!button) return;
  for (const box of $$("input[name=run]")) box.checked = chosen.has(box.value);
  for (const hidden of $$("#compare input[data-elsewhere]")) hidden.remove();
  const here = new Set($$("input[name=run]").map((box) => box.value));
  for (const id of chosen) if (!here.has(id)) {
    const hidden = Object.assign(document.createElement("input"), { type: "hidden", name: "run", value: id });
    hidden.dataset.elsewhere = "";
    $("#compare").append(hidden);
  }
  button.disabled = chosen.size < 2;
  button.textContent = chosen.size ? `Compare ${chosen.size} run${chosen.size > 1 ? "s" : ""}` : "Choose runs to compare";
}
document.addEventListener("change", (event) => {
  if (event.target.name !== "run") return;
  if (event.target.checked) chosen.add(event.target.value); else chosen.delete(event.target.value);
  showChosen();
});
for (const box of $$("input[name=run]:checked")) chosen.add(box.value);

// What has the focus goes with the old table: where it should be in the new one.
function holdOf(element) {
  if (!element?.closest("#table")) return null;
  const head = element.closest("thead th");
  if (head) return `#table thead th:nth-child(${head.cellIndex + 1}) a`;
  return element.closest(".pager") ? `#table .pager a[rel=${element.rel}]` : "#table thead a";
}

let asking = null;
async function showTable(address, remember = "push") {
  asking?.abort();
  asking = new AbortController();
  try {
    const answer = await fetch(address, { signal: asking.signal, headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = parsed(await answer.text());
    const held = holdOf(document.activeElement);
    $("#table").replaceWith($("#table", page));
    if (held) ($(held) ?? $("#table .pager a, #table a"))?.focus();
    if (held?.includes(".pager")) scrollTo({ top: 0 });
    $("#said").textContent = $("#table .found")?.firstChild.textContent.trim() ?? "";
    for (const menu of $$("details.menu[id]")) {
      const fresh = document.getElementById(menu.id) && $(`#${menu.id} > summary`, page);
      if (fresh) $("summary", menu).replaceWith(fresh);
    }
    const footer = $("footer a", page);
    if (footer) $("footer a")?.replaceWith(footer);
    if (remember === "push") history.pushState({}, "", address); else history.replaceState({}, "", address);
    freshen();
  } catch (error) {
    if (error.name !== "AbortError") location.assign(address);
  }
}
function addressOf(form) {
  const pairs = [...new FormData(form)].filter(([, value]) => value !== "");
  const columns = pairs.filter(([name]) => name === "col").map(([, value]) => value);
  const defaults = $("[data-default-columns]")?.dataset.defaultColumns;
  const rest = new URLSearchParams(pairs.filter(([name]) => name !== "col"));
  if (columns.length && columns.join() !== defaults) rest.set("cols", columns.join());
  const sort = new URL(location.href).searchParams.get("sort");
  if (sort) rest.set("sort", sort); else rest.delete("sort");
  return `${form.getAttribute("action")}?${rest}`.replace(/\?$/, "");
}
const filter = $("#filter");
if (filter) {
  let waiting = 0;
  filter.addEventListener("submit", (event) => { event.preventDefault(); showTable(addressOf(filter)); });
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => showTable(addressOf(filter), "replace"), 180);
  });
  $(".apply", filter).hidden = true;
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#table thead a, #table .pager a");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    showTable(link.href);
  });
  addEventListener("popstate", () => location.reload());
}

// --- live -----------------------------------------------------------------------------------------------------------
async function catchUp() {
  if (document.hidden) return;
  const parts = $$("[data-live]");
  const asks = parts.find((part) => part.dataset.live === "ask");
  if (asks) {
    if ($(".news")) return;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "news", textContent: "New runs: show them" });
    button.addEventListener("click", () => showTable(location.href, "replace"));
    asks.prepend(button);
    return;
  }
  const idle = parts.filter((part) => !part.contains(document.activeElement) && !$("details[open]", part));
  if (!idle.length) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const page = parsed(await answer.text());
  for (const part of idle) {
    const fresh = page.getElementById(part.id);
    if (fresh) part.replaceWith(fresh);
  }
  freshen();
}
function listen() {
  const sign = $("#live");
  if (!sign || !("EventSource" in window)) return;
  const topic = new URL(location.href).searchParams.get("topic");
  const source = new EventSource(topic ? `/live?${new URLSearchParams({ topic })}` : "/live");
  source.addEventListener("open", () => { sign.textContent = "live"; sign.classList.add("on"); });
  source.addEventListener("error", () => {
    sign.classList.remove("on");
    sign.textContent = source.readyState === EventSource.CLOSED ? "not live" : "connecting";
  });
  source.addEventListener("now", (event) => {
    const now = $("#now");
    if (!now || now.contains(document.activeElement)) return;
    const open = $(".notices", now)?.open;
    now.replaceChildren(...parsed(JSON.parse(event.data)).body.childNodes);
    const notices = $(".notices", now);
    if (notices && open !== undefined) notices.open = open;
  });
  let waiting = 0;
  source.addEventListener("runs", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => catchUp().catch(() => {}), 300);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) catchUp().catch(() => {}); });
  addEventListener("pagehide", () => source.close());
}

function freshen() {
  for (const button of $$("[data-copy]")) button.hidden = false;
  tellTimes();
  showChosen();
  watchPictures();
}
showTheme();
freshen();
listen();
setInterval(tellTimes, 30_000);
