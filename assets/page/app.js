// The page: what is shown, and when the engine is asked. Images are RGB bytes, codes one number
// per cell.

import init, { Engine, engine_version } from "./wgvq_web.js";
import { listenToTraining, trainOn } from "./train.js";

const $ = (id) => document.getElementById(id);
const UNDO_KEPT = 100;

let page; // page.json: what this page shows
let engine, about;
let original = null; // the picture that was encoded, or null where the codes came from elsewhere
let codes = new Uint32Array(); // as they are now
let coded = new Uint32Array(); // as they came
let brush = 0;
let cursor = null; // the cell that the keyboard is at
let past = [];
let marked = new Set(); // cells that are to be drawn anew
let swatches = []; // a canvas for each code

// messages

function state(name) {
  document.body.dataset.state = name;
  $("main").inert = name !== "ready";
}

function notice(text, points = []) {
  const box = $("notice");
  box.replaceChildren(text);
  if (points.length) {
    const list = document.createElement("ul");
    for (const point of points)
      list.append(Object.assign(document.createElement("li"), { textContent: point }));
    box.append(list);
  }
  box.hidden = !text;
}

const words = (error) => (error instanceof Error ? error.message : String(error));

// Runs one thing after another: the engine has one queue, and the page one thing to show at a time.
let line = Promise.resolve();
function after(work) {
  const next = line.then(async () => {
    document.body.dataset.busy = "yes";
    try {
      return await work();
    } catch (error) {
      notice(`That did not work: ${words(error)}`);
      return undefined;
    } finally {
      delete document.body.dataset.busy;
      document.body.dataset.done = Number(document.body.dataset.done ?? 0) + 1;
    }
  });
  line = next;
  return next;
}

// pictures

function show(canvas, rgb, width, height, drawn = Infinity) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const image = new ImageData(width, height);
  const [cellWidth, cellHeight] = [width / about.columns, height / about.rows];
  for (let i = 0; i < width * height; i++) {
    const cell =
      Math.floor(Math.floor(i / width) / cellHeight) * about.columns +
      Math.floor((i % width) / cellWidth);
    image.data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = cell < drawn ? 255 : 0;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// What the engine cannot read (AVIF, SVG), the browser may.
async function byBrowser(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
  } finally {
    URL.revokeObjectURL(image.src);
  }
  const canvas = new OffscreenCanvas(about.width, about.height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const [wide, high] = [image.naturalWidth || canvas.width, image.naturalHeight || canvas.height];
  const scale = Math.max(canvas.width / wide, canvas.height / high);
  const [w, h] = [wide * scale, high * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return new Uint8Array(data.filter((_, i) => i % 4 < 3));
}

async function open(file) {
  notice("");
  let pixels;
  try {
    pixels = engine.fit(new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    pixels = await byBrowser(file).catch(() => {
      throw error;
    });
  }
  const begun = performance.now();
  const found = await engine.encode(pixels);
  $("timing").dataset.encode = (performance.now() - begun).toFixed(1);
  original = pixels;
  show($("original"), pixels, about.width, about.height);
  take(found);
  await decode();
}

// Codes from elsewhere: an encoded picture, a sample.
function take(found) {
  codes = Uint32Array.from(found);
  coded = Uint32Array.from(found);
  past = [];
  marked = new Set();
  showCodes();
}

async function decode() {
  const begun = performance.now();
  const pixels = await engine.decode(codes);
  const took = performance.now() - begun;
  show($("decoded"), pixels, about.width, about.height);
  const encode = $("timing").dataset.encode;
  $("timing").textContent =
    `decoded in ${took.toFixed(1)} ms` + (original && encode ? `, encoded in ${encode} ms` : "");
  if (original) {
    let sum = 0;
    for (let i = 0; i < pixels.length; i++) sum += ((pixels[i] - original[i]) / 255) ** 2;
    $("error").textContent =
      `PSNR ${(-10 * Math.log10(Math.max(sum / pixels.length, 1e-9))).toFixed(1)} dB`;
  } else {
    $("error").textContent = "";
  }
}

// Strokes are faster than the device may be: what is decoded is always the newest map.
let waiting = false;
function decodeSoon() {
  if (waiting) return;
  waiting = true;
  after(async () => {
    waiting = false;
    await decode();
  });
}

// codes

function showCodes() {
  const canvas = $("map");
  const context = canvas.getContext("2d");
  const [w, h] = [canvas.width / about.columns, canvas.height / about.rows];
  context.imageSmoothingEnabled = false;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = `600 ${Math.round(h / 3.4)}px system-ui, sans-serif`;
  codes.forEach((code, i) => {
    const [x, y] = [(i % about.columns) * w, Math.floor(i / about.columns) * h];
    context.drawImage(swatches[code], x, y, w, h);
    if ($("numbers").checked) {
      context.fillStyle = swatches[code].light ? "rgb(0 0 0 / 65%)" : "rgb(255 255 255 / 75%)";
      context.fillText(code, x + w / 2, y + h / 2);
    }
  });
  for (const cell of marked) {
    const [x, y] = [(cell % about.columns) * w, Math.floor(cell / about.columns) * h];
    context.fillStyle = "rgb(238 143 84 / 55%)";
    context.fillRect(x, y, w, h);
    context.strokeStyle = "#c2571b";
    context.lineWidth = 4;
    context.strokeRect(x + 2, y + 2, w - 4, h - 4);
  }
  $("redraw-marked").disabled = marked.size === 0;
  context.strokeStyle = "rgb(128 128 128 / 45%)";
  context.lineWidth = 1;
  for (let i = 1; i < about.columns; i++) context.strokeRect(i * w, -1, 0, canvas.height + 2);
  for (let i = 1; i < about.rows; i++) context.strokeRect(-1, i * h, canvas.width + 2, 0);
  if (cursor !== null && document.activeElement === canvas) {
    context.strokeStyle = "#ee8f54";
    context.lineWidth = 6;
    context.strokeRect(
      (cursor % about.columns) * w + 3,
      Math.floor(cursor / about.columns) * h + 3,
      w - 6,
      h - 6,
    );
  }
  canvas.dataset.codes = codes.join(",");
  const used = new Set(codes);
  $("palette").childNodes.forEach((button, code) =>
    button.classList.toggle("used", used.has(code)),
  );
  $("undo").disabled = past.length === 0;
  $("reset").disabled = codes.every((code, i) => code === coded[i]);
}

function choose(code) {
  $("palette").childNodes[brush]?.setAttribute("aria-pressed", "false");
  brush = code;
  $("palette").childNodes[brush]?.setAttribute("aria-pressed", "true");
  $("brush").textContent = code;
}

function remember() {
  past.push(codes.slice());
  if (past.length > UNDO_KEPT) past.shift();
}

// What is drawn in reading order sees only what comes before: from a marked cell on, all is.
function mark(cell, add) {
  if (cell === null || marked.has(cell) === add) return;
  if (about.prior.sees_all) {
    if (add) marked.add(cell);
    else marked.delete(cell);
  } else {
    const first = add ? Math.min(cell, ...marked) : cell + 1;
    marked = new Set([...codes.keys()].filter((i) => i >= first));
  }
  showCodes();
}

function paint(cell) {
  if (cell === null || codes[cell] === brush) return;
  codes[cell] = brush;
  showCodes();
  decodeSoon();
}

function cellAt(event) {
  const box = $("map").getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * about.columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * about.rows);
  const inside = column >= 0 && row >= 0 && column < about.columns && row < about.rows;
  return inside ? row * about.columns + column : null;
}

function listenToMap() {
  const map = $("map");
  let painting = false;
  let marking = null; // whether the stroke marks or unmarks
  map.addEventListener("pointerdown", (event) => {
    if (!codes.length || event.button !== 0) return;
    const cell = cellAt(event);
    if ($("mark").checked) {
      cursor = null;
      marking = !marked.has(cell);
      map.setPointerCapture(event.pointerId);
      mark(cell, marking);
      return;
    }
    if (event.shiftKey) {
      if (cell !== null) choose(codes[cell]);
      return;
    }
    // What is being drawn takes every cell.
    if (redrawing) return;
    painting = true;
    cursor = null;
    map.setPointerCapture(event.pointerId);
    remember();
    paint(cell);
  });
  map.addEventListener("pointermove", (event) => {
    if (painting) paint(cellAt(event));
    if (marking !== null) mark(cellAt(event), marking);
  });
  const end = () => {
    marking = null;
    if (painting && past.length && past.at(-1).every((code, i) => code === codes[i])) past.pop();
    painting = false;
    if (codes.length) showCodes();
  };
  map.addEventListener("pointerup", end);
  map.addEventListener("pointercancel", end);
  map.addEventListener("blur", () => codes.length && showCodes());
  map.addEventListener("keydown", (event) => {
    if (!codes.length) return;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -about.columns,
      ArrowDown: about.columns,
    };
    if (event.key in steps) {
      const to = (cursor ?? 0) + (cursor === null ? 0 : steps[event.key]);
      if (to >= 0 && to < codes.length) cursor = to;
      showCodes();
    } else if (event.key === " " && cursor !== null && $("mark").checked) {
      mark(cursor, !marked.has(cursor));
    } else if (event.key === " " && cursor !== null && !redrawing) {
      remember();
      paint(cursor);
    } else if (event.key.toLowerCase() === "p" && cursor !== null) {
      choose(codes[cursor]);
    } else {
      return;
    }
    event.preventDefault();
  });
  $("undo").addEventListener("click", () => {
    if (!past.length || redrawing) return;
    codes = past.pop();
    showCodes();
    decodeSoon();
  });
  $("reset").addEventListener("click", () => {
    if (redrawing) return;
    remember();
    codes = coded.slice();
    showCodes();
    decodeSoon();
  });
  $("numbers").addEventListener("change", () => codes.length && showCodes());
  $("redraw-marked").addEventListener("click", () => after(redraw));
}

async function makePalette() {
  const pixels = await engine.palette();
  const [w, h] = [about.width / about.columns, about.height / about.rows];
  const buttons = [];
  for (let code = 0; code < about.codes; code++) {
    const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
    const image = new ImageData(w, h);
    let light = 0;
    for (let i = 0; i < w * h; i++) {
      const rgb = pixels.subarray(3 * (code * w * h + i), 3 * (code * w * h + i) + 3);
      image.data.set(rgb, 4 * i);
      image.data[4 * i + 3] = 255;
      light += 0.213 * rgb[0] + 0.715 * rgb[1] + 0.072 * rgb[2];
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    canvas.light = light / (w * h) > 140;
    swatches.push(canvas);
    const button = Object.assign(document.createElement("button"), {
      type: "button",
      title: `code ${code}`,
    });
    button.setAttribute("aria-label", `code ${code}`);
    button.setAttribute("aria-pressed", "false");
    button.style.background = `url(${canvas.toDataURL()}) center / 100% 100%`;
    button.addEventListener("click", () => choose(code));
    buttons.push(button);
  }
  $("palette").replaceChildren(...buttons);
  choose(0);
}

// samples

let stopped = false;
let redrawing = false;

// What the controls ask of a drawing of so many pictures.
function asked(n) {
  return {
    n,
    class: Number($("class").value),
    text: $("text").value,
    temperature: Number($("temperature").value),
    top_p: 0.98,
    guidance: Number($("guidance").value),
    seed: Number($("seed").value) >>> 0,
    passes: Math.max(1, Math.floor(Number($("passes").value))),
  };
}

function nextSeed() {
  $("seed").value = (Number($("seed").value) + 1) >>> 0;
}

function tellUnread() {
  const unread = about.prior.texts ? engine.unread($("text").value) : "";
  if (unread) notice(unread);
}

// Draws the marked cells anew, from the codes that are not marked.
async function redraw() {
  notice("");
  tellUnread();
  const kept = Uint8Array.from(codes, (_, cell) => (marked.has(cell) ? 0 : 1));
  remember();
  stopped = false;
  redrawing = true;
  try {
    const from = codes;
    const drawn = await engine.sample(JSON.stringify(asked(1)), from, kept, (_, now, picture) => {
      codes = Uint32Array.from(now);
      showCodes();
      show($("decoded"), picture, about.width, about.height);
      return !stopped;
    });
    codes = Uint32Array.from(drawn);
  } finally {
    redrawing = false;
  }
  nextSeed();
  showCodes();
  await decode();
}

async function draw() {
  notice("");
  tellUnread();
  stopped = false;
  $("draw").disabled = true;
  $("stop").disabled = false;
  const n = Number($("count").value);
  const total = about.rows * about.columns;
  const each = 3 * about.width * about.height;
  let newest = new Uint32Array(n * total);
  const canvases = Array.from({ length: n }, (_, i) => {
    const canvas = Object.assign(document.createElement("canvas"), {
      width: about.width,
      height: about.height,
    });
    const button = Object.assign(document.createElement("button"), {
      type: "button",
      title: "Paint on this one",
    });
    button.append(canvas);
    button.addEventListener("click", () => {
      const own = newest.slice(i * total, (i + 1) * total);
      original = null;
      const context = $("original").getContext("2d");
      context.clearRect(0, 0, $("original").width, $("original").height);
      take(own);
      decodeSoon();
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      $("editor").scrollIntoView({ behavior: still ? "instant" : "smooth" });
    });
    return canvas;
  });
  $("gallery").replaceChildren(...canvases.map((canvas) => canvas.parentNode));
  $("progress").max = total;
  const begun = performance.now();
  const step = (drawn, now, pictures) => {
    newest = now;
    canvases.forEach((canvas, i) => {
      show(canvas, pictures.subarray(i * each, (i + 1) * each), about.width, about.height, drawn);
    });
    $("progress").value = drawn;
    const seconds = (performance.now() - begun) / 1000;
    $("progress-text").textContent =
      `${drawn} of ${total} codes of ${n === 1 ? "1 picture" : `${n} pictures`}, ` +
      `${((drawn * n) / seconds).toFixed(0)} codes/s`;
    $("gallery").dataset.drawn = drawn;
    return !stopped;
  };
  try {
    const none = [new Uint32Array(), new Uint8Array()];
    await engine.sample(JSON.stringify(asked(n)), ...none, step);
    $("gallery").dataset.codes = newest.join(",");
    nextSeed();
  } finally {
    $("draw").disabled = false;
    $("stop").disabled = true;
  }
}

// benchmark

async function measure() {
  notice("");
  $("measure").disabled = true;
  $("measure").textContent = "Measuring …";
  try {
    const [n, k, d] = ["n", "k", "d"].map((id) => Number($(id).value));
    const found = JSON.parse(await engine.search(n, k, d));
    const row = document.createElement("tr");
    const cell = (text, wrong) => {
      const td = Object.assign(document.createElement("td"), { textContent: text });
      if (wrong) td.className = "wrong";
      row.append(td);
    };
    for (const size of [found.n, found.k, found.d]) cell(size.toLocaleString("en"));
    cell(found.milliseconds.toFixed(found.milliseconds < 10 ? 3 : 1));
    cell(found.gflops.toFixed(found.gflops < 10 ? 2 : 0));
    cell(
      found.wrong ? `${found.wrong} of ${found.checked} wrong` : `${found.checked} right`,
      found.wrong > 0,
    );
    row.dataset.result = JSON.stringify(found);
    $("results").querySelector(".empty")?.remove();
    $("results").prepend(row);
  } finally {
    $("measure").disabled = false;
    $("measure").textContent = "Measure";
  }
}

// start

function listen() {
  listenToMap();
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) after(() => open(file));
    $("file").value = "";
  });
  let over = 0; // dragenter and dragleave also come for the elements inside
  document.addEventListener("dragenter", () => ($("drop").hidden = !++over));
  document.addEventListener("dragleave", () => ($("drop").hidden = !--over));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over = 0;
    $("drop").hidden = true;
    // The entries are gone once this has returned.
    const items = [...event.dataTransfer.items];
    const entries = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    if (files.length > 1 || entries.some((entry) => entry.isDirectory)) {
      after(() => trainOn(entries, files));
    } else if (files.length) after(() => open(files[0]));
    else notice("That was no file: drop a picture from a folder, or save it first.");
  });
  for (const output of document.querySelectorAll("output[for]")) {
    const input = $(output.htmlFor.value);
    const tell = () => (output.textContent = Number(input.value).toFixed(2));
    input.addEventListener("input", tell);
    tell();
  }
  $("sample-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("sample-form").reportValidity()) after(draw);
  });
  $("stop").addEventListener("click", () => (stopped = true));
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    after(measure);
  });
}

// Browsers name an adapter by a sentence, by its maker and kind, or not at all.
async function adapterName() {
  const info = about.adapter ? null : (await navigator.gpu.requestAdapter())?.info;
  return (
    about.adapter ||
    [info?.vendor, info?.architecture].filter(Boolean).join(" ") ||
    "a GPU that the browser does not name"
  );
}

async function describe() {
  const { prior } = about;
  for (const id of ["original", "map", "decoded"]) {
    $(id).style.aspectRatio = `${about.width} / ${about.height}`;
  }
  $("map").height = Math.round(($("map").width * about.height) / about.width);
  document.title = page.title;
  $("heading").textContent = page.heading;
  $("credit").textContent = page.credit;
  const orders = prior?.sees_all ? "in any order" : "in reading order";
  const texts = {
    size: `${about.width} × ${about.height}`,
    grid: `${about.columns} × ${about.rows}`,
    codes: about.codes,
    parameters: prior?.parameters.toLocaleString("en"),
    order: prior?.masked ? "in a few passes, the surest first" : orders,
  };
  for (const element of document.querySelectorAll("[data-about]")) {
    element.textContent = texts[element.dataset.about];
  }
  const bytes = (about.rows * about.columns * Math.log2(about.codes)) / 8;
  $("bits").textContent =
    `${about.rows * about.columns} × ${Math.log2(about.codes)} bits = ${Math.ceil(bytes)} bytes`;
  $("adapter").textContent =
    `${await adapterName()}, ${about.core} core` + (about.software ? " (software: slow)" : "");
  // A software adapter takes seconds for what a GPU does in milliseconds.
  if (about.software) $("n").value = 4096;
  $("sampler").hidden = $("redraw").hidden = !prior;
  if (prior) describePrior(prior);
  for (const { name, file: url } of page.samples) {
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.append(Object.assign(document.createElement("img"), { src: url, alt: name }));
    button.addEventListener("click", () => after(async () => open(await fetched(url))));
    $("samples").append(button);
  }
}

function describePrior(prior) {
  const any = prior.classes.length;
  $("class").replaceChildren(
    ...[...prior.classes, "anything"].map((name, i) => new Option(name, i, i === any, i === any)),
  );
  $("class-field").hidden = any === 0;
  $("text-field").hidden = !prior.texts;
  $("text").required = prior.texts;
  $("passes-field").hidden = !prior.masked;
  $("redraw-note").hidden = prior.sees_all;
  $("redraw-note").textContent =
    "This prior draws in reading order and sees only what comes before: from the first marked " +
    "cell on, all are drawn anew.";
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} could not be loaded (${answer.status})`);
  return answer.blob();
}

async function start() {
  if (!navigator.gpu) {
    state("unsupported");
    $("adapter").textContent = "no WebGPU";
    const secure = window.isSecureContext
      ? []
      : ["This page came over plain http. Browsers give WebGPU to https and to localhost only."];
    notice("This page computes with WebGPU, which this browser does not offer.", [
      ...secure,
      "Chrome and Edge have it from version 113 on (Android: 121), Safari from 26, " +
        "Firefox from 141 (Windows) and 145 (macOS).",
      "On Linux, Chrome may want chrome://flags/#enable-unsafe-webgpu and a Vulkan driver.",
    ]);
    return;
  }
  try {
    const bytes = async (file) =>
      new Uint8Array(await (await fetched(`model/${file}`)).arrayBuffer());
    const where = async (there, read) => (there ? await read() : undefined);
    $("adapter").textContent = "Loading the engine and the model …";
    page = JSON.parse(await (await fetched("page.json")).text());
    const [, ...files] = await Promise.all([
      init(),
      bytes("model.safetensors"),
      where(page.prior, () => bytes("prior.safetensors")),
      where(page.tokenizer, () => bytes("tokenizer.json")),
      where(page.tokenizer, async () => (await fetched("model/characters.txt")).text()),
    ]);
    if (page.engine && page.engine !== engine_version()) {
      throw new Error(`the engine is ${engine_version()}, the page was made for ${page.engine}`);
    }
    engine = await Engine.open(...files);
    about = JSON.parse(engine.about());
    await describe();
    await makePalette();
    listen();
    if (page.samples.length) await open(await fetched(page.samples[0].file));
    else {
      take(new Uint32Array(about.rows * about.columns));
      await decode();
    }
    await listenToTraining(engine, { notice, after, words });
    state("ready");
  } catch (error) {
    state("failed");
    $("adapter").textContent = "not started";
    notice(`The engine could not start: ${words(error)}`, [
      "WebGPU may be there and find no adapter: a driver that the browser does not trust, " +
        "or a virtual machine without a GPU.",
      "The browser's own report is at chrome://gpu or about:support.",
    ]);
  }
}

start();
