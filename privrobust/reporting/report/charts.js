/* --- charts --------------------------------------------------------------------------------- */

const payload = JSON.parse(document.getElementById("payload").textContent);

/* Columns into the records that Vega takes; of texts, each is there once. */
function records(columns) {
  const lists = Object.entries(columns).map(([name, column]) =>
    [name, column.texts ? column.places.map((place) => column.texts[place]) : column]);
  const length = lists.length ? lists[0][1].length : 0;
  return Array.from({ length }, (_, place) =>
    Object.fromEntries(lists.map(([name, list]) => [name, list[place]])));
}

function curvesOf(row) {
  const { scale, rows, curves, steps } = payload.curves;
  const share = (value) => value === null || value === undefined ? null : value / scale;
  return (rows[row] ?? []).flatMap((place) => {
    const { attack, runs, signs, seeds, mean, low, high, shown, steps: known } = curves[place];
    return mean.map((value, at) => ({
      attack, runs, signs, seeds: seeds[at] ?? seeds, step: steps[known][at],
      accuracy: share(value), low: share(low?.[at]), high: share(high?.[at]),
      shown: `${shown[at]}\u00a0%`,
    }));
  });
}

function showRow(view, row) {
  const curves = curvesOf(row);
  view.signal("last_step", Math.max(1, ...curves.map(({ step }) => step)));
  view.data("curves", curves).runAsync();
}

/* Say in words what is chosen: below the title, and to who cannot see the drawing. */
function read(name, view, title, readings) {
  const isChosen = ({ at }) =>
    Object.entries(at).every(([parameter, value]) => view.signal(parameter) === value);
  const text = readings.find(isChosen)?.text ?? "";
  document.getElementById(`reading-${name}`).textContent = text;
  document.getElementById(`chart-${name}`).setAttribute("aria-label", `${title}. ${text}`);
}

/* Single a name out: the one that is pointed at, else the one whose button is pressed. */
function singleOut(name, view, by) {
  const key = document.getElementById(`key-${name}`);
  const show = (value) => view.signal("highlight", value).runAsync();
  const pressed = () => key?.querySelector("input:checked").value ?? "";
  key?.addEventListener("input", () => show(pressed()));
  view.addEventListener("pointerover", (_, item) => show(item?.datum?.[by] ?? pressed()));
  view.addEventListener("pointerout", () => show(pressed()));
}

async function draw(name, { title, by, spec, data, readings }) {
  const place = document.querySelector(`#chart-${name} > div`);
  const { view } = await vegaEmbed(place, {
    ...spec,
    datasets: { [name]: records(data) },
  }, {
    actions: false,
    ast: true, /* the page's policy lets nobody make code of strings */
    bind: document.getElementById(`choose-${name}`),
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  });
  if (by) singleOut(name, view, by);
  const chosen = Object.keys(readings[0].at);
  for (const parameter of chosen)
    view.addSignalListener(parameter, () => read(name, view, title, readings));
  read(name, view, title, readings);
  if (name === "curves") {
    view.addSignalListener("chosen_row", (_, row) => showRow(view, row));
    showRow(view, view.signal("chosen_row"));
  }
  /* Vega looks at its width when the window's changes: it may also be hidden at first. */
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    dispatchEvent(new Event("resize"));
  }).observe(place);
}

async function drawAll() {
  for (const form of document.querySelectorAll("figure form"))
    form.addEventListener("submit", (event) => event.preventDefault());
  for (const [name, chart] of Object.entries(payload.charts)) {
    try {
      await draw(name, chart);
    } catch (error) {
      document.getElementById(`chart-${name}`).textContent = "This figure could not be drawn.";
      console.error(error);
    }
  }
  document.documentElement.dataset.drawn = "yes";
}

/* The text is there first: figures are drawn once it shows. */
requestAnimationFrame(() => setTimeout(drawAll));
