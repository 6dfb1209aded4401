// The map: points on a canvas, a list of groups, a search. `data` has points, texts, labels and heads.
"use strict";
const canvas = document.getElementById("plane"), label = document.getElementById("text");
const search = document.getElementById("search"), found = document.getElementById("found");
const list = document.getElementById("groups");
const { points, texts, labels, heads } = data;
// Neighboring groups get colors that are far apart.
const color = (group) => group < 0 ? "hsl(0 0% 60%)" : `hsl(${(group * 137.508) % 360} 65% ${45 + 12 * (group % 3 - 1)}%)`;
const lower = texts.map((text) => text.toLowerCase());
let chosen = null, wanted = "", places = [];

const low = [0, 1].map((axis) => points.reduce((least, point) => Math.min(least, point[axis]), Infinity));
const high = [0, 1].map((axis) => points.reduce((most, point) => Math.max(most, point[axis]), -Infinity));
const matches = (row) => (chosen === null || labels[row] === chosen) && (wanted === "" || lower[row].includes(wanted));

function draw() {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const edge = 16;
  const at = (value, axis, size) => edge + (size - 2 * edge) * ((value - low[axis]) / ((high[axis] - low[axis]) || 1));
  places = points.map((point) => [at(point[0], 0, width), height - at(point[1], 1, height)]);
  const radius = Math.max(1.5, Math.min(5, 120 / Math.sqrt(points.length)));
  let count = 0;
  // What is not meant lies below.
  for (const meant of [false, true]) {
    for (let row = 0; row < points.length; row++) {
      if (matches(row) !== meant) continue;
      count += meant;
      context.globalAlpha = meant ? 0.85 : 0.08;
      context.fillStyle = color(labels[row]);
      context.beginPath();
      context.arc(places[row][0], places[row][1], radius, 0, 7);
      context.fill();
    }
  }
  found.textContent = count === points.length ? "" : `${count} of ${points.length} texts`;
}

function hover(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = 144, row = -1;
  for (let i = 0; i < places.length; i++) {
    const distance = (places[i][0] - x) ** 2 + (places[i][1] - y) ** 2;
    if (distance < best && matches(i)) [best, row] = [distance, i];
  }
  label.hidden = row < 0;
  if (row < 0) return;
  const group = labels[row] < 0 ? "in no group" : `group ${labels[row]}: ${heads[labels[row]][1]}`;
  label.textContent = `${row}: ${texts[row]}`;
  const about = document.createElement("div");
  about.className = "note";
  about.textContent = group;
  label.append(about);
  label.style.left = `${Math.min(x + 12, box.width - label.offsetWidth - 4)}px`;
  label.style.top = `${Math.min(y + 12, box.height - label.offsetHeight - 4)}px`;
}

function choose(group) {
  chosen = chosen === group ? null : group;
  for (const button of list.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", chosen === null || Number(button.dataset.group) === chosen);
  }
  draw();
}

const none = labels.filter((own) => own < 0).length;
const rows = heads.map(([size, words], group) => [group, size, words]);
if (none > 0) rows.push([-1, none, "in no group"]);
for (const [group, size, words] of rows) {
  const item = document.createElement("li"), button = document.createElement("button");
  button.style.setProperty("--own", color(group));
  button.dataset.group = group;
  button.setAttribute("aria-pressed", true);
  button.textContent = group < 0 ? `${words} (${size})` : `${group} (${size}): ${words}`;
  button.addEventListener("click", () => choose(group));
  item.append(button);
  list.append(item);
}
search.addEventListener("input", () => { wanted = search.value.trim().toLowerCase(); draw(); });
document.getElementById("all").addEventListener("click", () => { chosen = null; choose(null); });
canvas.addEventListener("mousemove", hover);
canvas.addEventListener("mouseleave", () => { label.hidden = true; });
new ResizeObserver(draw).observe(canvas);
draw();
