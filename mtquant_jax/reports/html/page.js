"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const themes = ["auto", "light", "dark"];
  const dashes = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "9 4", longdashdot: "9 3 2 3" };
  const typeface = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
  const symbols = { circle: "M13 1a5 5 0 1 0 .01 0Z", diamond: "M13 0 19 6 13 12 7 6Z", x: "M10 1 13 4 16 1 18 3 15 6 18 9 16 11 13 8 10 11 8 9 11 6 8 3Z" };
  const pen = document.createElement("canvas").getContext("2d");
  let drawnFor = 0;  // px of the window
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
    if (Array.isArray(value)) {
      return /color/i.test(key) || key === "annotations" ? value.map((item) => resolve(item, key)) : value;
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolve(item, name)]));
    }
    return value;
  }

  const narrow = () => innerWidth < 600;
  const placeOf = (chart) => document.getElementById(chart.name + "-chart");

  function longest(texts, size) {
    pen.font = `${size}px ${typeface}`;
    return Math.max(...texts.map((text) => pen.measureText(text).width));
  }

  // How to write the figures of a heat map into cells so wide: smaller, then with fewer decimals, then not at all.
  function lettering(values, digits, cell) {
    for (let kept = digits; kept >= Math.min(digits, 1); kept--) {
      const texts = values.map((value) => value.toFixed(kept).replace("-", "\u2212"));
      for (let size = 11; size >= 8; size--) {
        if (longest(texts, size) <= cell) return { texttemplate: `%{z:.${kept}f}`, textfont: { size } };
      }
    }
    return { texttemplate: "" };
  }

  // Fits a heat map into its place. On a phone the columns of a square one are numbers that its rows' names explain;
  // where no figures fit, a scale tells what the colours mean.
  function fit(chart, trace, layout, width) {
    const square = trace.x.length > 4 && String(trace.x) === String(trace.y);
    const numbered = narrow() && square;
    const rows = trace.y.map((name, index) => (numbered ? `${index + 1} ${name}` : name));
    if (numbered) {
      layout.xaxis = { ...layout.xaxis, tickvals: trace.x, ticktext: trace.x.map((_, index) => String(index + 1)) };
      layout.xaxis.tickangle = 0;
      layout.yaxis = { ...layout.yaxis, tickvals: trace.y, ticktext: rows };
    }
    const gap = narrow() ? 1 : 2;
    const pitch = (width - longest(rows, 12) - 20) / trace.x.length;
    const cell = pitch - gap - 1;
    const size = narrow() && trace.x.length > 9 ? 9 : 12;
    layout.xaxis = { ...layout.xaxis, tickfont: { size } };
    if (!square) {  // the names of periods follow from their neighbours', those of books do not
      const every = Math.ceil((longest(trace.x, size) + 4) / pitch);
      Object.assign(layout.xaxis, { tickvals: trace.x.filter((_, index) => index % every === 0), tickangle: 0 });
    }
    const found = lettering(trace.z.flat().filter((value) => value !== null), chart.digits, cell);
    Object.assign(trace, found, { xgap: cell < 6 ? 0 : gap, ygap: gap });
    layout.margin = { ...layout.margin, l: 2, r: 6 };
    if (!found.texttemplate) {
      trace.showscale = true;
      trace.colorbar = { orientation: "h", thickness: 10, y: 0, yanchor: "top", ypad: 14, nticks: 5, outlinewidth: 0 };
      layout.margin.b = 50;
      layout.height += 42;
    }
  }

  function axes(layout) {
    const base = { gridcolor: "@grid", zerolinecolor: "@quiet", linecolor: "@rule", automargin: true, zeroline: false };
    const found = {};
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
      found[name] = { ...base, ...(name[0] === "x" ? { nticks: narrow() ? 4 : 9 } : {}), ...layout[name] };
      if (found[name].type === "category") delete found[name].nticks;
    }
    return found;
  }

  function layoutOf(layout) {
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
      font: { family: typeface, size: 12, color: "@ink" },
      hoverlabel: { bgcolor: "@card", bordercolor: "@rule", font: { color: "@ink" }, align: "left" },
    }, "");
  }

  function draw(chart, width) {
    const traces = chart.traces.map((trace) => ({
      ...resolve(trace, ""),
      visible: !chart.hidden.has(trace.name),
      ...(trace.colorbar ? { colorbar: { ...trace.colorbar, outlinewidth: 0 } } : {}),
    }));
    const [place, wanted] = [placeOf(chart), { ...chart.layout }];
    // A phone has no room for some of the words.
    if (narrow() && wanted.annotations) wanted.annotations = wanted.annotations.filter((note) => note.name !== "wide");
    if (chart.digits !== undefined) fit(chart, traces[0], wanted, width || place.clientWidth);
    const layout = layoutOf(wanted);
    if (width) layout.width = Math.max(width, 200);
    place.style.height = layout.height + "px";
    return Plotly.react(place, traces, layout, {
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
    if (trace.mode === "markers") return `<path d="${symbols[trace.marker.symbol]}" fill="var(--${fill.slice(1)})"/>`;
    const pattern = dashes[line.dash] || "none";
    return `<line x1="0" x2="26" y1="6" y2="6" stroke="${stroke}" stroke-width="${Math.min(line.width || 2, 3)}" ` +
      `stroke-dasharray="${pattern}"/>`;
  }

  function count(rest) {
    const left = rest.querySelectorAll("button").length;
    rest.firstElementChild.textContent = `${left} more, hidden until clicked`;
    rest.hidden = !left;
  }

  // A curve that was asked for stands with those that are drawn.
  function takeOut(button, rest) {
    if (button.parentNode !== rest) return;
    rest.before(button);
    button.focus();
    count(rest);
  }

  // Buttons instead of plotly's own legend: they wrap, follow the theme and can be reached by keyboard.
  function legend(chart) {
    const place = document.getElementById(chart.name + "-legend");
    const names = [...new Set(chart.traces.map((trace) => trace.name))];
    chart.hidden = new Set(chart.traces.filter((trace) => trace.visible === "legendonly").map((trace) => trace.name));
    if (!chart.legend || names.length < 2) return;
    const rest = document.createElement("details");
    rest.append(document.createElement("summary"));
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
        else takeOut(button, rest);
        button.setAttribute("aria-pressed", String(!chart.hidden.has(name)));
        draw(chart);
      });
      (chart.hidden.has(name) ? rest : place).append(button);
    }
    if (rest.querySelector("button")) place.append(rest);
    count(rest);
  }

  function paint(forced) {
    const dark = forced ? forced === "dark" : theme === "dark" || (theme === "auto" && system.matches);
    root.dataset.theme = dark ? "dark" : "light";
    document.getElementById("theme").textContent = "Theme: " + theme;
  }

  function drawAll(width) {
    drawnFor = innerWidth;
    data.charts.forEach((chart) => draw(chart, width));
  }

  // Shades the side on which a table goes on beyond its box, and says so in its caption.
  function edges(box) {
    const [scroll, caption] = [box.firstElementChild, box.querySelector("caption span")];
    const far = scroll.scrollWidth - scroll.clientWidth;
    box.classList.toggle("left", scroll.scrollLeft > 1);
    box.classList.toggle("right", scroll.scrollLeft < far - 1);
    const hint = caption.querySelector("i");
    if (far > 1 && !hint) caption.append(Object.assign(document.createElement("i"), { textContent: " scrolls sideways \u2194" }));
    if (far <= 1) hint?.remove();
  }

  const boxes = document.querySelectorAll(".box");
  const allEdges = () => boxes.forEach(edges);

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
      button.append(...head.childNodes);
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
  let waiting = 0;
  addEventListener("resize", () => {
    allEdges();
    clearTimeout(waiting);
    // A phone's address bar changes the height alone, and that often.
    waiting = setTimeout(() => { if (innerWidth !== drawnFor) drawAll(); }, 200);
  });
  boxes.forEach((box) => box.firstElementChild.addEventListener("scroll", () => edges(box), { passive: true }));
  if (innerWidth < 1150) document.querySelector("nav details").open = false;
  document.querySelectorAll("table.sortable").forEach(sortable);
  paint();
  data.charts.forEach(legend);
  drawAll();
  allEdges();
})();
