"use strict";

/* --- the table: sorted, filtered, opened, and the link that shows the same view --------------- */

const table = document.getElementById("results");
const said = document.getElementById("said"); /* read aloud, and not seen */

if (table) showTable();

function showTable() {
  const filters = document.getElementById("filters");
  const region = document.getElementById("results-region");
  const body = table.tBodies[0];
  const rows = [...body.rows]; /* in the order of the page */
  const heads = [...table.tHead.rows[0].cells];
  const naming = heads.findIndex((head) => head.dataset.field === "epsilon");
  const placeOf = (field) => heads.findIndex((head) => head.dataset.field === field);

  /* --- order --- */

  const known = (cell) => cell.dataset.v !== "";

  /* Numbers by size before words by letters; what is not known comes last, whichever way. */
  function compared(one, other) {
    const [a, b] = [Number(one), Number(other)];
    if (!Number.isNaN(a) && !Number.isNaN(b)) return a === b ? 0 : a - b;
    if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
    return one.localeCompare(other);
  }

  const sorted = () => heads.find((head) => head.ariaSort);

  function sort(head, direction) {
    for (const other of heads) other.removeAttribute("aria-sort");
    head?.setAttribute("aria-sort", direction);
    const place = heads.indexOf(head);
    const sign = direction === "ascending" ? 1 : -1;
    const ordered = head ? [...rows].sort((one, other) => {
      const [a, b] = [one.cells[place], other.cells[place]];
      if (known(a) !== known(b)) return known(a) ? -1 : 1;
      return sign * compared(a.dataset.v, b.dataset.v);
    }) : rows;
    body.classList.toggle("sorted", Boolean(head));
    body.append(...ordered.flatMap((row) => [row, row.recipe ?? []].flat()));
  }

  /* --- search and filters --- */

  const plain = (text) => text.toLowerCase().replace(/[_=,()%\s]+/g, " ").trim();
  const size = (word) => (word ? Number(word.replace(/^[≥~*]|[†‡°§]+$/g, "")) : NaN);

  function phrase({ field = "", head }, text, { isNamed = true, isSetting = false, of = "" } = {}) {
    const names = isNamed ? [plain(head), plain(field)].filter(Boolean) : [];
    const told = plain(text);
    const sizes = told.split(" ").map(size).filter((each) => !Number.isNaN(each));
    const texts = [told, ...names.map((name) => plain(`${name} ${told} ${of}`))];
    return { names, sizes, told, texts, isSetting };
  }

  /* What all rows have in common is told once, above them. */
  const alike = [...table.caption.querySelectorAll(".alike")]
    .map(({ dataset }) => phrase(dataset, dataset.value));

  /* Every cell is found by its words, and by its number after its column's name: "epsilon 1.29". */
  function phrases(row) {
    row.phrases ??= [...row.cells].flatMap((cell, place) => {
      if (heads[place].dataset.metric) return [];
      return [phrase(heads[place].dataset, cell.textContent, {
        isNamed: !cell.matches(".missing"),
        isSetting: place > 0 && place <= naming,
        of: cell.dataset.of,
      })];
    }).concat(alike);
    return row.phrases;
  }

  const names = new Set(
    [...heads.map(({ dataset }) => phrase(dataset, "")), ...alike].flatMap((each) => each.names));

  /* What is looked for: words, and numbers with the name before them, if it is a column's. */
  function terms(text) {
    const found = [];
    for (const word of plain(text).split(" ").filter(Boolean)) {
      const wanted = size(word);
      if (Number.isNaN(wanted)) {
        found.push({ word });
        continue;
      }
      const last = found.slice(-2).map((term) => term.word);
      const name = [last.join(" "), last.at(-1)].find((each) => names.has(each));
      if (name) found.splice(-name.split(" ").length);
      found.push({ name, wanted, number: word });
    }
    return found;
  }

  const isSet = (row, wanted) => phrases(row).some((each) => each.isSetting && each.sizes.includes(wanted));

  /* A number alone is looked for among settings: who looks for 0.1 does not mean a gap of 0.1. Where
     no row is set to it, it is what a cell begins with. */
  function holds(row, { word, name, wanted, number }) {
    if (word) return phrases(row).some(({ texts }) => texts.some((each) => each.includes(word)));
    if (name) return phrases(row).some(({ names, sizes }) => names.includes(name) && sizes.includes(wanted));
    if (rows.some((each) => isSet(each, wanted))) return isSet(row, wanted);
    return phrases(row).slice(1).some(({ told }) => `${told} `.startsWith(`${number} `));
  }

  const asItStands = (row, words) =>
    phrases(row).some(({ texts }) => texts.some((each) => ` ${each} `.includes(` ${words} `)));

  /* The rows of which a cell has several words as they stand, "3 diverged" or "83 ± 5"; where none
     has, those that have every term somewhere. */
  function found(text) {
    const words = plain(text);
    const exact = words.includes(" ") ? rows.filter((row) => asItStands(row, words)) : [];
    if (exact.length) return exact;
    const wanted = terms(text);
    return rows.filter((row) => wanted.every((term) => holds(row, term)));
  }

  const chosen = () => [...new FormData(filters)].filter(([, value]) => value);

  function passes(row, name, value) {
    if (name === "show" || name === "search") return true;
    const own = row.cells[placeOf(name)].dataset.v;
    if (name === "epsilon" && value !== "Infinity") return Number(own) <= Number(value);
    return own === value;
  }

  function filter() {
    const wanted = chosen();
    const sought = new Set(found(filters.elements.search.value));
    for (const row of rows) {
      row.hidden = !sought.has(row) || !wanted.every(([name, value]) => passes(row, name, value));
      if (row.recipe) row.recipe.hidden = row.hidden;
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const by = sorted();
    const order = by ? `, sorted by ${by.dataset.head}, ${by.ariaSort}` : "";
    const none = shown ? "" : ": no row has all that is asked for. “Show all” brings them back.";
    document.getElementById("status").textContent = `${shown} of ${rows.length} rows${order}${none}`;
    region.hidden = !shown;
    arrange();
  }

  /* --- what stays in view, and which columns there are --- */

  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

  let pinned = { count: 0, width: 0 }; /* the columns that stay in view */

  /* As many of the columns that name a row, epsilon among them, as leave room for the others. */
  function arrange() {
    const rules = chosen().filter(([name]) => name === "show").flatMap(([, metric]) => [
      `#results [data-metric="${CSS.escape(metric)}"] { display: table-cell; }`,
      `p[data-metric="${CSS.escape(metric)}"] { display: block; }`,
    ]);
    let left = 0;
    let last = 0;
    for (const [place, head] of heads.slice(0, naming + 1).entries()) {
      if (left + head.offsetWidth > 0.62 * region.clientWidth) break;
      rules.push(`#results tr:not(.recipe) > :nth-child(${place + 1}) { position: sticky; left: ${left}px; z-index: 1; }`);
      rules.push(`#results thead tr:not(.recipe) > :nth-child(${place + 1}) { z-index: 3; }`);
      left += head.offsetWidth;
      last = place + 1;
    }
    rules.push(`[data-moved] tr:not(.recipe) > :nth-child(${last}) { box-shadow: 2px 0 var(--soft); }`);
    pinned = { count: last, width: left };
    rules.push(`#results-region { scroll-padding: ${table.tHead.offsetHeight}px 0 0 ${left}px; }`);
    rules.push(`.recipe > td > div { width: ${region.clientWidth - 2}px; }`);
    sheet.replaceSync(`@media screen { ${rules.join("\n")} }`);
    const lies = [
      region.scrollHeight > region.clientHeight + 1 && "rows",
      region.scrollWidth > region.clientWidth + 1 && "columns",
    ].filter(Boolean);
    document.getElementById("more").textContent =
      lies.length && !region.hidden ? `; scroll the table for more ${lies.join(" and ")}` : "";
    shade();
  }

  /* Shade the edges beyond which there is more. */
  function shade() {
    const { scrollLeft, scrollTop, scrollWidth, scrollHeight, clientWidth, clientHeight } = region;
    region.toggleAttribute("data-moved", scrollLeft > 0);
    region.parentElement.classList.toggle("right", scrollLeft + clientWidth < scrollWidth - 1);
    region.parentElement.classList.toggle("below", scrollTop + clientHeight < scrollHeight - 1);
  }

  region.addEventListener("scroll", shade, { passive: true });

  /* A header that has the focus comes out from under the columns that stay, and into the window. */
  table.tHead.addEventListener("focusin", ({ target }) => {
    const cell = target.closest("th");
    if (heads.indexOf(cell) < pinned.count) return;
    const { left, right } = cell.getBoundingClientRect();
    const from = region.getBoundingClientRect().left + region.clientLeft;
    const before = left - (from + pinned.width);
    const beyond = right - (from + region.clientWidth);
    if (before < 0) region.scrollLeft += before;
    else if (beyond > 0) region.scrollLeft += Math.min(beyond, before);
  });

  /* --- a row's spec and command --- */

  function open(row, isOpen) {
    const button = row.cells[0].querySelector("button");
    button.setAttribute("aria-expanded", isOpen);
    row.recipe?.remove();
    row.recipe = null;
    if (!isOpen) return;
    row.recipe = document.createElement("tr");
    row.recipe.className = "recipe";
    const cell = row.recipe.insertCell();
    cell.colSpan = heads.length;
    const told = document.createElement("div");
    const number = row.cells[0].dataset.v;
    const stored = document.getElementById(`setting-${number}`);
    if (stored) told.append(...[...stored.children].map((child) => child.cloneNode(true)));
    for (const button of told.querySelectorAll("button")) button.remove();
    const link = document.createElement("a");
    link.href = `#row=${number}`;
    link.textContent = "A link to this row";
    told.append(link);
    addCopyButtons(told);
    cell.append(told);
    row.after(row.recipe);
  }

  for (const row of rows) {
    const link = row.cells[0].querySelector("a");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = link.textContent;
    button.ariaLabel = link.ariaLabel;
    button.setAttribute("aria-expanded", false);
    link.replaceWith(button);
  }

  /* --- the link --- */

  function link() {
    const view = new URLSearchParams(chosen());
    const by = sorted();
    if (by) view.set("sort", `${by.ariaSort === "descending" ? "-" : ""}${by.dataset.head}`);
    for (const row of rows) if (row.recipe) view.append("row", row.cells[0].dataset.v);
    return view.toString();
  }

  const remember = () => history.replaceState(null, "", `#${link()}`);

  function restore() {
    const view = new URLSearchParams(location.hash.slice(1));
    for (const control of filters.elements) {
      if (control.type === "checkbox") {
        control.checked = view.getAll(control.name).includes(control.value);
      } else if (control.name) {
        control.value = view.get(control.name) ?? "";
        if (control.selectedIndex === -1) control.value = ""; /* the link names no value of it */
      }
    }
    const more = filters.querySelector("details");
    if (view.has("show")) more?.setAttribute("open", "");
    const by = view.get("sort") ?? "";
    const head = heads.find((each) => each.dataset.head === by.replace(/^-/, ""));
    sort(head, by.startsWith("-") ? "descending" : "ascending");
    const opened = view.getAll("row");
    for (const row of rows) open(row, opened.includes(row.cells[0].dataset.v));
    filter();
    const first = rows.find((row) => row.recipe && !row.hidden);
    if (first) {
      region.scrollIntoView();
      region.scrollTop = first.offsetTop - table.tHead.offsetHeight;
      first.querySelector("button").focus({ preventScroll: true });
    } else if (view.size) document.getElementById("table").scrollIntoView();
  }

  /* A link to a section leaves the view, and the address that of the view. */
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) restore();
    else if (link()) remember();
  });

  filters.addEventListener("input", () => {
    filter();
    remember();
  });
  filters.addEventListener("reset", () => setTimeout(() => {
    sort();
    filter();
    remember();
  }));
  filters.addEventListener("submit", (event) => event.preventDefault());
  table.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const cell = button?.closest("th");
    if (!cell) return;
    if (cell.scope === "row") open(cell.parentElement, !cell.parentElement.recipe);
    else sort(cell, cell.ariaSort === "ascending" ? "descending" : "ascending");
    filter();
    remember();
  });
  filters.hidden = false;
  if (location.hash.includes("=")) restore();
  else filter();
  const watch = new ResizeObserver(arrange);
  for (const each of [region, ...heads.slice(0, naming + 1)]) watch.observe(each);
}

/* --- copying specs and commands --------------------------------------------------------------- */

function addCopyButtons(holder) {
  for (const source of holder.querySelectorAll("[data-copy]")) {
    if (source.nextElementSibling?.matches(".copy")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = `Copy the ${source.dataset.copy}`;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
      }
      said.textContent = button.textContent;
    });
    source.after(button);
  }
}

for (const section of document.querySelectorAll("main > section:not(#settings)")) addCopyButtons(section);

document.addEventListener("toggle", (event) => {
  if (event.target.matches(".recipes details[open]")) addCopyButtons(event.target);
}, true);

/* --- paper ------------------------------------------------------------------------------------ */

/* What is folded is printed, but for the YAML of every row and where each run failed. */
const unfolded = [];
matchMedia("print").addEventListener("change", ({ matches: isPaper }) => {
  if (!isPaper) {
    while (unfolded.length) unfolded.pop().open = false;
    return;
  }
  for (const details of document.querySelectorAll("main details:not([open], .more, .happened, .recipes, .recipes *)")) {
    details.open = true;
    unfolded.push(details);
  }
});
