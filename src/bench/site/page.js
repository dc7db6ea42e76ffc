"use strict";
const files = JSON.parse(document.getElementById("results").textContent);
const byId = (id) => document.getElementById(id);
const COLOURS = [
  "#2563eb",
  "#d97706",
  "#059669",
  "#db2777",
  "#7c3aed",
  "#0891b2",
  "#65a30d",
  "#dc2626",
];
const colour = (i) => COLOURS[i % COLOURS.length];
const all = files.flatMap((file, i) => file.rows.map((row) => ({ ...row, file, i })));

// Elements by name, with attributes and children; text is set as text, whatever a file says.
const SVG = "http://www.w3.org/2000/svg";
function element(space, name, attributes, children) {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  for (const child of children || []) made.append(child);
  return made;
}
const html = (name, attributes, ...children) => element(null, name, attributes, children);
const svg = (name, attributes, ...children) => element(SVG, name, attributes, children);

function digits(x, n = 3) {
  if (x === null || x === undefined || !isFinite(x)) return "";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return x.toExponential(1);
  return size >= 10 ** (n - 1) ? x.toFixed(0) : x.toPrecision(n);
}
const tick = (x) => (x >= 1e-4 && x < 1e7 ? String(Number(x.toPrecision(1))) : x.toExponential(0));
const percent = (x) => (x === null || x === undefined ? "" : (100 * x).toFixed(1) + " %");
const label = (file) => {
  const same = files.filter((other) => other.header.adapter === file.header.adapter).length > 1;
  return file.header.adapter + (same ? ` (${file.file})` : "");
};

// Charts, both axes by logarithms.
const ticks = (low, high) => {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    found.push(10 ** e);
  return found.filter((t) => t >= low * 0.999 && t <= high * 1.001);
};
function range(values, pad = 1.6) {
  const known = values.filter((v) => v > 0 && isFinite(v));
  if (!known.length) return [0.1, 10];
  return [Math.min(...known) / pad, Math.max(...known) * pad];
}
function chart({ x, y, xName, yName, title, width = 1180, height = 520, draw }) {
  const left = 64,
    right = 16,
    top = title ? 30 : 14,
    bottom = 42;
  const at =
    ([low, high], from, to) =>
    (v) =>
      from + ((to - from) * Math.log(v / low)) / Math.log(high / low);
  const px = at(x, left, width - right),
    py = at(y, height - bottom, top);
  const made = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": title || yName,
  });
  for (const t of ticks(...x)) {
    made.append(svg("line", { class: "grid", x1: px(t), x2: px(t), y1: top, y2: height - bottom }));
    made.append(
      svg("text", { x: px(t), y: height - bottom + 15, "text-anchor": "middle" }, tick(t)),
    );
  }
  for (const t of ticks(...y)) {
    made.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: py(t), y2: py(t) }));
    made.append(svg("text", { x: left - 6, y: py(t) + 4, "text-anchor": "end" }, tick(t)));
  }
  made.append(
    svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, xName),
  );
  made.append(
    svg(
      "text",
      {
        x: 14,
        y: (top + height - bottom) / 2,
        "text-anchor": "middle",
        transform: `rotate(-90 14 ${(top + height - bottom) / 2})`,
      },
      yName,
    ),
  );
  if (title) made.append(svg("text", { class: "title", x: left, y: 18 }, title));
  const inside = svg("g", {});
  made.append(inside);
  draw(inside, px, py);
  return made;
}
function point(row, cx, cy) {
  const dot = svg("circle", {
    cx,
    cy,
    r: 4.5,
    fill: colour(row.i),
    "fill-opacity": row.cache === "cold" ? 0.25 : 0.8,
    stroke: colour(row.i),
  });
  const words = [row.name, row.core, row.dtype, row.cache].join(" ");
  dot.append(
    svg(
      "title",
      {},
      `${words}\n${label(row.file)}\n${digits(row.ms)} ms, ${digits(row.gflops)} GFLOP/s, ` +
        `${digits(row.gbps)} GB/s, ${percent(row.peak_share)} of the ${row.bound} roof`,
    ),
  );
  return dot;
}
const legend = () =>
  html(
    "div",
    { class: "legend" },
    ...files.map((file, i) =>
      html("span", {}, html("i", { style: `background:${colour(i)}` }), label(file)),
    ),
  );

function roofline(rows) {
  const shown = rows.filter((r) => r.ms && r.gflops > 0 && r.gbps > 0);
  const launch = (r) =>
    r.file.header.peak_launch_us > 0
      ? (r.gflops * r.ms * 1e3) / (r.dispatches * r.file.header.peak_launch_us)
      : NaN;
  const x = range([
    ...shown.map((r) => r.gflops / r.gbps),
    ...files.map((f) => f.header.peak_gflops / f.header.peak_gbps),
  ]);
  const y = range([...shown.map((r) => r.gflops), ...files.map((f) => f.header.peak_gflops)]);
  return chart({
    x,
    y,
    xName: "operations per byte",
    yName: "GFLOP/s",
    draw(g, px, py) {
      files.forEach((file, i) => {
        const { peak_gflops: top, peak_gbps: slope } = file.header;
        const knee = top / slope,
          start = Math.max(x[0], y[0] / slope);
        const line = [
          [start, start * slope],
          [knee, top],
          [x[1], top],
        ].filter((p) => p[0] >= x[0] && p[0] <= x[1]);
        g.append(
          svg("polyline", {
            points: line.map((p) => `${px(p[0])},${py(p[1])}`).join(" "),
            fill: "none",
            stroke: colour(i),
            "stroke-width": 1.6,
          }),
        );
      });
      for (const r of shown) {
        const cx = px(r.gflops / r.gbps),
          roof = launch(r);
        if (roof > y[0] && roof < y[1])
          g.append(
            svg("line", {
              x1: cx - 6,
              x2: cx + 6,
              y1: py(roof),
              y2: py(roof),
              stroke: colour(r.i),
              "stroke-width": 1.4,
              "stroke-opacity": 0.7,
            }),
          );
        g.append(point(r, cx, py(r.gflops)));
      }
    },
  });
}

// The time that a row's operations or bytes need at the peak, in milliseconds.
const least = (r) =>
  Math.max(r.gflops / r.file.header.peak_gflops, r.gbps / r.file.header.peak_gbps) * r.ms;
function floor(rows) {
  const shown = rows.filter((r) => r.ms && least(r) > 0);
  const launches = files.map((f) => f.header.peak_launch_us / 1e3);
  const x = range(shown.map(least)),
    y = range([...shown.map((r) => r.ms), ...launches]);
  return chart({
    x,
    y,
    xName: "milliseconds at the peak",
    yName: "milliseconds",
    draw(g, px, py) {
      const from = Math.max(x[0], y[0]),
        to = Math.min(x[1], y[1]);
      if (from < to)
        g.append(
          svg("line", {
            x1: px(from),
            y1: py(from),
            x2: px(to),
            y2: py(to),
            stroke: "currentColor",
            "stroke-opacity": 0.6,
          }),
        );
      launches.forEach((ms, i) => {
        if (ms > 0)
          g.append(
            svg(
              "line",
              {
                x1: px(x[0]),
                x2: px(x[1]),
                y1: py(ms),
                y2: py(ms),
                stroke: colour(i),
                "stroke-dasharray": "6 4",
              },
              svg("title", {}, `${label(files[i])}: ${digits(ms * 1e3)} us a dispatch`),
            ),
          );
      });
      for (const r of shown) g.append(point(r, px(least(r)), py(r.ms)));
    },
  });
}

function exponent(points) {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)]);
  const mean = (i) => logs.reduce((sum, p) => sum + p[i], 0) / logs.length,
    mx = mean(0),
    my = mean(1);
  const of = (f) => logs.reduce((sum, p) => sum + f(p), 0);
  return of((p) => (p[0] - mx) * (p[1] - my)) / of((p) => (p[0] - mx) ** 2);
}
function scaling(rows) {
  // By what is scaled and its size: a line to each machine and set of the other sizes.
  const groups = new Map();
  for (const r of rows.filter((r) => r.ms)) {
    const stem = r.op || r.name.split(/_[a-z]+\d/)[0];
    for (const [size, value] of Object.entries(r.sizes)) {
      const rest = Object.entries(r.sizes)
        .filter(([n]) => n !== size)
        .map(([n, v]) => `${n}=${v}`)
        .join(",");
      const backward = r.name.endsWith("_fwd_bwd") ? " with gradients" : "";
      const key = `${stem}${backward}, by ${size}`,
        line = [label(r.file), r.core, r.dtype, r.cache, rest].join(" ");
      if (!groups.has(key)) groups.set(key, { size, lines: new Map() });
      const lines = groups.get(key).lines;
      if (!lines.has(line)) lines.set(line, { i: r.i, rest, points: new Map() });
      lines.get(line).points.set(value, r.ms);
    }
  }
  const charts = [];
  for (const [title, { size, lines }] of groups) {
    const drawn = [...lines.values()]
      .map((l) => ({ ...l, points: [...l.points].sort((a, b) => a[0] - b[0]) }))
      .filter((l) => l.points.length >= 3);
    if (!drawn.length) continue;
    const points = drawn.flatMap((l) => l.points);
    charts.push(
      chart({
        x: range(
          points.map((p) => p[0]),
          1.2,
        ),
        y: range(points.map((p) => p[1])),
        xName: size,
        yName: "milliseconds",
        title,
        width: 560,
        height: 340,
        draw(g, px, py) {
          for (const l of drawn) {
            g.append(
              svg(
                "polyline",
                {
                  points: l.points.map((p) => `${px(p[0])},${py(p[1])}`).join(" "),
                  fill: "none",
                  stroke: colour(l.i),
                  "stroke-width": 1.6,
                },
                svg("title", {}, l.rest),
              ),
            );
            for (const p of l.points)
              g.append(
                svg(
                  "circle",
                  { cx: px(p[0]), cy: py(p[1]), r: 3, fill: colour(l.i) },
                  svg("title", {}, `${size}=${p[0]},${l.rest}: ${digits(p[1])} ms`),
                ),
              );
            const last = l.points[l.points.length - 1];
            g.append(
              svg(
                "text",
                { x: px(last[0]) - 4, y: py(last[1]) - 8, "text-anchor": "end" },
                `${size}^${exponent(l.points).toFixed(2)}`,
              ),
            );
          }
        },
      }),
    );
  }
  return charts;
}

// Tables. A column is a name, a value to sort by, what is shown, and whether it is text.
function table(id, columns, rows) {
  const at = byId(id),
    order = at.order || { column: -1, sign: 1 };
  const key = (v) =>
    v === null || v === undefined || v === "" ? (order.sign > 0 ? Infinity : -Infinity) : v;
  if (order.column >= 0 && columns[order.column]) {
    const value = columns[order.column].value;
    rows = [...rows].sort((a, b) => {
      const [p, q] = [key(value(a)), key(value(b))];
      return order.sign * (p < q ? -1 : p > q ? 1 : 0);
    });
  }
  const head = html(
    "tr",
    {},
    ...columns.map((c, i) => {
      const cell = html(
        "th",
        { class: c.text ? "text" : "", "data-order": order.column === i ? order.sign : "" },
        c.name,
      );
      if (at.classList.contains("sortable"))
        cell.onclick = () => {
          at.order = { column: i, sign: order.column === i ? -order.sign : 1 };
          show();
        };
      return cell;
    }),
  );
  const body = rows.map((r) =>
    html(
      "tr",
      {},
      ...columns.map((c) => {
        const shown = c.show ? c.show(r) : c.value(r);
        return html(
          "td",
          { class: c.text ? "text" : "" },
          ...[shown === null || shown === undefined ? "" : shown].flat(),
        );
      }),
    ),
  );
  at.replaceChildren(html("thead", {}, head), html("tbody", {}, ...body));
}
const time = (r) =>
  r.ms ? digits(r.ms) : html("span", { class: "wrong" }, r.pass ? "refused" : "WRONG");

function machines() {
  const of = (f) => f.header.environment || {};
  table(
    "machines",
    [
      { name: "adapter", text: true, value: (f) => f.header.adapter },
      { name: "driver", text: true, value: (f) => f.header.driver },
      { name: "processor", text: true, value: (f) => f.header.processor },
      { name: "file", text: true, value: (f) => f.file },
      { name: "processes", value: (f) => f.processes },
      { name: "GFLOP/s", value: (f) => digits(f.header.peak_gflops) },
      { name: "GB/s", value: (f) => digits(f.header.peak_gbps) },
      { name: "us a dispatch", value: (f) => digits(f.header.peak_launch_us || NaN) },
      {
        name: "version",
        text: true,
        value: (f) =>
          f.header.version +
          (of(f).commit ? ` ${of(f).commit.slice(0, 9)}${of(f).dirty ? "+" : ""}` : ""),
      },
      { name: "date", text: true, value: (f) => (of(f).date || "").slice(0, 10) },
      { name: "wgpu", text: true, value: (f) => of(f).wgpu },
      { name: "load", value: (f) => of(f).load && digits(of(f).load[0]) },
      { name: "power", text: true, value: (f) => of(f).power },
    ],
    files,
  );
}
function beside(rows) {
  // Of several cores on a machine, the fastest.
  const kinds = new Map();
  for (const r of rows) {
    const key = [r.name, r.dtype, r.cache].join(" ");
    if (!kinds.has(key)) kinds.set(key, { name: r.name, what: `${r.dtype}, ${r.cache}`, by: [] });
    const by = kinds.get(key).by;
    if (!by[r.i] || (r.ms && r.ms < (by[r.i].ms || Infinity))) by[r.i] = r;
  }
  const said = (kind, i) => {
    const [first, one] = [kind.by[0], kind.by[i]];
    return (
      one.core + (i > 0 && first && first.ms && one.ms ? `, x${digits(one.ms / first.ms)}` : "")
    );
  };
  table(
    "beside",
    [
      { name: "workload", text: true, value: (k) => k.name },
      { name: "type, cache", text: true, value: (k) => k.what },
      ...files.map((file, i) => ({
        name: label(file),
        value: (k) => k.by[i] && k.by[i].ms,
        show: (k) => (k.by[i] ? [time(k.by[i]), html("small", {}, said(k, i))] : ""),
      })),
    ],
    [...kinds.values()],
  );
}
function peers(rows) {
  const found = rows.flatMap((r) => r.peers.map((p) => ({ ...p, row: r })));
  byId("peers-section").hidden = !found.length;
  table(
    "peers",
    [
      { name: "workload", text: true, value: (p) => p.row.name },
      { name: "machine", text: true, value: (p) => label(p.row.file) },
      { name: "library", text: true, value: (p) => p.peer },
      { name: "wgvq, ms", value: (p) => p.ours_ms, show: (p) => digits(p.ours_ms) },
      {
        name: "theirs, ms",
        value: (p) => p.ms,
        show: (p) =>
          p.ms
            ? digits(p.ms)
            : html(
                "span",
                { class: p.pass === false ? "wrong" : "" },
                p.pass === false ? "WRONG" : "passed over",
              ),
      },
      { name: "ratio", value: (p) => p.ratio, show: (p) => digits(p.ratio) },
      {
        name: "interval",
        value: (p) => p.interval && p.interval[0],
        show: (p) => (p.interval ? p.interval.map((v) => digits(v)).join(" to ") : ""),
      },
      { name: "error", value: (p) => p.max_err, show: (p) => digits(p.max_err) },
      { name: "said", text: true, value: (p) => (p.ms ? "" : p.detail) },
    ],
    found,
  );
}
function every(rows) {
  table(
    "rows",
    [
      { name: "workload", text: true, value: (r) => r.name },
      { name: "machine", text: true, value: (r) => label(r.file) },
      { name: "core", text: true, value: (r) => r.core },
      { name: "type", text: true, value: (r) => r.dtype },
      { name: "cache", text: true, value: (r) => r.cache },
      { name: "ms", value: (r) => r.ms, show: time },
      { name: "within", value: (r) => r.within, show: (r) => percent(r.within) },
      { name: "between", value: (r) => r.between, show: (r) => percent(r.between) },
      { name: "processes", value: (r) => r.processes },
      { name: "wall ms", value: (r) => r.wall_ms, show: (r) => digits(r.wall_ms) },
      { name: "GFLOP/s", value: (r) => r.gflops, show: (r) => digits(r.gflops) },
      { name: "GB/s", value: (r) => r.gbps, show: (r) => digits(r.gbps) },
      { name: "of peak", value: (r) => r.peak_share, show: (r) => percent(r.peak_share) },
      { name: "bound by", text: true, value: (r) => r.bound },
      { name: "dispatches", value: (r) => r.dispatches },
      { name: "MiB", value: (r) => r.memory, show: (r) => digits(r.memory / 2 ** 20) },
      { name: "error", value: (r) => r.max_err, show: (r) => digits(r.max_err) },
    ],
    rows,
  );
}

function choices(id, of) {
  const values = [...new Set(all.map(of))].sort();
  byId(id).append(
    html("option", { value: "" }, "all"),
    ...values.map((v) => html("option", { value: v }, v)),
  );
  byId(id).onchange = show;
}
function show() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = (r) =>
    ["core", "dtype", "cache"].every((id) => !byId(id).value || r[id] === byId(id).value);
  const rows = all.filter((r) => chosen(r) && words.every((w) => r.name.toLowerCase().includes(w)));
  byId("intro").textContent =
    `${rows.length} of ${all.length} rows from ${files.length} ` +
    `${files.length === 1 ? "file" : "files"}. ` +
    "Every result was compared with f64 before it was timed.";
  byId("roofline").replaceChildren(legend(), roofline(rows));
  byId("floor").replaceChildren(floor(rows));
  byId("scaling").replaceChildren(...scaling(rows));
  beside(rows);
  peers(rows);
  every(rows);
}
machines();
choices("core", (r) => r.core);
choices("dtype", (r) => r.dtype);
choices("cache", (r) => r.cache);
byId("filter").oninput = show;
show();
