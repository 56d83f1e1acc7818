"use strict";
// Every name gets into the page through textContent or a text node: none can be markup.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const number = (value, digits) => value.toFixed(digits).replace("-", "−");

function percent(share) {
  const value = 100 * share;
  if (value >= 10) return value.toFixed(0) + "\u00a0%";
  return (value >= 0.1 ? value.toFixed(1) : value >= 0.001 ? Number(value.toPrecision(1)) : "<\u00a00.001") + "\u00a0%";
}

function count(value) {
  for (const [unit, size] of [["B", 1e9], ["M", 1e6], ["k", 1e3]])
    if (value >= size) return Number((value / size).toPrecision(3)) + unit;
  return String(Number(value.toPrecision(3)));
}

// What an element's data-tip says, where the pointer or the keyboard is; Escape hides it.
const tip = find("tip");

function showTip(event) {
  const owner = event.target.closest && event.target.closest("[data-tip]");
  if (!owner) return hideTip();
  tip.textContent = owner.dataset.tip;
  tip.hidden = false;
  const box = owner.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
  tip.style.left = Math.max(left, 8) + window.scrollX + "px";
  tip.style.top = (below ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + window.scrollY + "px";
}

function hideTip() {
  tip.hidden = true;
}

document.addEventListener("mouseover", showTip);
document.addEventListener("focusin", showTip);
document.addEventListener("focusout", hideTip);
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());

// The table: sorting by the headings, and filters.
const table = find("table");
const rows = table ? Array.from(table.tBodies[0].rows) : [];

function sortBy(heading) {
  const column = Array.from(heading.parentNode.children).indexOf(heading);
  const now = heading.getAttribute("aria-sort");
  const best = column && heading.dataset.kind === "n" && !("lower" in heading.dataset) ? "descending" : "ascending";
  const order = !now ? best : now === "ascending" ? "descending" : "ascending";
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.v;
  const compare = (a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (heading.dataset.kind === "n" ? Number(one) - Number(other) : one.localeCompare(other));
  };
  table.tBodies[0].append(...rows.slice().sort(compare));
}

function filter() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const limit = find("limit") ? Number(find("limit").value) : 0;
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = !limit || ("size" in row.dataset && Number(row.dataset.size) <= limit);
    row.hidden = !(fits && words.every((word) => text.includes(word)) && (!find("tied").checked || "tied" in row.dataset));
    shown += !row.hidden;
  }
  find("shown").textContent = shown + " of " + rows.length + " shown";
}

if (table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = make("button", { type: "button" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(heading));
  }
  for (const row of rows) row.querySelector(".open").addEventListener("click", () => show(Number(row.dataset.index)));
  find("filters").hidden = false;
  find("filters").addEventListener("input", filter);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("previous").addEventListener("click", () => show(current - 1));
  find("next").addEventListener("click", () => show(current + 1));
  filter();
}

// One candidate's details.
let current = -1;

function show(index) {
  const candidate = data.candidates[index];
  if (!candidate) return;
  current = index;
  hideTip();
  for (const row of rows) row.classList.toggle("current", Number(row.dataset.index) === index);
  const written = rows.find((row) => Number(row.dataset.index) === index).querySelector(".open").childNodes;
  find("details").replaceChildren(candidate.rank + ". ", ...Array.from(written, (node) => node.cloneNode()));
  find("previous").disabled = index === 0;
  find("next").disabled = index === data.candidates.length - 1;
  const facts = make("dl");
  for (const [key, value] of candidate.facts) facts.append(make("div", {}, make("dt", {}, key), make("dd", {}, value)));
  const parts = [facts];
  if (candidate.notes.length) parts.push(make("ul", {}, ...candidate.notes.map((note) => make("li", {}, note))));
  if (candidate.calibration) parts.push(...calibration(candidate.calibration));
  if (candidate.explanation) parts.push(...explanation(candidate.explanation));
  else parts.push(make("p", { class: "quiet" }, "No explanation: " + candidate.unexplained + "."));
  find("body").replaceChildren(...parts);
  find("candidate").hidden = false;
  find("details").focus({ preventScroll: true });
  find("candidate").scrollIntoView();
}

const named = (place) => data.names[place];

function short(place) {
  const letters = Array.from(named(place));
  return letters.length > 26 ? letters.slice(0, 25).join("").replace(/[ ,;]+$/, "") + "…" : named(place);
}

function grid(label, headings, lines, numeric, kind) {
  const head = make("tr");
  headings.forEach((text, k) => head.append(make("th", { scope: "col", class: numeric.includes(k) ? "n" : "" }, text)));
  const body = make("tbody");
  for (const line of lines) {
    const row = make("tr");
    line.forEach((cell, k) => {
      row.append(make(k ? "td" : "th", k ? { class: numeric.includes(k) ? "n" : "" } : { scope: "row" }, cell));
    });
    body.append(row);
  }
  const made = make("table", { class: kind || "" }, make("caption", { class: "hidden" }, label), make("thead", {}, head), body);
  return make("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, made);
}

function calibration(found) {
  const [width, height] = [300, 120];
  const taus = found.curve.map(([tau]) => Math.log2(tau));
  const scores = found.curve.map(([, score]) => score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const x = (tau) => 8 + ((tau - taus[0]) / (taus[taus.length - 1] - taus[0] || 1)) * (width - 16);
  const y = (score) => 22 + ((high - score) / (high - low || 1)) * (height - 50);
  const label = "Leave-one-out LEEP by temperature: highest at " + found.best + ", " + found.gain + " nats above temperature 1";
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "curve" });
  for (const tau of [0.25, 0.5, 1, 2, 4])
    if (Math.log2(tau) >= taus[0] - 1e-9 && Math.log2(tau) <= taus[taus.length - 1] + 1e-9) {
      const at = x(Math.log2(tau));
      svg.append(draw("line", { x1: at, x2: at, y1: 14, y2: height - 22 }));
      svg.append(draw("text", { x: at, y: height - 8, "text-anchor": at < 20 ? "start" : at > width - 20 ? "end" : "middle" }, tau));
    }
  svg.append(draw("polyline", { points: taus.map((tau, k) => x(tau) + "," + y(scores[k])).join(" ") }));
  const text = "Best temperature " + found.best + ": leave-one-out LEEP changes by " + found.gain + " nats.";
  return [make("h3", {}, "Calibration"), make("p", {}, text), svg];
}

function explanation(found) {
  const parts = [];
  const line = ([target, examples, right, times, sources]) => {
    const fill = make("i");
    fill.style.width = 100 * Math.min(right, 1) + "%";
    const by = sources.filter(([, weight], k) => !k || weight >= 0.001)
      .map(([source, weight, share]) => `${short(source)} ${percent(weight)} (${percent(share)})`);
    const bar = make("span", { class: "meter", "aria-hidden": "true" }, fill);
    return [named(target), examples, make("span", { class: "right" }, percent(right), " ", bar), number(times, 1) + "\u00a0×", by.join(", ")];
  };
  const headings = ["class", data.examples, "right", "times its frequency", "predicted by"];
  const few = 8;
  const classes = found.classes;
  if (classes.length <= 2 * few) {
    parts.push(make("h3", {}, "Your classes, best predicted first"));
    parts.push(grid("Your classes, best predicted first", headings, classes.map(line), [1, 2, 3], "classes"));
  } else {
    for (const [label, some] of [["Best predicted", classes.slice(0, few)], ["Worst predicted", classes.slice(-few).reverse()]]) {
      const text = `${label} of your ${classes.length + found.hidden} classes`;
      parts.push(make("h3", {}, text), grid(text, headings, some.map(line), [1, 2, 3], "classes"));
    }
  }
  parts.push(make("p", { class: "quiet" },
    "Right: the probability of the true class given its predictions, estimated from all other examples. " +
    "Predicted by: its own classes z, each with its share of the prediction and, in brackets, P̂(y|z)."));
  if (found.sources.length) parts.push(...classMap(found));
  const hardest = found.rows.map(([row, label, right, likely, surely, source, share]) =>
    [pictured(row), named(label), percent(right), `${short(likely)} ${percent(surely)}`, `${short(source)} ${percent(share)}`]);
  const title = "Hardest rows: mislabelled, or hard to predict";
  if (hardest.length) parts.push(make("h3", {}, title), grid(title, ["row", "label", "its probability", "most likely", "source class"], hardest, [2], "rows"));
  if (data.numThumbnails && found.rows.some(([row]) => !data.thumbnails[row]))
    parts.push(make("p", { class: "quiet" }, "Rows without a picture: it could not be made, or this page would be too large."));
  return parts;
}

// A row's number, with its thumbnail where the page has one.
function pictured(row) {
  if (!data.thumbnails[row]) return row;
  const image = make("img", { src: "data:image/jpeg;base64," + data.thumbnails[row], alt: "thumbnail of row " + row });
  return make("span", { class: "pictured" }, image, row);
}

function classMap(found) {
  const sources = found.sources.slice(0, 12);
  const targets = [...new Set(sources.flatMap(([, , to]) => to.map(([target]) => target)))];
  const title = "P̂(y|z): which of your classes its own classes stand for, in percent";
  const head = make("tr", {}, make("td"));
  for (const target of targets) head.append(make("th", { scope: "col" }, short(target)));
  const body = make("tbody");
  for (const [source, mass, to] of sources) {
    const row = make("tr", {}, make("th", { scope: "row" }, `${short(source)} (${percent(mass)})`));
    const shares = new Map(to);
    for (const target of targets) {
      const cell = make("td");
      if (shares.has(target)) {
        const share = shares.get(target);
        cell.className = "some";
        cell.style.setProperty("--p", share);
        cell.textContent = share >= 0.01 ? (100 * share).toFixed(0) : "<1";
        cell.dataset.tip = `${percent(share)} of ${named(source)} is ${named(target)}`;
      }
      row.append(cell);
    }
    body.append(row);
  }
  const made = make("table", { class: "map" }, make("caption", { class: "hidden" }, title), make("thead", {}, head), body);
  const hidden = found.sources.length - sources.length + found.sources_hidden;
  const rest = hidden ? ` ${hidden} classes that are used less are not shown.` : "";
  const note = "The rows are its most used classes, each with its share of all predictions; the columns are yours. " +
    "report.json keeps the likeliest of your classes for each of them." + rest;
  return [make("h3", {}, title), make("p", { class: "quiet" }, note),
    make("div", { class: "scroll", role: "region", "aria-label": title, tabindex: "0" }, made)];
}

// Score against cost: arrow keys go from point to point, Enter opens the details.
function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  const first = Math.ceil(low / step - 1e-9);
  for (let k = 0; k < 20 && (first + k) * step <= high + step * 1e-9; k++) found.push((first + k) * step);
  return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
}

let focused = 0;
const DIGIT = 9; // pixels that a digit of the plot is wide at most

function plot(cost) {
  const [width, height] = [Math.min(find("plot").clientWidth, 860), 400];
  const [right, top, bottom] = [24, 26, 48];
  const xs = cost.points.map(([, x]) => Math.log10(x));
  const ys = cost.points.map(([, , y]) => y);
  const pad = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const more = (high - low) * 0.06 || Math.abs(high) * 0.06 || 0.1;
    return [low - more, high + more];
  };
  const [[x0, x1], [y0, y1]] = [pad(xs), pad(ys)];
  const [steps, digits] = ticks(y0, y1, 6);
  const left = Math.max(58, 16 + DIGIT * Math.max(...steps.map((step) => number(step, digits).length)));
  const x = (value) => left + ((Math.log10(value) - x0) / (x1 - x0)) * (width - left - right);
  const y = (value) => top + ((data.higher ? y1 - value : value - y0) / (y1 - y0)) * (height - top - bottom);
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-labelledby": "tradeoff" });
  for (const step of steps) {
    svg.append(draw("line", { x1: left, x2: width - right, y1: y(step), y2: y(step) }));
    svg.append(draw("text", { x: left - 8, y: y(step) + 4, "text-anchor": "end" }, number(step, digits)));
  }
  const near = 10 ** (x1 - x0) < 4;
  const marks = near ? ticks(10 ** x0, 10 ** x1, width < 500 ? 3 : 6)[0]
    : [...Array(60).keys()].map((k) => [1, 2, 5][k % 3] * 10 ** (Math.floor(k / 3) - 4)).filter(
      (mark) => Math.log10(mark) >= x0 && Math.log10(mark) <= x1 && (x1 - x0 < 2 || Math.abs(Math.log10(mark) % 1) < 1e-6));
  for (const mark of marks) {
    svg.append(draw("line", { x1: x(mark), x2: x(mark), y1: top, y2: height - bottom }));
    const text = near && mark >= 1000 ? Math.round(mark).toLocaleString("en") : count(mark);
    svg.append(draw("text", { x: x(mark), y: height - bottom + 18, "text-anchor": "middle" }, text));
  }
  const unit = cost.unit === "parameters" ? "parameters" : "seconds of the forward pass";
  svg.append(draw("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, unit));
  svg.append(draw("text", { x: 4, y: 14 }, `${data.measure}, ${data.higher ? "higher" : "lower"} is better`));
  const best = cost.points.filter((point) => point[3]);
  svg.append(draw("polyline", { points: best.map(([, a, b]) => x(a) + "," + y(b)).join(" ") }));
  const numbered = [];
  const free = (point) => {
    const [a, b, half] = [x(point[1]), y(point[2]), (DIGIT / 2) * String(data.candidates[point[0]].rank).length];
    const clear = numbered.every(([c, d, other]) => Math.abs(a - c) > half + other + 2 || Math.abs(b - d) > 14) &&
      cost.points.every((one) => one === point || Math.abs(a - x(one[1])) > half + 6 || Math.abs(b - 15 - y(one[2])) > 12);
    return clear && numbered.push([a, b, half]);
  };
  const inOrder = [...cost.points].sort((one, other) => other[3] - one[3] || one[0] - other[0]);
  const withNumber = new Set(inOrder.filter(free));
  const points = cost.points.map((point, k) => {
    const [index, a, b, isBest] = point;
    const candidate = data.candidates[index];
    const what = cost.unit === "parameters" ? count(a) + " parameters" : count(a) + " seconds";
    const group = draw("g", { tabindex: k === focused ? 0 : -1, role: "button",
      class: "group" + (candidate.group === null ? "-" : candidate.group) });
    group.dataset.tip = `${candidate.rank}. ${candidate.name}: ${data.measure} ${number(b, 3)}, ${what}` +
      (isBest ? "; no cheaper one is as good" : "");
    group.setAttribute("aria-label", group.dataset.tip);
    group.append(draw("circle", { cx: x(a), cy: y(b), r: isBest ? 7 : 4.5 }));
    if (withNumber.has(point))
      group.append(draw("text", { x: x(a), y: y(b) - 11, "text-anchor": "middle" }, candidate.rank));
    group.addEventListener("click", () => show(index));
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) move(points, k + step);
      else if (event.key === "Enter" || event.key === " ") show(index);
      else return;
      event.preventDefault();
    });
    svg.append(group);
    return group;
  });
  find("plot").replaceChildren(svg);
}

function move(points, to) {
  if (!points[to]) return;
  points[focused].setAttribute("tabindex", -1);
  focused = to;
  points[to].setAttribute("tabindex", 0);
  points[to].focus();
}

if (data.cost && find("cost")) {
  find("tradeoff").textContent = `${data.measure_at_start} against ${data.cost.unit}`;
  find("costnote").textContent = "The line joins the candidates that are the best for their cost. Numbers are ranks, where there is room. " +
    "Choose a point for details; arrow keys go from one to the next.";
  find("cost").hidden = false;
  plot(data.cost);
  let drawn = find("plot").clientWidth;
  window.addEventListener("resize", () => {
    if (find("plot").clientWidth !== drawn) plot(data.cost);
    drawn = find("plot").clientWidth;
  });
}
