// The one script of a report: it draws maps and attention over the pictures that the file holds.

"use strict";

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Three digits, as people read them. */
const short = (value) =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e4)
    ? value.toExponential(1)
    : String(Number(value.toPrecision(3)));

/** A token's attention in one layer and head, or the mean of a layer's heads: a number a token. */
function attentionOf({ depth, heads, tokens, levels, scales }, layer, head, query) {
  const row = new Float32Array(tokens);
  const chosen = head === "mean" ? Array.from({ length: heads }, (_, at) => at) : [Number(head)];
  if (layer < 0 || layer >= depth) return row;
  for (const one of chosen) {
    const line = (layer * heads + one) * tokens + query;
    const scale = scales[line] / 255 / chosen.length;
    for (let token = 0; token < tokens; token += 1) row[token] += levels[line * tokens + token] * scale;
  }
  return row;
}

/** A map over the picture, by the formula that the file's own words give. */
function paintMap(context, picture, map, { opacity, smooth, floor, tables }) {
  const { width, height } = context.canvas;
  context.drawImage(picture, 0, 0, width, height);
  const [rows, columns] = map.grid;
  const [low, high] = map.limits;
  const table = map.signed ? tables.signed : tables.plain;
  const small = new OffscreenCanvas(columns, rows);
  const image = new ImageData(columns, rows);
  map.values.forEach((value, at) => {
    const level = Math.max(0, Math.min(255, Math.floor((256 * (value - low)) / (high - low || 1))));
    const strength = map.signed ? Math.abs((2 * level) / 255 - 1) : level / 255;
    image.data.set(table.subarray(level * 3, level * 3 + 3), at * 4);
    image.data[at * 4 + 3] = Math.round(255 * opacity * (floor + (1 - floor) * strength));
  });
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, 0, 0, width, height);
}

function outline(context, [rows, columns], [row, column]) {
  const { width, height } = context.canvas;
  const [wide, high] = [width / columns, height / rows];
  for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(column * wide, row * high, wide, high);
  }
}

async function show(section, one, look) {
  const picture = new Image();
  picture.src = one.crop;
  await picture.decode();
  const [rows, columns] = one.grid;
  const attention = one.attention && {
    ...one.attention,
    levels: bytesOf(one.attention.levels),
    scales: new Float32Array(bytesOf(one.attention.scales).buffer),
  };
  const canvas = make("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": "The picture's patches; arrow keys choose one",
    width: picture.naturalWidth,
    height: picture.naturalHeight,
  });
  const kind = make("select", { "aria-label": "What is shown" });
  for (const [at, map] of one.maps.entries()) kind.append(make("option", { value: at }, map.title));
  if (attention) kind.append(make("option", { value: "attention" }, "Attention, by layer and head"));
  const layer = make("input", { type: "range", min: 1, max: attention?.depth ?? 1, "aria-label": "Layer" });
  layer.value = layer.max;
  const layerSays = make("output");
  const head = make("select", { "aria-label": "Head" }, make("option", { value: "mean" }, "mean"));
  for (let at = 0; at < (attention?.heads ?? 0); at += 1)
    head.append(make("option", { value: at }, `head ${at + 1}`));
  const opacity = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.6, "aria-label": "Opacity" });
  const smooth = make("input", { type: "checkbox", checked: "" });
  const ofAttention = make("span", { class: "controls" }, make("label", {}, "Layer ", layer, " ", layerSays), head);
  const bar = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const [low, high] = [make("span"), make("span")];
  const says = make("p", { role: "status" });
  const controls = make(
    "p",
    { class: "controls" },
    kind,
    ofAttention,
    make("label", {}, "Opacity ", opacity),
    make("label", {}, smooth, " smooth"),
  );
  section
    .querySelector(".figure")
    .replaceChildren(canvas, controls, make("p", { class: "bar" }, low, bar, high), says);
  let query = null; // the chosen patch; none is the class token, where there is one

  /** The token that looks: the chosen patch, else the first token before the patches, or the middle. */
  function tokenNow() {
    if (query) return attention.prefix + query[0] * columns + query[1];
    return attention.prefix ? 0 : Math.floor(rows / 2) * columns + Math.floor(columns / 2);
  }

  function mapNow() {
    if (kind.value !== "attention") return one.maps[Number(kind.value)];
    const row = attentionOf(attention, Number(layer.value) - 1, head.value, tokenNow());
    const values = row.subarray(attention.prefix);
    const name = query ? `patch row ${query[0] + 1}, column ${query[1] + 1}` : attention.first;
    const note = `what ${name} looks at, as shares of its attention`;
    return { grid: one.grid, values, limits: [0, Math.max(...values) || 1], signed: false, note };
  }

  function draw() {
    const map = mapNow();
    const how = { ...look, opacity: Number(opacity.value), smooth: smooth.checked };
    const context = canvas.getContext("2d");
    paintMap(context, picture, map, how);
    if (query) outline(context, one.grid, query);
    ofAttention.hidden = kind.value !== "attention";
    ofAttention.style.display = ofAttention.hidden ? "none" : "";
    layerSays.textContent = `${layer.value}/${layer.max}`;
    low.textContent = short(map.limits[0]);
    high.textContent = short(map.limits[1]);
    const strip = new ImageData(256, 1);
    const table = map.signed ? look.tables.signed : look.tables.plain;
    for (let at = 0; at < 256; at += 1) strip.data.set([...table.subarray(at * 3, at * 3 + 3), 255], at * 4);
    bar.getContext("2d").putImageData(strip, 0, 0);
    const [high_, wide] = map.grid;
    const best = map.values.indexOf(Math.max(...map.values));
    const peak = `Largest at row ${Math.floor(best / wide) + 1} of ${high_}, column ${(best % wide) + 1} of ${wide}: ${short(map.values[best])}.`;
    const here = query && map.grid.join() === one.grid.join() ? ` Here: ${short(map.values[query[0] * wide + query[1]])}.` : "";
    says.textContent = `${map.note ? `${map.note[0].toUpperCase()}${map.note.slice(1)}. ` : ""}${peak}${here}`;
  }

  canvas.addEventListener("click", ({ offsetX, offsetY }) => {
    const row = Math.floor((offsetY / canvas.clientHeight) * rows);
    const column = Math.floor((offsetX / canvas.clientWidth) * columns);
    query = [Math.min(rows - 1, row), Math.min(columns - 1, column)];
    draw();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") query = null;
    else if (step) {
      const from = query ?? [Math.floor(rows / 2), Math.floor(columns / 2)];
      query = [rows, columns].map((count, axis) => Math.min(count - 1, Math.max(0, from[axis] + step[axis])));
    } else return;
    event.preventDefault();
    draw();
  });
  for (const control of [kind, layer, head, opacity, smooth]) control.addEventListener("input", draw);
  draw();
}

const held = JSON.parse(document.getElementById("data").textContent);
const look = {
  floor: held.floor,
  tables: { plain: bytesOf(held.plain), signed: bytesOf(held.signed) },
};
document.querySelectorAll("section").forEach((section, at) => show(section, held.results[at], look));
