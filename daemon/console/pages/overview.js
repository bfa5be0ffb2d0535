// The start: how everything is, what needs a person, what happens now.

import { h } from "./dom.js";
import { get } from "./ask.js";
import { asked, calm, eventLine, link, relationLink, section, table } from "./parts.js";
import { badge, counted, duration, time, toneOf, icon, words } from "./say.js";

export function overviewPage() {
  const page = { found: null };
  page.title = () => page.found?.value?.project ?? "Overview";
  page.load = async (paint) => {
    page.found = await get("console/overview").then((value) => ({ value }), (error) => ({ error }));
    paint();
  };
  page.draw = () => [h("h1", {}, page.found?.value?.project ?? "Overview"), asked(page.found, draw)];
  return page;
}

function draw(found) {
  return [
    definitionsNote(found.daemon),
    h("p", { class: "sub" }, `The daemon is ${found.daemon.state}, version ${found.daemon.version ?? "?"}. `, doing(found.daemon)),
    h(
      "ul",
      { class: "tiles", "aria-label": "Views by state" },
      Object.entries(found.states).map(([state, number]) =>
        h("li", { "data-key": state }, h(
          "a",
          { class: `tile ${toneOf(state)}`, href: link(["views"], { kind: "view", state }) },
          h("span", { class: "number" }, number),
          h("span", { class: "what" }, icon(state), words(state)),
        )),
      ),
      h("li", { "data-key": "all" }, h("a", { class: "tile", href: link(["views"], { kind: "dataset" }) },
        h("span", { class: "number" }, found.datasets), h("span", { class: "what" }, "datasets"))),
    ),
    section(
      "Needs attention",
      found.attention_total === 0
        ? calm("Every view is within its target, and every dataset can be read.")
        : table(
            "What needs attention",
            [["Name", ""], ["State", ""], ["Age", "number"], ["Why", "wide"]],
            found.attention.map((row) => [relationLink(row.kind, row.name), badge(row.state), duration(row.lag_ms),
              whyOf(row)]),
            found.attention.map((row) => row.name),
          ),
      found.attention_total > found.attention.length && calm(`and ${found.attention_total - found.attention.length} more`),
    ),
    found.notices.length > 0 &&
      section("Notices", h("ul", { class: "plain" }, found.notices.map((one) => h("li", {}, h("strong", {}, one.subject), ` ${one.message}`)))),
    section(
      "Happened last",
      !found.events.some(notable)
        ? calm("Nothing yet since the daemon started.")
        : h("ol", { class: "events" }, found.events.filter(notable).slice(-14).reverse().map(eventLine)),
      h("p", {}, h("a", { href: "#/events" }, "All events")),
    ),
  ];
}

function whyOf(row) {
  if (row.state === "paused") return row.paused || "paused";
  if (row.state === "late") return `older than its target of ${duration(row.target_lag_ms)}. ${row.message}`;
  return row.message;
}

const NOTABLE = new Set(["refresh_finished", "dataset_moved", "requested", "reloaded", "reload_failed", "state_changed"]);
const notable = (event) => NOTABLE.has(event.kind);

function doing(daemon) {
  const waiting = daemon.pending?.length ? ` ${counted(daemon.pending.length, "view")} in the queue.` : "";
  if (!daemon.in_hand) return `Nothing runs now.${waiting}`;
  return `It does: ${daemon.in_hand.what}, for ${duration(daemon.in_hand.elapsed_ms)}.${waiting}`;
}

function definitionsNote(daemon) {
  const broken = daemon.definitions_failure;
  return [
    broken &&
      h("div", { class: "notice bad", role: "alert" }, h("strong", {}, "The definitions on disk are broken; the old ones stay. "),
        broken.message, (broken.problems ?? []).map((one) => h("div", {}, `${one.where}: ${one.what}${one.hint ? ` – ${one.hint}` : ""}`))),
    daemon.certificate_failure &&
      h("div", { class: "notice bad", role: "alert" }, h("strong", {}, "The certificate on disk cannot be used; the old one stays. "),
        daemon.certificate_failure.message),
    daemon.restart_needed && h("div", { class: "notice" }, "[engine] or [daemon] changed on disk: the daemon has to be restarted to use it."),
  ];
}

export function eventsPage({ events, query }) {
  const page = { title: () => "Events", load: async (paint) => paint() };
  page.draw = () => {
    const text = (query.get("text") ?? "").toLowerCase();
    const shown = events().filter((one) => !text || JSON.stringify(one).toLowerCase().includes(text));
    return [
      h("h1", {}, "Events"),
      h("p", { class: "sub" }, "What the daemon notices, does and is asked for, as it happens; the last 300 since its start."),
      h("form", { class: "filters", role: "search", "data-form": "filter", "data-page": "events" },
        h("label", {}, "Containing", h("input", { type: "search", name: "text", value: query.get("text") ?? "", "data-search": true }))),
      shown.length === 0 ? calm("Nothing yet.") : h("ol", { class: "events" }, [...shown].reverse().slice(0, 300).map(eventLine)),
    ];
  };
  return page;
}

export function requestsPage({ look }) {
  const page = { found: null, title: () => "Requests" };
  page.load = async (paint) => {
    page.found = await look("requests", { limit: 100 }).catch((error) => ({ error }));
    paint();
  };
  page.draw = () => [
    h("h1", {}, "Requests"),
    h("p", { class: "sub" }, "Who asked for which change, and what came of it."),
    page.found?.error?.code === "not_allowed"
      ? calm("Seeing this needs a token with the role operate. ", h("button", { type: "button", class: "act", "data-action": "sign" }, "Use a token"))
      : asked(page.found, (requests) =>
          requests.length === 0
            ? calm("Nobody asked for a change yet.")
            : table(
                "Requests, newest first",
                [["Time", ""], ["Who", ""], ["By", ""], ["Asked for", ""], ["Result", ""], ["Took", "number"], ["Reason", "wide"]],
                requests.map((one) => [time(one.recorded_ms), one.who, one.way, askedFor(one), badge(one.result),
                  duration(one.elapsed_ms), one.reason || one.message || "–"]),
              ),
        ),
  ];
  return page;
}

function askedFor(one) {
  const names = one.parameters.view ? [one.parameters.view] : one.parameters.views ?? [];
  const more = one.parameters.recompute ? " (recompute)" : "";
  return [`${one.operation} `, names.map((name, index) => [index > 0 && ", ", relationLink("view", name)]), more];
}
