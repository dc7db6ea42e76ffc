// Training in the page: pictures in, a loop of steps, what is seen of it, and what is kept.

import { Training, square } from "./wgvq_web.js";
import { forget, keepPictures, keepProgress, kept } from "./keep.js";

const $ = (id) => document.getElementById(id);
const LEAST = 10; // pictures: one of ten is held out
const KEEP_EVERY = 20_000; // milliseconds between two times that progress is kept
const LOOK_SHARE = 0.15; // of the time that may go into looking at the model
const ROWS_SHOWN = 2000;

let engine, page;
let pictures = null; // { side, count, pixels: RGB of one after another }
let training = null;
let settings = null; // keys and values of the configuration
let rows = []; // of the log
let look = null;
let running = false;
let unstored = false; // whether this browser stores nothing
let wanted = false; // whether it is to go on after the step at hand

// pictures

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  // A reader gives some at a time, and none at the end.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    for (const inner of some) found.push(...(await filesOf(inner)));
  }
  return found;
}

// What the engine cannot read, the browser may.
async function byBrowser(file, side) {
  const bitmap = await createImageBitmap(file);
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, side, side);
  const scale = Math.max(side / bitmap.width, side / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (side - w) / 2, (side - h) / 2, w, h);
  const { data } = context.getImageData(0, 0, side, side);
  return new Uint8Array(data.filter((_, i) => i % 4 < 3));
}

async function readPictures(files) {
  const side = Number($("train-side").value);
  const each = 3 * side * side;
  // In the order of their names, so that the same folder is the same training.
  const name = (file) => file.webkitRelativePath || file.name;
  files.sort((a, b) => (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0));
  const found = [];
  let skipped = 0;
  for (const [i, file] of files.entries()) {
    try {
      const bytes = new Uint8Array(await file.arrayBuffer());
      let pixels;
      try {
        pixels = square(bytes, side);
      } catch {
        pixels = await byBrowser(file, side);
      }
      found.push(pixels);
    } catch {
      skipped += 1;
    }
    if (i % 20 === 0) {
      status(`Reading pictures: ${i} of ${files.length}`);
      await breathe();
    }
  }
  const pixels = new Uint8Array(found.length * each);
  found.forEach((picture, i) => pixels.set(picture, i * each));
  return { side, count: found.length, pixels, skipped };
}

async function take(files) {
  if (running || training) {
    page.notice("A training is there already: discard it before you begin another.");
    return;
  }
  page.notice("");
  const read = await readPictures(files);
  if (read.count < LEAST) {
    status("No pictures yet.");
    page.notice(`${read.count} pictures were found; a training needs at least ${LEAST}.`);
    return;
  }
  pictures = read;
  const without = read.skipped ? `, ${read.skipped} files that are no pictures left out` : "";
  status(`${read.count} pictures of ${read.side} × ${read.side}${without}.`);
  buttons();
}

// Takes what was dropped: entries of the file system where the browser has them, else files.
export async function trainOn(entries, files) {
  const found = entries.length ? (await Promise.all(entries.map(filesOf))).flat() : files;
  $("trainer").scrollIntoView({ behavior: "instant" });
  await take(found);
}

// what is shown

const breathe = () => new Promise((resolve) => setTimeout(resolve));
// The page's own colour, light or dark: a canvas knows no names of a style.
const colour = () => getComputedStyle($("train")).backgroundColor;

function status(text) {
  $("train-status").textContent = text;
}

function buttons() {
  const steps = training?.steps ?? 0;
  $("train").disabled = running || !pictures;
  $("train").textContent = steps ? "Go on" : "Train";
  $("train-pause").disabled = !running;
  $("train-download").disabled = running || !steps;
  $("train-discard").disabled = running || !(pictures || training);
  for (const id of ["train-codes", "train-size"]) $(id).disabled = Boolean(training);
  $("train-side").disabled = Boolean(pictures);
}

function showProgress() {
  const [steps, all] = [training.steps, Number($("train-steps").value)];
  $("train-progress").max = Math.max(all, steps, 1);
  $("train-progress").value = steps;
  $("trainer").dataset.steps = steps;
  const how = running ? "learning" : "paused";
  status(`${steps} of ${all} steps on ${pictures.count} pictures, ${how}.`);
}

function showCurve() {
  const canvas = $("train-curve");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!rows.length) return;
  const logs = rows.map((row) => Math.log(Math.max(row.loss, 1e-9)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const span = Math.max(high - low, 0.1);
  const last = rows.at(-1).step;
  context.strokeStyle = colour();
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.beginPath();
  rows.forEach((row, i) => {
    const x = 8 + (row.step / last) * (canvas.width - 16);
    const y = 8 + ((high - logs[i]) / span) * (canvas.height - 16);
    if (i) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
  context.stroke();
  $("train-loss").textContent = `${rows.at(-1).loss.toFixed(4)}, logarithmic`;
  $("trainer").dataset.losses = rows.map((row) => row.loss).join(",");
}

function showPairs() {
  const { side } = pictures;
  const [above, below] = [look.originals, look.reconstructions];
  const each = 3 * side * side;
  const count = above.length / each;
  const canvas = $("train-pairs");
  [canvas.width, canvas.height] = [count * side, 2 * side];
  const context = canvas.getContext("2d");
  [above, below].forEach((all, row) => {
    for (let i = 0; i < count; i++) {
      const image = new ImageData(side, side);
      for (let p = 0; p < side * side; p++) {
        const at = i * each + 3 * p;
        image.data.set(all.subarray(at, at + 3), 4 * p);
        image.data[4 * p + 3] = 255;
      }
      context.putImageData(image, i * side, row * side);
    }
  });
  const { psnr, used, counts } = look.measured;
  $("train-psnr").textContent = `PSNR ${psnr.toFixed(1)} dB`;
  $("train-used").textContent = `${used} of ${counts.length} are used`;
  $("trainer").dataset.psnr = psnr;
  const use = $("train-use");
  const bars = use.getContext("2d");
  bars.clearRect(0, 0, use.width, use.height);
  bars.fillStyle = colour();
  const sorted = [...counts].sort((a, b) => b - a);
  const wide = use.width / sorted.length;
  sorted.forEach((n, i) => {
    const high = (n / Math.max(sorted[0], 1)) * (use.height - 8);
    bars.fillRect(i * wide, use.height - high, Math.max(wide - 1, 0.7), high);
  });
}

function add(more) {
  rows.push(...JSON.parse(more));
  // A long training keeps every second row of its curve.
  if (rows.length > ROWS_SHOWN) {
    const newest = rows.length - 1;
    rows = rows.filter((_, i) => (newest - i) % 2 === 0);
  }
  $("learned").hidden = false;
  showCurve();
}

async function lookAtIt() {
  const seen = await training.look();
  look = {
    measured: JSON.parse(seen.measured),
    originals: seen.originals,
    reconstructions: seen.reconstructions,
  };
  seen.free();
  $("learned").hidden = false;
  showPairs();
}

// the training

function chosen() {
  const [hidden, codes] = [Number($("train-size").value), Number($("train-codes").value)];
  return {
    "model.hidden": hidden,
    "model.residual_hidden": hidden / 2,
    "quantizer.codebook_size": codes,
    "quantizer.dim": 16,
    "quantizer.codebook_dim": 16,
    "train.batch_size": Math.max(1, Math.min(16, Math.floor(pictures.count / 2))),
    "train.lr": 0.001,
    "train.log_every": 5,
    "train.seed": 1,
  };
}

const begin = () =>
  Training.begin(engine, JSON.stringify(settings), pictures.pixels, pictures.side);

// Where the browser stores nothing (private windows, no room), the training goes on without it.
async function store(what) {
  if (unstored) return;
  try {
    await what();
  } catch (error) {
    unstored = true;
    page.notice(`This browser keeps nothing until the next visit: ${page.words(error)}`);
  }
}

async function keep() {
  const state = await training.save();
  const progress = { settings, rows, state, steps: $("train-steps").value };
  await store(() => keepProgress(progress, pictures));
}

// Trains until it is paused or all steps are done. The page lives on between two steps.
async function train() {
  page.notice("");
  [running, wanted] = [true, true];
  try {
    if (!training) {
      settings = chosen();
      training = begin();
      rows = [];
      await store(() => keepPictures(pictures));
    }
    buttons();
    await steps();
    await lookAtIt();
    add(training.rows());
    await keep();
  } catch (error) {
    page.notice(`The training ended: ${page.words(error)}`);
  } finally {
    running = false;
    if (training) showProgress();
    buttons();
  }
}

async function steps() {
  const from = performance.now();
  let [keptAt, looking] = [from, 0];
  while (wanted && training.steps < Number($("train-steps").value)) {
    add(await training.step());
    showProgress();
    const now = performance.now();
    if (!look || looking < LOOK_SHARE * (now - from)) {
      await lookAtIt();
      looking += performance.now() - now;
    }
    if (now - keptAt > KEEP_EVERY) {
      await keep();
      keptAt = performance.now();
    }
    await breathe();
  }
}

// The model is read while nothing trains, or is thrown away.
async function download() {
  for (const id of ["train", "train-download", "train-discard"]) $(id).disabled = true;
  let bytes;
  try {
    bytes = await training.model();
  } finally {
    buttons();
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = "final.safetensors";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function discard() {
  training?.free();
  [training, pictures, look, rows] = [null, null, null, []];
  await forget();
  $("learned").hidden = true;
  $("train-progress").value = 0;
  delete $("trainer").dataset.steps;
  status("No pictures yet.");
  buttons();
}

// Goes back to what an earlier visit kept.
async function restore({ pictures: own, progress }) {
  [pictures, settings, rows] = [own, progress.settings, progress.rows];
  training = begin();
  training.restore(progress.state);
  $("train-side").value = pictures.side;
  $("train-codes").value = settings["quantizer.codebook_size"];
  $("train-size").value = settings["model.hidden"];
  $("train-steps").value = progress.steps;
  showProgress();
  add("[]");
  await lookAtIt();
}

export async function listenToTraining(on, tools) {
  [engine, page] = [on, tools];
  for (const id of ["train-files", "train-folder"]) {
    $(id).addEventListener("change", () => {
      const files = [...$(id).files];
      $(id).value = "";
      if (files.length) page.after(() => take(files));
    });
  }
  $("train-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running && pictures) train();
  });
  $("train-pause").addEventListener("click", () => (wanted = false));
  $("train-download").addEventListener("click", () => page.after(download));
  $("train-discard").addEventListener("click", () => page.after(discard));
  try {
    const found = await kept();
    if (found) await restore(found);
  } catch (error) {
    training = pictures = null;
    page.notice(`What this browser kept of a training cannot be used: ${page.words(error)}`);
  }
  buttons();
}
