// Asking the daemon: JSON over the page's own origin, and the stream of events.
// The token lives in this tab's session storage and goes nowhere but into the header of these requests.

const BASE = new URL("../v1/", document.baseURI);
const KEPT = "deltakeep-token";

export class Refusal extends Error {
  constructor(status, error) {
    super(error.message ?? `the daemon answered ${status}`);
    this.status = status;
    this.code = error.code ?? "unknown";
    this.hint = error.hint ?? "";
    this.problems = error.problems ?? [];
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  set: (text) => (text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT)),
};

export async function get(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== null && one !== undefined) url.searchParams.append(name, one);
    }
  }
  return send(url, { method: "GET" });
}

const post = (path, parameters) =>
  send(new URL(path, BASE), {
    method: "POST",
    body: JSON.stringify(parameters),
    headers: { "content-type": "application/json" },
  });

// What only looks: `{value, at_ms, busy}`, from before where the daemon is busy.
export const look = (operation, parameters = {}) => post(`console/${operation}`, parameters);

// What may change something: the operation's own answer.
export const act = (operation, parameters = {}) => post(operation, parameters);

async function send(url, request, given = token.get()) {
  const headers = { accept: "application/json", ...request.headers };
  if (given) headers.authorization = `Bearer ${given}`;
  let response;
  try {
    response = await fetch(url, { ...request, headers, credentials: "omit", redirect: "error" });
  } catch {
    throw new Refusal(0, { code: "unreachable", message: "the daemon does not answer", hint: "it may be restarting" });
  }
  const text = await response.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(response.status, { message: `the daemon answered ${response.status} without JSON` });
  }
  if (!response.ok) {
    if (response.status === 401) drop(given);
    throw new Refusal(response.status, value.error ?? {});
  }
  return value;
}

// A token that was revoked, or has expired, is not sent again: wrong tokens are counted.
function drop(given) {
  if (given === token.get()) token.set(null);
}

export const whoIs = (given) => send(new URL("console/caller", BASE), { method: "GET" }, given);

// Read events until the page ends; `told(event)` for each, `changed(connected)` when the connection comes and goes.
export async function follow(told, changed) {
  let last = 0;
  let pause = 500;
  for (;;) {
    try {
      const headers = { accept: "text/event-stream", "last-event-id": String(last) };
      const given = token.get();
      if (given) headers.authorization = `Bearer ${given}`;
      const response = await fetch(new URL("events", BASE), { headers, credentials: "omit", cache: "no-store" });
      if (response.status === 401) drop(given);
      if (!response.ok) throw new Error(String(response.status));
      changed(true);
      pause = 500;
      for await (const event of eventsOf(response.body)) {
        last = event.number;
        told(event);
      }
    } catch {
      // Whatever ended it, it is tried again.
    }
    changed(false);
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 15000);
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const blocks = waiting.split("\n\n");
    waiting = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
    }
  }
}
