// Numbers, times and states as people say them.

import { h, svg } from "./dom.js";

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let size = Number(count);
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (Math.abs(size) < 1000) return unit === "B" || size >= 10 ? `${size.toFixed(0)} ${unit}` : `${size.toFixed(1)} ${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

export const count = (number) =>
  number === null || number === undefined ? "–" : Number(number).toLocaleString("en-US");

export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return two(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return two(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

const two = (large, largeUnit, small, smallUnit) => `${large} ${largeUnit}${small ? ` ${small} ${smallUnit}` : ""}`;

export function saved(part, whole) {
  if (part === null || part === undefined || !whole) return "–";
  return `${(Math.max(0, 1 - part / whole) * 100).toFixed(1)} %`;
}

export function time(atMs) {
  if (!atMs) return "–";
  const at = new Date(atMs);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const text = `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return h("time", { datetime: at.toISOString(), title: at.toISOString() }, text);
}

export const words = (code) => String(code ?? "–").replaceAll("_", " ");

const PATHS = {
  check: "M3.5 8.5 6.5 11.5 12.5 4.5",
  cross: "M4 4 12 12M12 4 4 12",
  alert: "M8 2.5 14 13.5H2ZM8 6.5V9.5M8 11.6V11.7",
  ring: "M8 3A5 5 0 1 0 8 13A5 5 0 1 0 8 3",
  turn: "M13 8A5 5 0 1 1 10.5 3.7M10.5 1V4H13.5",
  pause: "M5.5 3.5V12.5M10.5 3.5V12.5",
  dots: "M3.5 8V8.1M8 8V8.1M12.5 8V8.1",
  bar: "M8 2.5A5.5 5.5 0 1 0 8 13.5A5.5 5.5 0 1 0 8 2.5M4.5 4.5 11.5 11.5",
  diamond: "M8 2.5 13.5 8 8 13.5 2.5 8Z",
};

// Each state has a shape and a word beside its colour.
const STATES = {
  fresh: ["good", "check", "within its target"],
  readable: ["good", "check", "can be read"],
  due: ["soon", "ring", "has something to do, within its target"],
  behind: ["soon", "ring", "an input has a new version"],
  not_built: ["soon", "diamond", "was never built"],
  running: ["busy", "turn", "is being refreshed"],
  waiting: ["soon", "dots", "waits for an input"],
  paused: ["held", "pause", "is not refreshed until somebody resumes it"],
  late: ["bad", "alert", "older than its target"],
  failed: ["bad", "cross", "its last refresh failed"],
  refused: ["bad", "bar", "a person has to look"],
  not_planned: ["bad", "bar", "its definition has no plan"],
  unreadable: ["bad", "cross", "cannot be read"],
  committed: ["good", "check", ""],
  unchanged: ["good", "check", ""],
  skipped: ["soon", "ring", ""],
  ok: ["good", "check", ""],
  conflict: ["soon", "alert", ""],
};

export const toneOf = (state) => (STATES[state] ?? ["soon"])[0];

export const iconOf = (state) => PATHS[(STATES[state] ?? ["", "ring"])[1]];

export function icon(state) {
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: iconOf(state) }));
}

export function badge(state) {
  const [tone, , meaning] = STATES[state] ?? ["soon", "ring", ""];
  return h("span", { class: `badge ${tone}`, title: meaning || null }, icon(state), words(state));
}
