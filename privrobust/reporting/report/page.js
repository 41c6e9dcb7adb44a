"use strict";

const payload = JSON.parse(document.getElementById("payload").textContent);

/* --- the table: sorting and filtering ------------------------------------------------------- */

const table = document.getElementById("results");
const known = (cell) => cell.dataset.v !== "";

/* Numbers by size before words by letters; what is not known comes last, whichever way. */
function compared(one, other) {
  const [a, b] = [Number(one), Number(other)];
  if (!Number.isNaN(a) && !Number.isNaN(b)) return a === b ? 0 : a - b;
  if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
  return one.localeCompare(other);
}

function sort(column, direction) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const sign = direction === "ascending" ? 1 : -1;
  const cell = (row) => row.cells[column];
  rows.sort((one, other) => {
    const [a, b] = [cell(one), cell(other)];
    if (known(a) !== known(b)) return known(a) ? -1 : 1;
    return sign * compared(a.dataset.v, b.dataset.v);
  });
  body.append(...rows);
}

function sortByHeader(button) {
  const header = button.closest("th");
  const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  sort(header.cellIndex, direction);
  tell();
}

/* Accuracies are no words of a row: who looks for b = 0.1 does not mean a gap of 0.1. */
const separator = /[\s,=]+/;

function matches(row, words, method, f, epsilon) {
  const own = row.dataset.words.toLowerCase().split(separator);
  if (!words.every((word) => own.some((other) => other.startsWith(word)))) return false;
  if (method && row.dataset.method !== method) return false;
  if (f && row.dataset.f !== f) return false;
  if (epsilon === "Infinity") return row.dataset.epsilon === "Infinity";
  return !epsilon || Number(row.dataset.epsilon) <= Number(epsilon);
}

function filter() {
  const value = (id) => document.getElementById(id).value;
  const words = value("search").toLowerCase().split(separator).filter(Boolean);
  const chosen = [value("by-method"), value("by-f"), value("by-epsilon")];
  for (const row of table.tBodies[0].rows) row.hidden = !matches(row, words, ...chosen);
  tell();
}

/* Screen readers hear it, as it is a status. */
function tell() {
  const rows = [...table.tBodies[0].rows];
  const sorted = table.querySelector("th[aria-sort]");
  const order = sorted
    ? `, sorted by ${sorted.querySelector("button").textContent}, ${sorted.getAttribute("aria-sort")}`
    : "";
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("status").textContent = `${shown} of ${rows.length} rows${order}`;
}

if (table) {
  const filters = document.getElementById("filters");
  filters.hidden = false;
  filters.addEventListener("input", filter);
  filters.addEventListener("reset", () => setTimeout(filter));
  filters.addEventListener("submit", (event) => event.preventDefault());
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sortByHeader(button);
  });
  filter();
}

/* --- copying a recipe ----------------------------------------------------------------------- */

function addCopyButton(details) {
  const pre = details.querySelector("pre");
  if (!details.open || !pre || details.querySelector("button")) return;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy the YAML";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  pre.before(button);
}

document.addEventListener("toggle", (event) => {
  if (event.target.matches?.(".recipe")) addCopyButton(event.target);
}, true);

/* A link to a setting opens it. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target?.closest("details");
  if (!details) return;
  details.open = true;
  details.querySelector("summary").focus({ preventScroll: true });
  details.scrollIntoView({ block: "start" });
}
addEventListener("hashchange", openTarget);
openTarget();
