// The list of views and datasets, the graph around one of them, and the page of a dataset.

import { h } from "./dom.js";
import { get } from "./ask.js";
import { asked, calm, facts, graphDrawing, link, relationLink, section, table } from "./parts.js";
import { badge, bytes, count, counted, duration, time, words } from "./say.js";

const STATES = ["failed", "refused", "not_planned", "unreadable", "late", "running", "waiting", "paused", "due", "behind", "not_built", "fresh", "readable"];
const PAGE = 50;

export function listPage({ query }) {
  const page = { found: null, title: () => "Views and datasets" };
  const wanted = Object.fromEntries(["text", "kind", "state", "sort", "reads", "feeds"].map((name) => [name, query.get(name) ?? ""]));
  const offset = Number(query.get("offset") ?? 0);
  page.load = async (paint) => {
    page.found = await get("console/relations", { ...wanted, offset, limit: PAGE }).then((value) => ({ value }), (error) => ({ error }));
    paint();
  };
  page.draw = () => [
    h("h1", {}, "Views and datasets"),
    (wanted.reads || wanted.feeds) &&
      h("p", { class: "sub" }, wanted.reads ? "What reads " : "What feeds ", h("strong", {}, wanted.reads || wanted.feeds), ". ", h("a", { href: "#/views" }, "Show all")),
    filters(wanted),
    asked(page.found, (found) => [list(found.rows), pager(found, wanted)]),
  ];
  return page;
}

function filters(wanted) {
  const choice = (name, label, choices) =>
    h("label", {}, label, h("select", { name }, choices.map(([value, text]) => h("option", { value, selected: wanted[name] === value }, text))));
  return h(
    "form",
    { class: "filters", role: "search", "data-form": "filter", "data-page": "views" },
    h("label", { class: "grow" }, "Name", h("input", { type: "search", name: "text", value: wanted.text, autocomplete: "off", spellcheck: "false", "data-search": true })),
    choice("kind", "Kind", [["", "all"], ["view", "views"], ["dataset", "datasets"]]),
    choice("state", "State", [["", "all"], ...STATES.map((state) => [state, words(state)])]),
    choice("sort", "Order", [["", "by name"], ["state", "what needs a person first"], ["lag", "oldest data first"]]),
    ["reads", "feeds"].map((name) => wanted[name] && h("input", { type: "hidden", name, value: wanted[name] })),
  );
}

function list(rows) {
  if (rows.length === 0) return calm("Nothing has this name, kind and state.");
  return table(
    "Views and datasets",
    [["Name", ""], ["State", ""], ["Age of data", "number"], ["Target", "number"], ["Rows", "number"], ["Size", "number"], ["Version", "number"], ["Read by", "number"], ["Note", "wide"]],
    rows.map((row) => [
      relationLink(row.kind, row.name),
      badge(row.state),
      row.kind === "view" ? duration(row.lag_ms) : "–",
      duration(row.target_lag_ms),
      count(row.rows),
      bytes(row.bytes),
      row.version ?? "–",
      row.readers === 0 ? "0" : h("a", { href: link(["views"], { reads: row.name }), "aria-label": `${row.readers} read ${row.name}` }, row.readers),
      row.state === "paused" ? row.paused || row.message : row.message || (row.kind === "dataset" ? "dataset" : ""),
    ]),
    rows.map((row) => row.name),
  );
}

function pager(found, wanted) {
  const last = Math.min(found.offset + found.rows.length, found.total);
  const step = (offset, text) =>
    offset === null ? h("span", { class: "faint" }, text) : h("a", { href: link(["views"], { ...wanted, offset: offset || "" }) }, text);
  return h(
    "nav",
    { class: "pager", "aria-label": "Parts of the list" },
    step(found.offset > 0 ? Math.max(0, found.offset - PAGE) : null, "← before"),
    h("span", {}, found.total ? `${count(found.offset + 1)}–${count(last)} of ${count(found.total)}` : "none"),
    step(last < found.total ? last : null, "next →"),
  );
}

export function graphPage({ parts, query }) {
  const centre = parts[1] ?? "";
  const opened = query.getAll("open");
  const page = { graph: null, list: null, title: () => (centre ? `Graph around ${centre}` : "Graph") };
  const text = query.get("text") ?? "";
  page.load = async (paint) => {
    if (centre) {
      page.graph = await get("console/graph", { name: centre, open: opened }).then((value) => ({ value }), (error) => ({ error }));
    } else {
      page.list = await get("console/relations", { text, sort: "state", limit: 30 }).then((value) => ({ value }), (error) => ({ error }));
    }
    paint();
  };
  page.draw = () => (centre ? drawGraph(page.graph, centre, opened) : drawChoice(page.list, text));
  return page;
}

function drawChoice(found, text) {
  return [
    h("h1", {}, "Graph"),
    h("p", { class: "sub" }, "Choose what to look at: its inputs and its readers are shown first, and from there as much as you open."),
    h("form", { class: "filters", role: "search", "data-form": "filter", "data-page": "graph" },
      h("label", { class: "grow" }, "Name", h("input", { type: "search", name: "text", value: text, autocomplete: "off", spellcheck: "false", "data-search": true }))),
    asked(found, (list) => [
      h("ul", { class: "choices" }, list.rows.map((row) =>
        h("li", { "data-key": row.name }, h("a", { href: link(["graph", row.name]) }, row.name), badge(row.state), h("span", { class: "faint" }, row.kind)))),
      list.total > list.rows.length && calm(`and ${count(list.total - list.rows.length)} more; write a part of the name`),
    ]),
  ];
}

function drawGraph(found, centre, opened) {
  return [
    h("h1", {}, "Graph around ", h("span", { class: "name" }, centre)),
    h("p", { class: "sub" }, "Arrows lead from what is read to what reads it. A number opens more. ",
      opened.length > 0 && h("a", { href: link(["graph", centre]) }, "Close what was opened"), " ", h("a", { href: "#/graph" }, "Choose another")),
    asked(found, (graph) => [graphDrawing(graph, opened, false), neighbours(graph)]),
  ];
}

// The same as a list, for who does not see the drawing.
function neighbours(graph) {
  const named = new Map(graph.nodes.map((node) => [node.name, node]));
  const side = (names) =>
    names.length === 0
      ? calm("nothing")
      : h("ul", { class: "choices" }, names.map((name) => {
          const node = named.get(name);
          return h("li", { "data-key": name }, relationLink(node.kind, name), badge(node.state), h("a", { class: "faint", href: link(["graph", name]), "aria-label": `graph around ${name}` }, "graph"));
        }));
  const edges = graph.edges;
  return h(
    "div",
    { class: "two" },
    section("It reads", side(edges.filter((edge) => edge.to === graph.centre).map((edge) => edge.from))),
    section("It is read by", side(edges.filter((edge) => edge.from === graph.centre).map((edge) => edge.to))),
  );
}

export function datasetPage({ parts }) {
  const name = parts[1];
  const page = { found: null, graph: null, title: () => name };
  page.load = async (paint) => {
    await Promise.all([
      get("console/relation", { name }).then((value) => (page.found = { value }), (error) => (page.found = { error })).then(paint),
      get("console/graph", { name }).then((value) => (page.graph = { value }), (error) => (page.graph = { error })).then(paint),
    ]);
  };
  page.draw = () => [
    h("h1", {}, h("span", { class: "name" }, name), " ", page.found?.value && badge(page.found.value.row.state)),
    h("p", { class: "sub" }, "A dataset: a Delta table that others write. ", h("a", { href: link(["preview"], { dataset: name }) }, "What would a change of it do?")),
    asked(page.found, ({ row, status }) => [
      row.message && h("div", { class: "notice bad", role: "alert" }, row.message),
      facts([
        ["Version", row.version],
        ["Written", status?.timestamp_ms && time(status.timestamp_ms)],
        ["Rows", count(row.rows)],
        ["Size", bytes(row.bytes)],
        ["Read by", counted(row.readers, "view")],
        ["Place", h("code", {}, row.uri ?? "–")],
        ["Table id", status?.table_id && h("code", {}, status.table_id)],
      ]),
    ]),
    section("Who reads it", asked(page.graph, (graph) => graphDrawing(graph, [], true)), h("p", {}, h("a", { href: link(["graph", name]) }, "Open the graph"), " · ", h("a", { href: link(["views"], { reads: name }) }, "as a list"))),
  ];
  return page;
}
