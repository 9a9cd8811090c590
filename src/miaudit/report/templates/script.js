(() => {
"use strict";
const root = document.documentElement, all = (q, e = document) => [...e.querySelectorAll(q)];
root.classList.add("js");
const folds = all("#everything details");
const openTo = (hash) => {
  let e = hash.length > 1 ? document.getElementById(decodeURIComponent(hash.slice(1))) : null;
  const first = e && e.querySelector(":scope > details");
  if (first) first.open = true;
  for (; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
};
addEventListener("hashchange", () => openTo(location.hash));
addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest('a[href^="#"]');
  if (link) openTo(link.getAttribute("href"));
});
openTo(location.hash);

let before = null;
addEventListener("beforeprint", () => {
  before = before || folds.map((d) => d.open);
  folds.forEach((d) => { if (!d.classList.contains("long")) d.open = true; });
});
addEventListener("afterprint", () => { if (before) folds.forEach((d, i) => { d.open = before[i]; }); before = null; });

const search = document.getElementById("search"), matches = document.getElementById("matches");
const parts = all("#everything > section");
const texts = parts.map((part) => part.textContent.toLowerCase());
const marked = window.CSS && CSS.highlights && window.Highlight;
let opened = [];
const look = () => {
  const query = search.value.trim().toLowerCase();
  opened.forEach((d) => { d.open = false; });
  opened = [];
  if (marked) CSS.highlights.delete("match");
  let count = 0;
  const ranges = [];
  parts.forEach((part, i) => {
    const match = !query || texts[i].includes(query);
    part.hidden = !match;
    if (!match || !query) return;
    count += 1;
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node && ranges.length < 2000; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      for (let at = text.indexOf(query); at >= 0; at = text.indexOf(query, at + query.length)) {
        for (let e = node.parentElement; e !== part; e = e.parentElement) {
          if (e.tagName === "DETAILS" && !e.open) { e.open = true; opened.push(e); }
        }
        if (marked && text.length === node.data.length) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + query.length);
          ranges.push(range);
        }
      }
    }
  });
  if (marked && ranges.length) CSS.highlights.set("match", new Highlight(...ranges));
  matches.textContent = query ? `in ${count} of ${parts.length} sections` : "";
};
let pause = 0;
search.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(look, 120); });

const key = (cell) => {
  const value = cell && (cell.querySelector(".value") || cell);
  const text = value ? value.textContent.trim() : "";
  const number = /^[-+\u2212]?[\d,]*\.?\d+/.exec(text);
  return number ? parseFloat(number[0].replace(/,/g, "").replace("\u2212", "-")) : text.toLowerCase();
};
const compare = (a, b) => {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1;
};
for (const table of all("#everything table")) {
  const body = table.tBodies[0], heads = all("thead th", table);
  if (!body || body.rows.length < 3) continue;
  heads.forEach((head, column) => {
    if (head.querySelector("svg") || !head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows], fixed = rows.filter((row) => row.classList.contains("control"));
      const free = rows.filter((row) => !row.classList.contains("control"));
      const keys = new Map(free.map((row) => [row, key(row.cells[column])]));
      free.sort((a, b) => (down ? -1 : 1) * compare(keys.get(a), keys.get(b)));
      body.append(...free, ...fixed);
    });
  });
  if (table.dataset.filter === undefined) continue;
  const label = document.createElement("label"), input = document.createElement("input"), note = document.createElement("output");
  label.className = "search";
  input.type = "search";
  input.autocomplete = "off";
  label.append(`${table.dataset.filter} `, input);
  note.className = "soft";
  const row = document.createElement("p");
  row.append(label, " ", note);
  table.closest(".scroll").before(row);
  input.addEventListener("input", () => {
    const query = input.value.trim().toLowerCase();
    let shown = 0;
    for (const each of body.rows) {
      each.hidden = query !== "" && !each.textContent.toLowerCase().includes(query);
      shown += each.hidden ? 0 : 1;
    }
    note.textContent = query ? `${shown} of ${body.rows.length}` : "";
  });
}
})();
