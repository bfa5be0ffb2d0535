// What changes something: asked for in a dialog, with a reason, and never without a token that allows it.

import { h, patchChildren } from "./dom.js";
import { act, token, whoIs } from "./ask.js";
import { refreshLink, relationLink } from "./parts.js";
import { words } from "./say.js";

const dialog = document.getElementById("dialog");
const told = document.getElementById("told");
const RANK = { read: 0, operate: 1, admin: 2 };
let caller = null;

const DEEDS = {
  refresh: {
    title: (view) => `Refresh ${view}?`,
    doing: "Refreshing",
    text: "It is brought up to date now, with the views that it reads.",
    extra: () => h("label", { class: "check" }, h("input", { type: "checkbox", name: "recompute" }), "Recompute the whole content, whatever changed"),
    button: "Refresh",
    running: (view) => `Refreshing ${view} …`,
    parameters: (view, form) => ({ views: [view], recompute: form.get("recompute") === "on" }),
    done: (view, answer) => {
      const one = (answer.views ?? []).find((record) => record.view === view);
      if (!one) return [`${view} was looked at.`];
      return [relationLink("view", view), ` ended as ${words(one.outcome)}: ${one.error || one.message || words(one.reason)} `, one.version !== null && one.outcome !== "skipped" && refreshLink({ view, cycle_id: answer.cycle_id }, "What it read")];
    },
  },
  replan: {
    title: (view) => `Replan ${view}?`,
    doing: "Replanning",
    text: "Its plan is made anew from its definition. Rows change only if the new plan has another content key.",
    button: "Replan",
    running: (view) => `Planning ${view} …`,
    parameters: (view) => ({ views: [view] }),
    done: (view, answer) => {
      const one = answer.views[0] ?? {};
      return [`${view} was planned anew; the plan is ${one.fingerprint_before === one.fingerprint_after ? "the same" : "another one"}.`];
    },
  },
  pause: {
    title: (view) => `Pause ${view}?`,
    doing: "Pausing",
    text: "It is not refreshed until somebody resumes it, also after a restart. Views that read it wait; its content stays.",
    button: "Pause",
    running: (view) => `Pausing ${view} …`,
    parameters: (view) => ({ view }),
    done: (view) => [`${view} is paused.`],
  },
  resume: {
    title: (view) => `Resume ${view}?`,
    doing: "Resuming",
    text: "It is refreshed again, beginning now.",
    button: "Resume",
    running: (view) => `Resuming ${view} …`,
    parameters: (view) => ({ view }),
    done: (view) => [`${view} is refreshed again.`],
  },
};

export const may = (role) => caller !== null && RANK[caller.role] >= RANK[role];

export function tell(tone, ...children) {
  const note = h("div", { class: `toast ${tone}` }, h("p", {}, ...children), h("button", { type: "button", class: "quiet", "data-action": "dismiss", "aria-label": "Dismiss" }, "✕"));
  told.replaceChildren(note);
}

// Who the daemon takes us for; shows it, and gives an error where reading itself needs a token.
export async function introduce() {
  const button = document.getElementById("who");
  try {
    caller = await whoIs(token.get() ?? undefined);
  } catch (error) {
    caller = null;
    if (error.status === 401) token.set(null);
    button.textContent = "Use a token";
    return error;
  }
  button.textContent = caller.way === "token" ? `${caller.name} · ${caller.role}` : "Use a token";
  button.setAttribute("aria-label", caller.way === "token" ? `Token ${caller.name}, role ${caller.role}: change` : "Use a token");
  return null;
}

export function askToken(why, then) {
  const signed = token.get() !== null;
  open("Use a token", h("form", { "data-kind": "token" },
    h("p", {}, why ?? "Reading on the daemon's own machine needs no token; changing something does."),
    h("p", { class: "faint" }, "Made by: ", h("code", {}, "daemonctl token create NAME --role operate"), ". It is kept in this tab only."),
    h("label", {}, "Token", h("input", { type: "password", name: "token", autocomplete: "off", required: true, spellcheck: "false", autofocus: true })),
    h("p", { class: "wrong", role: "alert" }),
    h("div", { class: "acts" },
      h("button", { type: "button", class: "quiet", "data-action": "close" }, "Cancel"),
      signed && h("button", { type: "button", class: "quiet", "data-action": "forget" }, "Forget this token"),
      h("button", { class: "act main" }, "Use it"))));
  dialog.onsubmit = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target).get("token").trim();
    try {
      await whoIs(given);
    } catch (error) {
      dialog.querySelector(".wrong").textContent = `${error.message}${error.hint ? ` – ${error.hint}` : ""}`;
      return;
    }
    token.set(given);
    close();
    await introduce();
    then();
  };
}

export function askDeed(kind, view, then) {
  const deed = DEEDS[kind];
  if (!may("operate")) {
    askToken(`${deed.doing} a view needs a token with the role operate.`, () => (may("operate") ? askDeed(kind, view, then) : tell("bad", "This token may only read.")));
    return;
  }
  open(deed.title(view), h("form", { "data-kind": "deed" },
    h("p", {}, deed.text),
    deed.extra?.(),
    h("label", {}, "Reason, kept with your name", h("input", { name: "reason", required: true, maxlength: "500", autocomplete: "off", autofocus: true })),
    h("div", { class: "acts" }, h("button", { type: "button", class: "quiet", "data-action": "close" }, "Cancel"), h("button", { class: "act main" }, deed.button))));
  dialog.onsubmit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const reason = form.get("reason").trim();
    if (!reason) return;
    close();
    tell("soon", deed.running(view));
    try {
      const answer = await act(kind, { ...deed.parameters(view, form), reason });
      tell("good", ...deed.done(view, answer));
    } catch (error) {
      tell("bad", `${error.message}${error.hint ? ` – ${error.hint}` : ""}`);
    }
    then();
  };
}

function open(title, body) {
  patchChildren(dialog, []);
  dialog.append(h("h2", { id: "dialog-title" }, title), body);
  dialog.showModal();
}

export const close = () => dialog.close();

export function forget() {
  token.set(null);
  close();
  return introduce();
}

export const dismiss = () => told.replaceChildren();
