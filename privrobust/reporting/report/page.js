const payload = JSON.parse(document.getElementById("payload").textContent);

/* --- figures -------------------------------------------------------------------------------- */

/* Lists by column into the records that Vega takes. */
function records(columns) {
  const names = Object.keys(columns);
  const length = names.length ? columns[names[0]].length : 0;
  return Array.from({ length }, (_, place) =>
    Object.fromEntries(names.map((name) => [name, columns[name][place]])));
}

function curvesOf(row) {
  const { scale, rows, curves, steps } = payload.curves;
  return (rows[row] ?? []).flatMap((place) => {
    const { attack, seeds, mean, low = mean, high = mean, steps: known } = curves[place];
    return mean.map((value, at) => ({
      attack, seeds, step: steps[known][at],
      accuracy: value / scale, low: low[at] / scale, high: high[at] / scale,
    }));
  });
}

async function draw(name, { spec, data, told }) {
  const chart = document.getElementById(`chart-${name}`);
  const select = name === "curves" ? document.getElementById("curve-of") : null;
  const { view } = await vegaEmbed(chart, {
    ...spec,
    datasets: { [name]: select ? curvesOf(select.value) : records(data) },
  }, {
    actions: false,
    ast: true, /* the page's policy lets nobody make code of strings */
    /* vega-embed empties what it binds to: not the form that has its select already */
    bind: select ? undefined : document.getElementById(`choose-${name}`),
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  });
  const picture = chart.querySelector("svg");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", told);
  select?.addEventListener("input", () => view.data(name, curvesOf(select.value)).runAsync());
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
