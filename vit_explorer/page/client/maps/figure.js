// A figure as a file: an SVG with its caption, drawn anew for maps and copied for plots; or its PNG.

import { svg } from "../base/svg.js";

const WIDTH = 800;
const PAD = 16;
const LINE = 19;
const BAR = 12;
const LARGEST_SCALE = 1.3;
const GRADIENT = "bar-colours";
const FONT = "system-ui, sans-serif";
const COPIED = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-opacity",
  "stroke-width",
  "stroke-linejoin",
  "stroke-dasharray",
  "font-size",
  "font-weight",
  "text-anchor",
];

/**
 * `figure` as `createFigureMenu` takes it, a plot with `keys` [[selector of a line, its name], …];
 * returns { text, width, height }.
 */
export function drawFigure(figure, words) {
  // On paper and slides a figure is light, whatever the page is at the moment.
  const page = document.documentElement.dataset;
  const theme = page.vxTheme;
  page.vxTheme = "light";
  try {
    return draw(figure, words);
  } finally {
    page.vxTheme = theme;
  }
}

function draw(figure, { title, lines }) {
  const colours = getComputedStyle(document.documentElement);
  const colour = (name) => colours.getPropertyValue(name).trim();
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", "font-family": FONT });
  const add = (tag, attributes, text) => root.append(svg(tag, attributes, text));
  add("title", {}, [title, ...lines].join(" · "));
  const ground = svg("rect", { width: "100%", height: "100%", fill: colour("--panel") });
  root.append(ground);
  let top = PAD + LINE;
  const head = { x: PAD, y: top - 5, "font-size": 16, "font-weight": 650, fill: colour("--ink") };
  add("text", head, title);
  const [content, height] = figure.svg ? copyPlot(figure.svg) : drawMap(figure);
  const keys = (figure.keys ?? []).map(([part, text]) => [colourOf(figure.svg, part), text]);
  content.setAttribute("x", PAD);
  content.setAttribute("y", top + 4);
  root.append(content);
  top += 4 + height + 10;
  if (figure.bar) {
    root.append(...drawBar(figure.bar, top, colour("--soft")));
    top += BAR + LINE + 4;
  }
  let left = PAD;
  for (const [fill, text] of keys) {
    add("rect", { x: left, y: top + 5, width: 18, height: 4, fill });
    add("text", { x: left + 24, y: top + 13, "font-size": 13, fill: colour("--ink") }, text);
    left += 48 + text.length * 8;
  }
  if (keys.length) top += LINE;
  for (const line of lines) {
    add("text", { x: PAD, y: top + 13, "font-size": 13, fill: colour("--soft") }, line);
    top += LINE;
  }
  const size = { width: WIDTH + 2 * PAD, height: Math.ceil(top + PAD) };
  root.setAttribute("width", String(size.width));
  root.setAttribute("height", String(size.height));
  root.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  return { text: new XMLSerializer().serializeToString(root), ...size };
}

function drawMap({ paint, aspect }) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH, Math.round(WIDTH / aspect)];
  paint(canvas.getContext("2d"), canvas.width, canvas.height);
  const size = { width: canvas.width, height: canvas.height };
  return [svg("image", { ...size, href: canvas.toDataURL("image/png") }), canvas.height];
}

/** What a part of a plot is drawn in. */
function colourOf(plot, part) {
  const node = plot.querySelector(part);
  return node ? getComputedStyle(node).stroke : "none";
}

/** A plot with what its style sheet says written into it, enlarged to the figure's width. */
function copyPlot(plot) {
  const copy = plot.cloneNode(true);
  const originals = [plot, ...plot.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, at) => {
    const style = getComputedStyle(originals[at]);
    for (const name of COPIED) node.setAttribute(name, style.getPropertyValue(name));
    node.removeAttribute("class");
  });
  const { width, height } = plot.viewBox.baseVal;
  // Its words stay near the size of the caption's.
  const wide = Math.min(WIDTH, width * LARGEST_SCALE);
  const tall = Math.round((wide * height) / width);
  for (const [name, value] of Object.entries({ width: wide, height: tall }))
    copy.setAttribute(name, value);
  return [copy, tall];
}

function drawBar({ table, limits, format }, top, ink) {
  // One strip of all 256 colours: parts beside one another would show their seams.
  const colours = svg("linearGradient", { id: GRADIENT });
  for (let at = 0; at < 256; at += 1) {
    const [red, green, blue] = table.subarray(at * 3, at * 3 + 3);
    colours.append(svg("stop", { offset: at / 255, "stop-color": `rgb(${red},${green},${blue})` }));
  }
  const fill = `url(#${GRADIENT})`;
  const strip = svg("rect", { x: PAD, y: top, width: WIDTH, height: BAR, fill });
  const ends = limits.map((value, end) =>
    svg(
      "text",
      {
        x: PAD + end * WIDTH,
        y: top + BAR + 15,
        "font-size": 13,
        "text-anchor": end ? "end" : "start",
        fill: ink,
      },
      format(value),
    ),
  );
  return [colours, strip, ...ends];
}

/** The same figure as a PNG of twice its size in pixels. */
export async function toPng({ text, width, height }) {
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(2 * width, 2 * height);
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({ type: "image/png" });
  } finally {
    URL.revokeObjectURL(url);
  }
}
