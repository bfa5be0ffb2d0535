// Parts that several pages share.

import { h, svg } from "./dom.js";
import { badge, bytes, count, duration, iconOf, saved, time, toneOf, words } from "./say.js";

export const link = (path, query = {}) => {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one) found.append(name, one);
  }
  const text = found.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
};

export const relationLink = (kind, name, attributes = {}) =>
  h("a", { href: link([kind === "dataset" ? "dataset" : "view", name]), ...attributes }, name);

export const refreshLink = (record, text) =>
  h("a", { href: link(["refresh", record.view, record.cycle_id]) }, text);

export function section(title, ...children) {
  const id = `part-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return h("section", { class: "part", "data-key": id, "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

export const calm = (...children) => h("p", { class: "calm" }, ...children);

export function trouble(error) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, error.message),
    error.hint && h("span", {}, ` – ${error.hint}`),
    (error.problems ?? []).map((one) => h("div", {}, `${one.where}: ${one.what}${one.hint ? ` – ${one.hint}` : ""}`)),
  );
}

// A part of a page that is asked for by itself: still asked, refused, or there; with its age while the daemon is busy.
export function asked(found, draw) {
  if (!found) return calm("Loading…");
  if (found.error) return trouble(found.error);
  try {
    return [found.busy && busyNote(found), draw(found.value)];
  } catch (error) {
    return trouble({ message: "This part cannot be shown", hint: `${error.message}; is the daemon of another version than this page? Then reload it` });
  }
}

const busyNote = (found) =>
  h("p", { class: "notice" }, `${found.busy} runs; this is from `, time(found.at_ms), " and will follow.");

export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "")
      .map(([name, value]) => h("div", { class: name === "Place" ? "place" : null }, h("dt", {}, name), h("dd", {}, value))),
  );
}

// `columns` are [title, "number" or ""]; cells are nodes or texts.  On narrow screens a row becomes a card.
export function table(label, columns, rows, keys = []) {
  return h(
    "div",
    { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind || null }, title)))),
      h(
        "tbody",
        {},
        rows.map((cells, row) =>
          h(
            "tr",
            { "data-key": keys[row] ?? null },
            cells.map((cell, index) =>
              h("td", { "data-label": columns[index][0], class: `${columns[index][1]}${EMPTY.has(cell) ? " empty" : ""}` || null }, h("div", {}, cell ?? "–")),
            ),
          ),
        ),
      ),
    ),
  );
}

const EMPTY = new Set([null, undefined, "", "–", "0"]);

export function historyTable(records, withView) {
  const columns = [["Started", ""], ...(withView ? [["View", ""]] : []), ["Strategy", ""], ["Outcome", ""], ["Why", "wide"],
    ["Rows in", "number"], ["Rows out", "number"], ["Read", "number"], ["Saved", "number"], ["Took", "number"], ["Version", "number"]];
  const rows = records.map((one) => [
    refreshLink(one, time(one.started_ms)),
    ...(withView ? [relationLink("view", one.view)] : []),
    words(one.strategy),
    badge(one.outcome),
    one.error || one.message || words(one.reason),
    count(one.rows_inserted),
    count(one.rows_deleted),
    bytes(one.bytes_read),
    one.strategy === "incremental" ? saved(one.bytes_read, one.bytes_recompute) : "–",
    duration(one.elapsed_ms),
    one.version ?? "–",
  ]);
  return table("Refreshes, newest first", columns, rows, records.map((one) => one.cycle_id + one.view));
}

// How old the data is against its target: a bar that says the same in words.
export function lagBar(lagMs, targetMs) {
  if (lagMs === null || lagMs === undefined || !targetMs) return calm("It is not known yet how old the data is.");
  const share = Math.min(lagMs / targetMs, 2) / 2;
  const late = lagMs > targetMs;
  const text = `${duration(lagMs)} old, target ${duration(targetMs)}: ${late ? "late" : "within its target"}`;
  return h(
    "div",
    { class: `lag ${late ? "bad" : "good"}` },
    svg(
      "svg",
      { viewBox: "0 0 200 12", preserveAspectRatio: "none", role: "img", "aria-label": text },
      svg("rect", { class: "room", x: 0, y: 2, width: 200, height: 8 }),
      svg("rect", { class: "fill", x: 0, y: 2, width: Math.max(1.5, share * 200), height: 8 }),
      svg("rect", { class: "target", x: 99, y: 0, width: 2, height: 12 }),
    ),
    h("span", {}, text),
  );
}

// The last refreshes as bars of their time: filled where changes were applied, hollow where all was recomputed.
export function historyBars(records) {
  const shown = records.filter((one) => one.elapsed_ms > 0).slice(0, 40).reverse();
  if (shown.length < 2) return null;
  const most = Math.max(...shown.map((one) => one.elapsed_ms));
  const wide = 14;
  const words = `Time of the last ${shown.length} refreshes, ${duration(most)} at most`;
  return h(
    "figure",
    { class: "bars" },
    svg(
      "svg",
      { viewBox: `0 0 ${shown.length * wide} 64`, width: shown.length * wide, height: 64, role: "img", "aria-label": words },
      shown.map((one, index) => {
        const tall = Math.max(3, (one.elapsed_ms / most) * 58);
        const kind = one.outcome === "failed" || one.outcome === "refused" ? "failed" : one.strategy;
        return svg(
          "rect",
          { class: `bar-${kind}`, x: index * wide + 2, y: 62 - tall, width: wide - 4, height: tall },
          svg("title", {}, `${one.strategy}, ${one.outcome}: ${duration(one.elapsed_ms)}`),
        );
      }),
    ),
    h("figcaption", {}, `${words}. Filled: changes applied; hollow: recomputed; crossed out: failed.`),
  );
}

export function eventLine(event) {
  const about = event.view ?? event.dataset;
  const subject = about && relationLink(event.dataset ? "dataset" : "view", about);
  const [text, tone] = eventText(event);
  return h(
    "li",
    { "data-key": event.number },
    time(event.at_ms),
    h("span", { class: `event ${tone}` }, subject, subject && " ", text),
  );
}

function eventText(event) {
  switch (event.kind) {
    case "cycle_started":
      return [`A cycle began over ${count(event.views?.length)} views, because: ${words(event.cause)}.`, ""];
    case "cycle_finished":
      return [`The cycle ended after ${duration(event.elapsed_ms)}.`, ""];
    case "view_examined":
      return ["was looked at.", "faint"];
    case "refresh_planned":
      return [`will be done by ${words(event.strategy)} (${words(event.reason)}).`, ""];
    case "refresh_step":
      return [`${words(event.step ?? "goes on")}.`, "faint"];
    case "refresh_finished":
      return [`ended as ${words(event.outcome)}${event.elapsed_ms ? ` after ${duration(event.elapsed_ms)}` : ""}.`,
        event.outcome === "failed" ? "bad" : "good"];
    case "view_skipped":
      return [`was skipped (${words(event.reason)}).`, "faint"];
    case "dataset_moved":
      return ["has a new version.", "good"];
    case "requested":
      return [`${event.who} asked for ${event.operation}${event.reason ? `: “${event.reason}”` : ""} – ${words(event.result)}.`,
        event.result === "ok" ? "good" : "bad"];
    case "reloaded":
      return [event.changed?.length ? `The definitions were read again; changed: ${event.changed.join(", ")}.` : "The definitions were read again; nothing changed.", "good"];
    case "reload_failed":
      return [`The definitions on disk are broken, the old ones stay: ${event.message}.`, "bad"];
    case "state_changed":
      return [`The daemon is ${event.state}.`, ""];
    default:
      return [words(event.kind), "faint"];
  }
}

// A laid-out part of the graph; relations are links, what is hidden can be opened.
export function graphDrawing(graph, opened, small) {
  const pad = 30;
  const [wide, tall] = [graph.width + 2 * pad + 40, graph.height + 2 * pad];
  return h(
    "div",
    { class: `scroll graph${small ? " small" : ""}`, role: "region", "aria-label": `Graph around ${graph.centre}`, tabindex: "0" },
    svg(
      "svg",
      { viewBox: `${-pad - 20} ${-pad} ${wide} ${tall}`, width: wide, height: tall, role: "group", "aria-label": "Arrows lead from what is read to what reads it" },
      svg("defs", {}, ["tip", "tip-near"].map((id) => svg("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
        svg("path", { d: "M0 0 8 4 0 8Z", class: id })))),
      svg("g", { "aria-hidden": "true" }, graph.edges.map((edge) => {
        const near = edge.from === graph.centre || edge.to === graph.centre;
        return svg("path", { class: near ? "edge near" : "edge", d: curve(edge.points, graph.node_width), "marker-end": near ? "url(#tip-near)" : "url(#tip)" });
      })),
      graph.nodes.map((node) => graphNode(graph, node, opened)),
    ),
  );
}

function curve(points, width) {
  const way = points.map(([x, y]) => [x, y]);
  way[0][0] += width / 2;
  way.at(-1)[0] -= width / 2 + 2;
  let text = `M${way[0][0]} ${way[0][1]}`;
  for (let index = 1; index < way.length; index++) {
    const [[x0, y0], [x1, y1]] = [way[index - 1], way[index]];
    const middle = (x0 + x1) / 2;
    text += `C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
  }
  return text;
}

function graphNode(graph, node, opened) {
  const [wide, tall] = [graph.node_width, graph.node_height];
  const name = node.name.length > 21 ? `${node.name.slice(0, 20)}…` : node.name;
  const label = `${node.kind} ${node.name}, ${words(node.state)}`;
  return svg(
    "g",
    { "data-key": node.name, transform: `translate(${node.x} ${node.y})` },
    svg(
      "a",
      { href: link([node.kind, node.name]), "aria-label": label, class: `node ${node.kind} ${toneOf(node.state)}${node.name === graph.centre ? " centre" : ""}` },
      svg("title", {}, label),
      svg("rect", { width: wide, height: tall, rx: node.kind === "dataset" ? 2 : 10 }),
      svg("path", { class: "icon", d: iconOf(node.state), transform: "translate(11 15)" }),
      svg("text", { x: 36, y: 20, class: "name" }, name),
      svg("text", { x: 36, y: 36, class: "state" }, `${node.kind}, ${words(node.state)}`),
    ),
    opener(graph, node, opened, node.hidden_inputs, 24, "inputs"),
    opener(graph, node, opened, node.hidden_readers, wide - 24, "readers"),
  );
}

function opener(graph, node, opened, hidden, x, what) {
  if (!hidden) return null;
  const text = `${what === "inputs" ? "◂ " : ""}+${hidden}${what === "readers" ? " ▸" : ""}`;
  const y = graph.node_height;
  const known = node.opened
    ? link(["views"], what === "readers" ? { reads: node.name } : { feeds: node.name })
    : link(["graph", graph.centre], { open: [...opened, node.name] });
  return svg(
    "a",
    { href: known, class: "opener", "aria-label": `${hidden} more ${what} of ${node.name}` },
    svg("rect", { x: x - 24, y: y - 4, width: 48, height: 20, rx: 10 }),
    svg("text", { x, y: y + 10, "text-anchor": "middle" }, text),
  );
}
