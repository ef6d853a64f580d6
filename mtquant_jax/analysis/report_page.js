"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const themes = ["auto", "light", "dark"];
  const dashes = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "9 4", longdashdot: "9 3 2 3" };
  let theme = "auto";
  try { theme = localStorage.getItem("mtquant-jax-theme") || theme; } catch (error) { /* file: without storage */ }

  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

  // "@name" is a colour of the style sheet, "$name" an axis that charts share.
  function resolve(value, key) {
    if (typeof value === "string") {
      if (value[0] === "@" && /color/i.test(key)) return colour(value.slice(1));
      if (value[0] === "$" && key === "x") return data.shared[value.slice(1)];
      return value;
    }
    if (Array.isArray(value)) return /color/i.test(key) ? value.map((item) => resolve(item, key)) : value;
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolve(item, name)]));
    }
    return value;
  }

  function axes(layout) {
    const base = { gridcolor: "@grid", zerolinecolor: "@quiet", linecolor: "@rule", automargin: true, zeroline: false };
    const found = {};
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
      found[name] = { ...base, ...(name[0] === "x" ? { nticks: innerWidth < 600 ? 4 : 9 } : {}), ...layout[name] };
      if (found[name].type === "category") delete found[name].nticks;
    }
    return found;
  }

  function layoutOf(chart) {
    const layout = chart.layout;
    return resolve({
      ...layout,
      ...axes(layout),
      margin: { l: 8, r: 12, t: 30, b: 8, ...layout.margin },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "@quiet", activecolor: "@ink" },
      showlegend: false,
      uirevision: "kept",
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", size: 12, color: "@ink" },
      hoverlabel: { bgcolor: "@card", bordercolor: "@rule", font: { color: "@ink" }, align: "left" },
    }, "");
  }

  function draw(chart, width) {
    const traces = chart.traces.map((trace) => ({
      ...resolve(trace, ""),
      visible: !chart.hidden.has(trace.name),
      ...(trace.colorbar ? { colorbar: { ...trace.colorbar, outlinewidth: 0 } } : {}),
    }));
    const layout = layoutOf(chart);
    if (width) layout.width = Math.max(width, 200);
    return Plotly.react(chart.name + "-chart", traces, layout, {
      responsive: !width,
      displaylogo: false,
      displayModeBar: layout.xaxis.fixedrange ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    });
  }

  function swatch(trace) {
    const line = trace.line || {};
    const stroke = line.color ? `var(--${line.color.slice(1)})` : "none";
    const fill = trace.fillcolor || (trace.marker && !Array.isArray(trace.marker.color) && trace.marker.color);
    if (fill && (trace.type === "bar" || trace.fillcolor)) {
      return `<rect x="1" y="1" width="24" height="10" fill="var(--${fill.slice(1)})"/>`;
    }
    if (trace.mode === "markers") return `<path d="M13 0 19 6 13 12 7 6Z" fill="var(--${fill.slice(1)})"/>`;
    const pattern = dashes[line.dash] || "none";
    return `<line x1="0" x2="26" y1="6" y2="6" stroke="${stroke}" stroke-width="${Math.min(line.width || 2, 3)}" ` +
      `stroke-dasharray="${pattern}"/>`;
  }

  // Buttons instead of plotly's own legend: they wrap, follow the theme and can be reached by keyboard.
  function legend(chart) {
    const place = document.getElementById(chart.name + "-legend");
    const names = [...new Set(chart.traces.map((trace) => trace.name))];
    chart.hidden = new Set(chart.traces.filter((trace) => trace.visible === "legendonly").map((trace) => trace.name));
    if (!chart.legend || names.length < 2) return;
    for (const name of names) {
      const drawn = chart.traces.filter((trace) => trace.name === name);
      const button = document.createElement("button");
      const text = document.createElement("span");
      button.type = "button";
      button.innerHTML = `<svg width="26" height="12" aria-hidden="true">` +
        `${swatch(drawn.find((trace) => trace.fillcolor) || drawn[0])}</svg>`;
      // Names come escaped for plotly.js, which reads some tags.
      text.textContent = name.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
      button.append(text);
      button.setAttribute("aria-pressed", String(!chart.hidden.has(name)));
      button.addEventListener("click", () => {
        if (!chart.hidden.delete(name)) chart.hidden.add(name);
        button.setAttribute("aria-pressed", String(!chart.hidden.has(name)));
        draw(chart);
      });
      place.append(button);
    }
  }

  function paint(forced) {
    const dark = forced ? forced === "dark" : theme === "dark" || (theme === "auto" && system.matches);
    root.dataset.theme = dark ? "dark" : "light";
    document.getElementById("theme").textContent = "Theme: " + theme;
  }

  const drawAll = (width) => data.charts.forEach((chart) => draw(chart, width));

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const value = (row, column) => {
      const text = row.cells[column].textContent;
      const number = parseFloat(text.replace(/,/g, ""));
      return heads[column].classList.contains("number") ? (Number.isNaN(number) ? -Infinity : number) : text;
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].sort((one, other) => {
          const [a, b] = [value(one, column), value(other, column)];
          return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
        });
        body.append(...rows);
      });
    });
  }

  document.getElementById("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("mtquant-jax-theme", theme); } catch (error) { /* file: without storage */ }
    paint();
    drawAll();
  });
  system.addEventListener("change", () => { paint(); drawAll(); });
  addEventListener("beforeprint", () => { paint("light"); drawAll(680); });
  addEventListener("afterprint", () => { paint(); drawAll(); });
  if (innerWidth < 1150) document.querySelector("nav details").open = false;
  document.querySelectorAll("table.sortable").forEach(sortable);
  paint();
  data.charts.forEach(legend);
  drawAll();
})();
