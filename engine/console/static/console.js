// What the quick-start page can do beyond being read: copy, filter, choose a model, and follow /api/status.
// Without this script the page says the same; everything here is revealed or replaced, nothing is needed.
"use strict";

const POLL_MS = 5000;
const POLL_MS_MAX = 60000;
const FILTER_FROM = 8;

const STATES = {
  serving: "Serving",
  partial: "Serving, some workers are down",
  starting: "Starting",
  down: "Not serving",
  unreachable: "Not reachable",
};

const byId = (id) => document.getElementById(id);
const main = byId("main");

// The address bar knows better than the server, which may not see the proxy in front of it.
if (/^https?:/.test(location.protocol) && location.origin !== main.dataset.origin) {
  for (const slot of document.querySelectorAll("[data-slot=origin]")) slot.textContent = location.origin;
}

// -- copying -----------------------------------------------------------------------------------------------------------

function textOf(button) {
  if (button.dataset.copy !== undefined) return button.dataset.copy;
  const neighbour = "copyNext" in button.dataset ? button.nextElementSibling : button.previousElementSibling;
  return neighbour.textContent.trim();
}

function copyBySelection(text) {
  // The clipboard API needs a secure context, which http://192.168.0.10 is not.
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

async function copy(button) {
  const text = textOf(button);
  let copied = false;
  try {
    await navigator.clipboard.writeText(text);
    copied = true;
  } catch {
    copied = copyBySelection(text);
    button.focus();
  }
  byId("announce").textContent = copied ? "Copied." : "Copying is not possible here.";
  if (!copied) return;
  button.classList.add("done");
  button.textContent = "copied";
  setTimeout(() => {
    button.classList.remove("done");
    button.textContent = "copy";
    byId("announce").textContent = "";
  }, 1600);
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

// -- models ------------------------------------------------------------------------------------------------------------

const rows = [...document.querySelectorAll("#model-list li")];
const PLAIN_MODEL = /^[A-Za-z0-9._:/@+-]+$/; // the rule of engine/console/page.py

for (const row of rows) {
  const use = row.querySelector(".use");
  if (!PLAIN_MODEL.test(row.dataset.model)) continue;
  use.hidden = false;
  use.addEventListener("click", () => {
    for (const slot of document.querySelectorAll("[data-slot=model]")) slot.textContent = row.dataset.model;
    for (const other of document.querySelectorAll(".use")) other.setAttribute("aria-pressed", String(other === use));
    byId("announce").textContent = `The examples use ${row.dataset.model}.`;
  });
}

if (rows.length >= FILTER_FROM) {
  const input = byId("filter");
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !`${row.dataset.model} ${row.dataset.provider}`.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    byId("no-match").hidden = shown > 0;
  });
}

// -- live status -------------------------------------------------------------------------------------------------------

function durationText(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const count = Math.floor(rest / length);
    rest %= length;
    if (count || parts.length || unit === "s") parts.push(`${count} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

function showState(state) {
  const pill = byId("state");
  if (pill.dataset.state === state) return;
  pill.dataset.state = state;
  byId("state-text").textContent = STATES[state] ?? state;
}

let upSince = null; // performance.now() at the gateway's start; the server's clock is not the visitor's

function show(status) {
  // A page that was loaded too early has no list to update.
  if (rows.length === 0 && status.models.length > 0) return location.reload();
  showState(status.state);
  upSince = performance.now() - status.uptime_seconds * 1000;
  byId("workers").textContent = `${status.workers_serving} of ${status.workers.length}`;
  byId("model-count").textContent = String(status.models.length);
  byId("version").textContent = status.version;
}

let failures = 0;
let timer = 0;

async function poll() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/api/status", { headers: { accept: "application/json" }, cache: "no-store" });
    const body = await answer.json();
    if (body.success) show(body.data);
    else showState(answer.status === 503 && body.data ? "starting" : "unreachable");
    failures = 0;
  } catch {
    failures += 1;
    showState("unreachable");
  }
  if (!document.hidden) timer = setTimeout(poll, Math.min(POLL_MS * 2 ** failures, POLL_MS_MAX));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else poll();
});

setInterval(() => {
  if (upSince !== null && !document.hidden) byId("uptime").textContent = durationText((performance.now() - upSince) / 1000);
}, 1000);

poll();
