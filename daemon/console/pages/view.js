// The page of a view, and that of one of its refreshes.

import { h } from "./dom.js";
import { get, look } from "./ask.js";
import { asked, calm, facts, graphDrawing, historyBars, historyTable, lagBar, link, relationLink, section, table } from "./parts.js";
import { badge, bytes, count, counted, duration, saved, time, words } from "./say.js";

export function viewPage({ parts, query }) {
  const name = parts[1];
  const limit = Math.min(Number(query.get("limit")) || 15, 500);
  const page = { parts: {}, title: () => name };
  page.load = async (paint) => {
    const ask = (key, promise) =>
      promise.then((found) => (page.parts[key] = found), (error) => (page.parts[key] = { error })).then(paint);
    const plain = (promise) => promise.then((value) => ({ value }));
    await Promise.all([
      ask("relation", plain(get("console/relation", { name }))),
      ask("graph", plain(get("console/graph", { name }))),
      ask("why", look("why", { view: name })),
      ask("history", look("history", { view: name, limit })),
      ask("explain", look("explain", { view: name })),
      ask("lineage", look("lineage", { view: name })),
    ]);
  };
  page.draw = () => draw(name, page.parts, limit);
  return page;
}

function draw(name, found, limit) {
  const relation = found.relation?.value;
  const unplanned = (relation?.declared?.problems ?? []).length > 0;
  const planned = (part, drawPart) => (unplanned ? calm("There is no plan; what is wrong is told above.") : asked(part, drawPart));
  return [
    h("div", { class: "head" },
      h("h1", {}, h("span", { class: "name" }, name), " ", relation && badge(relation.row.state)),
      relation && buttons(name, relation.row)),
    relation?.declared?.description && h("p", { class: "sub" }, relation.declared.description),
    asked(found.relation, (value) => freshness(value, found.history?.value)),
    section("Why", planned(found.why, (why) => [facts_tree(why.fact), h("p", { class: "faint" }, whence(why.source))])),
    section("History", asked(found.history, (records) => history(name, records, limit))),
    section("How it is maintained", planned(found.explain, maintenance)),
    section("Lineage",
      asked(found.graph, (graph) => graphDrawing(graph, [], true)),
      h("p", {}, h("a", { href: link(["graph", name]) }, "Open the graph")),
      planned(found.lineage, (lineage) => columns(lineage, name))),
    section("Pins", asked(found.history, (records) => pins(records, relation))),
    section("Plan", planned(found.explain, plan)),
  ];
}

function buttons(name, row) {
  const button = (action, text) => h("button", { type: "button", class: "act", "data-action": "act", "data-do": action, "data-view": name, "data-key": action }, text);
  return h("div", { class: "acts", role: "group", "aria-label": `Change ${name}` },
    button("refresh", "Refresh…"), button("replan", "Replan…"), row.paused !== null && row.paused !== undefined ? button("resume", "Resume…") : button("pause", "Pause…"));
}

function freshness({ row, status, declared, readers, effective_lag_ms: effective, datasets }) {
  return [
    row.state === "paused" && h("div", { class: "notice" }, h("strong", {}, "Paused"), row.paused ? `: ${row.paused}` : ""),
    declared?.problems?.map((one) => h("div", { class: "notice bad", role: "alert" }, `${one.file}${one.line ? `:${one.line}` : ""}: ${one.what}${one.hint ? ` – ${one.hint}` : ""}`)),
    section("Freshness",
      lagBar(row.lag_ms, row.target_lag_ms),
      !declared?.problems?.length && h("p", {}, row.message),
      facts([
        ["Next", words(row.strategy)],
        ["Refreshed", status?.refreshed_ms && time(status.refreshed_ms)],
        ["Held to", effective !== null && effective !== row.target_lag_ms ? `${duration(effective)}, because of a reader` : null],
        ["Failures in a row", row.failures || null],
        ["Rows", count(row.rows)],
        ["Size", status?.files ? `${bytes(row.bytes)} in ${counted(status.files ?? 0, "file")}` : bytes(row.bytes)],
        ["Version", row.version],
        ["Reads", row.inputs.length ? names(row.inputs, datasets) : null],
        ["Read by", readers.length ? names(readers, []) : "nobody"],
        ["Place", status?.uri && h("code", {}, status.uri)],
      ])),
  ];
}

const names = (list, datasets) =>
  list.map((name, index) => [index > 0 && ", ", relationLink(datasets.includes(name) ? "dataset" : "view", name)]);

function facts_tree(fact) {
  if (!fact) return calm("Nothing was decided yet.");
  const children = fact.because ?? [];
  return h("div", { class: "tree" }, fact.text, children.length > 0 && h("ul", {}, children.map((child) => h("li", {}, facts_tree(child)))));
}

const whence = (source) =>
  ({ memory: "From the last decision.", history: "From the history: this daemon has not decided yet.", look: "From a look just now: nothing was decided yet." })[source] ?? "";

function history(name, records, limit) {
  if (records.length === 0) return calm("It was not refreshed yet.");
  return [
    historyBars(records),
    historyTable(records, false),
    records.length >= limit && h("p", {}, h("a", { href: link(["view", name], { limit: Math.min(limit * 4, 500) }) }, "Show more")),
  ];
}

function maintenance(explain) {
  const found = explain.maintenance;
  return [
    h("p", {}, h("span", { class: `badge ${found.incremental ? "good" : "soon"}` }, found.incremental ? "incremental" : "recompute"), " ",
      found.incremental
        ? "Changes of its inputs are applied; nothing has to be recomputed."
        : `It is recomputed, because ${found.text || words(found.reason)}.`,
      found.hint && h("strong", {}, ` What to do: ${found.hint}.`)),
    explain.state && h("p", {}, "It has a state, a table of its own that changes keep: ", relationLink("view", explain.state.name ?? String(explain.state))),
    operators("Operators", found),
    costs(explain),
    (explain.states ?? []).map((state) => [
      h("h3", {}, "State ", relationLink("view", state.name)),
      operators(`Operators of ${state.name}`, state.maintenance),
      costs(state),
    ]),
  ];
}

function operators(title, found) {
  const explained = found.operators.some((one) => one.text);
  const scanned = found.operators.some((one) => one.scan);
  const known = (one, say, key) => (one.scan ? (one.scan[key] === null ? "unknown" : say(one.scan[key])) : "");
  return table(title,
    [["Operator", "wide"], ["How", ""], ...(scanned ? [["Rows", "number"], ["Size", "number"]] : []), ...(explained ? [["Why", "wide"]] : [])],
    found.operators.map((one) => [
      h("code", {}, one.operator),
      h("span", { class: `badge ${one.how === "recompute" ? "soon" : "good"}` }, words(one.how)),
      ...(scanned ? [known(one, count, "rows"), known(one, bytes, "bytes")] : []),
      ...(explained ? [one.text ? `${one.text}${one.hint ? ` – ${one.hint}` : ""}` : "–"] : []),
    ]));
}

function costs({ size, costs: found }) {
  if (!size || !found) return false;
  const { recompute, history } = found;
  const way = (one) =>
    one?.refreshes
      ? `${count(one.refreshes)} of the last ${counted(history.records, "record")}: median ${counted(one.median_rows, "row")} changed, ${bytes(one.median_bytes_read)} read, ${duration(one.median_ms)}`
      : "unknown: none is recorded";
  return facts([
    ["Its table", size.unknown ? `unknown: ${size.unknown}` : `${size.rows === null ? "unknown rows" : counted(size.rows, "row")}, ${bytes(size.bytes)} in ${counted(size.files, "file")}`],
    ["A recompute reads", recompute.reads_bytes === null ? `unknown: ${recompute.unknown}` : `${bytes(recompute.reads_bytes)} in ${counted(recompute.reads_files, "file")}`],
    ["A recompute writes", recompute.writes_bytes === null ? "unknown" : `about ${bytes(recompute.writes_bytes)}`],
    ["Applying changes", history === null ? "unknown: the history cannot be read" : way(history.incremental)],
    ["Recomputing", history === null ? "unknown: the history cannot be read" : way(history.recompute)],
  ]);
}

function columns(lineage, name) {
  const edges = lineage.edges.filter((edge) => edge.view === name);
  const kinds = new Map(edges.map((edge) => [edge.relation, edge.kind]));
  const source = (one) => h("div", {}, relationLink(kinds.get(one.relation) ?? "view", one.relation), `.${one.column} `, h("span", { class: "faint" }, words(one.how)));
  const used = new Map();
  for (const output of lineage.outputs) for (const one of output.sources ?? []) used.set(`${one.relation} ${one.column}`, true);
  const others = edges.map((edge) => [edge, edge.columns.filter((column) => !used.has(`${edge.relation} ${column}`))]).filter(([, list]) => list.length);
  return [
    table("Where its columns come from", [["Column", ""], ["Comes from", "wide"]],
      lineage.outputs.map((output) => [h("strong", {}, output.name), (output.sources ?? []).length ? output.sources.map(source) : h("span", { class: "faint" }, "no column of an input")])),
    others.length > 0 && h("p", {}, "Used for filters, joins, groups or order alone: ",
      others.map(([edge, list], index) => [index > 0 && "; ", relationLink(edge.kind, edge.relation), `: ${list.join(", ")}`]), "."),
  ];
}

function pins(records, relation) {
  const last = records.find((one) => (one.pins ?? []).length);
  if (!last) return calm("Nothing is pinned yet.");
  const datasets = relation?.datasets ?? [];
  return [
    h("p", {}, "What its content reflects, as the last refresh pinned it."),
    pinsTable(last.pins, datasets),
  ];
}

const pinsTable = (found, datasets) =>
  table("Pins", [["Relation", ""], ["Version", "number"], ["Written", ""], ["Table id", ""], ["Commit", ""]],
    found.map((pin) => [relationLink(datasets.includes(pin.relation) ? "dataset" : "view", pin.relation), pin.version, time(pin.timestamp_ms), h("code", {}, pin.table_id), h("code", {}, String(pin.commit_hash ?? "–").slice(0, 12))]));

function plan(explain) {
  const shown = [["optimized", "Optimized plan"], ["logical", "Plan as it was written"], ["physical", "Physical plan"]];
  return [
    facts([
      ["Definition", h("code", {}, explain.source)],
      ["Language", explain.language],
      ["Fingerprint", h("code", {}, String(explain.fingerprint).slice(0, 16))],
      ["Content key", h("code", {}, String(explain.content_key).slice(0, 16))],
      ["Stored as", words(explain.encoding)],
      ["Engine", explain.engine_version],
      ["Functions", Object.keys(explain.functions).map((name) => name.split(":").pop()).join(", ")],
      ["Functions of the project", Object.keys(explain.macros ?? {}).join(", ")],
    ]),
    shown.map(([key, title], index) => explain.displays[key] && h("details", { "data-key": key, open: index === 0 }, h("summary", {}, title), h("pre", { tabindex: "0" }, explain.displays[key]))),
  ];
}

export function refreshPage({ parts }) {
  const [, view, cycle] = parts;
  const page = { found: null, title: () => `Refresh of ${view}` };
  page.load = async (paint) => {
    page.found = await look("scans", { view, cycle_id: cycle }).catch((error) => ({ error }));
    paint();
  };
  page.draw = () => [
    h("h1", {}, "Refresh of ", relationLink("view", view)),
    asked(page.found, drawRefresh),
  ];
  return page;
}

function drawRefresh({ refresh: one, scan_units: units }) {
  const incremental = one.strategy === "incremental";
  return [
    h("p", { class: "sub" }, badge(one.outcome), " ", words(one.strategy), ": ", one.message || words(one.reason)),
    one.error && h("div", { class: "notice bad", role: "alert" }, one.error),
    facts([
      ["Started", time(one.started_ms)],
      ["Took", duration(one.elapsed_ms)],
      ["Reason", words(one.reason)],
      ["Committed version", one.version],
      ["Rows in", count(one.rows_inserted)],
      ["Rows out", count(one.rows_deleted)],
      ["Rows of the view", count(one.rows_target)],
      ["Read", `${bytes(one.bytes_read)}${one.files_read === null ? "" : ` of ${counted(one.files_read, "file")}`}`],
      ["A recompute would read", one.bytes_recompute === null ? null : bytes(one.bytes_recompute)],
      ["Saved", incremental ? saved(one.bytes_read, one.bytes_recompute) : null],
      ["Written", bytes(one.bytes_written)],
      ["Cycle", h("code", {}, one.cycle_id)],
    ]),
    section("What it read", units.length === 0 ? calm("No scan units are recorded.") : [
      table("Scan units", [["Relation", ""], ["Version", "number"], ["What", ""], ["Files read", "number"], ["Files skipped", "number"], ["Size", "number"], ["Rows", "number"], ["Columns", "wide"], ["Filters", "wide"]],
        units.map((unit) => [unit.relation, unit.version, unit.side === "changes" ? "changes" : `content ${words(unit.side)}`, count(unit.files), count(unit.skipped_files), bytes(unit.bytes), count(unit.rows),
          unit.columns.join(", "), unit.filters.length ? h("code", {}, unit.filters.join("; ")) : "–"])),
      units.map((unit, index) => h("details", { "data-key": `files-${index}` },
        h("summary", {}, `Files of ${unit.relation} (${words(unit.side)}): ${count(unit.files)}`),
        h("ul", { class: "files" }, unit.file_names.map((file) => h("li", {}, h("code", {}, file)))),
        unit.files > unit.file_names.length && calm(`and ${count(unit.files - unit.file_names.length)} more`))),
    ]),
    (one.pins ?? []).length > 0 && section("Pins", pinsTable(one.pins, [])),
  ];
}
