// The router: the address after # says which page, a page loads and draws, events make it load again.

import { h, patchChildren } from "./dom.js";
import { follow, look } from "./ask.js";
import { askDeed, askToken, close, dismiss, forget, introduce } from "./actions.js";
import { eventsPage, overviewPage, requestsPage } from "./overview.js";
import { datasetPage, graphPage, listPage } from "./relations.js";
import { refreshPage, viewPage } from "./view.js";
import { previewPage } from "./preview.js";
import { calm } from "./parts.js";

const PAGES = { "": overviewPage, views: listPage, graph: graphPage, view: viewPage, dataset: datasetPage, refresh: refreshPage, preview: previewPage, events: eventsPage, requests: requestsPage };
const NAV = [["", "Overview"], ["views", "Views"], ["graph", "Graph"], ["preview", "Preview"], ["events", "Events"], ["requests", "Requests"]];
const BELONGS = { view: "views", dataset: "views", refresh: "views" };
const TELLING = new Set(["refresh_planned", "refresh_finished", "cycle_finished", "requested", "reloaded", "reload_failed", "dataset_moved", "state_changed"]);
const EVENTS_KEPT = 300;
const AGAIN_MS = 15000;
const SOON_MS = 700;

const main = document.getElementById("main");
let page = null;
let pending = null;
let events = [];
const shownCentres = new WeakSet();

function parse() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  let parts = [""];
  try {
    parts = path.split("/").map(decodeURIComponent);
  } catch {
    // An address that cannot be read is the start.
  }
  return { parts, query: new URLSearchParams(search ?? "") };
}

function route(moved) {
  const { parts, query } = parse();
  const make = PAGES[parts[0]] ?? (() => ({ title: () => "Not found", load: async (paint) => paint(), draw: () => [h("h1", {}, "Not found"), calm("There is no such page. ", h("a", { href: "#/" }, "To the overview"))] }));
  page = make({ parts, query, look, events: () => events });
  drawNav(BELONGS[parts[0]] ?? parts[0]);
  if (moved) {
    close();
    main.replaceChildren();
    scrollTo(0, 0);
  }
  paint(page);
  load();
  if (moved) main.focus({ preventScroll: true });
}

function paint(of) {
  if (of !== page) return;
  document.title = `${page.title()} – Deltakeep`;
  const holder = h("div", {}, ...page.draw());
  patchChildren(main, [...holder.childNodes]);
  for (const graph of main.querySelectorAll(".graph")) if (!shownCentres.has(graph)) showCentre(graph);
}

// A drawing that is wider than the window begins at the relation that it is about.
function showCentre(graph) {
  const centre = graph.querySelector(".centre");
  if (!centre) return;
  const [outer, inner] = [graph.getBoundingClientRect(), centre.getBoundingClientRect()];
  graph.scrollLeft += inner.left + inner.width / 2 - (outer.left + outer.width / 2);
  shownCentres.add(graph);
}

function load() {
  clearTimeout(pending);
  pending = null;
  const of = page;
  main.setAttribute("aria-busy", "true");
  of.load(() => paint(of)).finally(() => {
    if (of !== page) return;
    main.removeAttribute("aria-busy");
    if (pending === null) pending = setTimeout(load, document.hidden ? AGAIN_MS * 4 : AGAIN_MS);
  });
}

function soon() {
  clearTimeout(pending);
  pending = setTimeout(load, SOON_MS);
}

function drawNav(current) {
  const nav = document.getElementById("nav");
  patchChildren(nav, NAV.map(([name, text]) => h("a", { href: `#/${name}`, "aria-current": current === name ? "page" : null }, text)));
  const here = nav.querySelector("[aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2 - nav.offsetLeft;
}

// --- the look --------------------------------------------------------------------------------------------------------

const THEMES = ["system", "light", "dark"];
const themeOf = () => localStorage.getItem("deltakeep-theme") ?? "system";

function showTheme() {
  const theme = themeOf();
  if (theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
  const button = document.getElementById("theme");
  button.textContent = { system: "◐", light: "☀", dark: "☾" }[theme];
  button.setAttribute("aria-label", `Colours: ${theme}; change`);
  button.setAttribute("title", `Colours: ${theme}`);
}

// --- what people do --------------------------------------------------------------------------------------------------

const ACTIONS = {
  theme: () => {
    localStorage.setItem("deltakeep-theme", THEMES[(THEMES.indexOf(themeOf()) + 1) % THEMES.length]);
    showTheme();
  },
  sign: () => askToken(null, () => route(false)),
  forget: async () => {
    await forget();
    route(false);
  },
  close,
  dismiss,
  act: (element) => askDeed(element.dataset.do, element.dataset.view, load),
};

document.addEventListener("click", (event) => {
  const element = event.target.closest("[data-action]");
  if (element) ACTIONS[element.dataset.action]?.(element);
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-form=filter]");
  if (form) replaceQuery(form);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-form]");
  if (!form) return;
  event.preventDefault();
  // Not `form.dataset`: a field of the form may be called so, and is found instead.
  if (form.getAttribute("data-form") === "go") location.hash = hashOf(form);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const search = document.querySelector("[data-search]");
    event.preventDefault();
    if (search) search.focus();
    else location.hash = "#/views";
  }
});

const hashOf = (form) => {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  return `#/${form.getAttribute("data-page")}${[...query].length ? `?${query}` : ""}`;
};

let typed = null;

function replaceQuery(form) {
  clearTimeout(typed);
  typed = setTimeout(() => {
    history.replaceState(null, "", hashOf(form));
    route(false);
  }, 150);
}

// --- start -----------------------------------------------------------------------------------------------------------

function connected(is) {
  const live = document.getElementById("live");
  live.className = `live ${is ? "good" : "bad"}`;
  live.textContent = is ? "● live" : "○ not connected";
}

showTheme();
addEventListener("hashchange", () => route(true));
document.addEventListener("visibilitychange", () => !document.hidden && soon());
const refused = await introduce();
route(true);
if (refused && (refused.status === 401 || refused.status === 429)) askToken(`${refused.message}.`, () => route(false));
follow(
  (event) => {
    events = [...events, event].slice(-EVENTS_KEPT);
    if (TELLING.has(event.kind)) soon();
    else if (parse().parts[0] === "events") paint(page);
  },
  (is) => {
    connected(is);
    introduce();
    if (is) soon();
  },
);
