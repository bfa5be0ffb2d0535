// What pending or supposed changes would do and cost; nothing is written.

import { h } from "./dom.js";
import { look } from "./ask.js";
import { asked, calm, relationLink, section, table } from "./parts.js";
import { bytes, count, counted, words } from "./say.js";

export function previewPage({ query }) {
  const [dataset, where] = [query.get("dataset") ?? "", query.get("where") ?? ""];
  const page = { found: null, title: () => "Preview" };
  page.load = async (paint) => {
    page.found = await look("preview", dataset ? { dataset, ...(where && { where }) } : {}).catch((error) => ({ error }));
    paint();
  };
  page.draw = () => [
    h("h1", {}, "Preview"),
    h("p", { class: "sub" }, dataset ? ["What would happen if rows of ", relationLink("dataset", dataset), " changed", where && [" where ", h("code", {}, where)], ". "] : "What the next cycle will do with the changes that are pending now. ", "Nothing is written."),
    h("form", { class: "filters", "data-form": "go", "data-page": "preview" },
      h("label", {}, "Suppose that rows change of", h("input", { name: "dataset", value: dataset, placeholder: "a dataset; empty: what is pending", autocomplete: "off", spellcheck: "false" })),
      h("label", { class: "grow" }, "where", h("input", { name: "where", value: where, placeholder: "an SQL condition; empty: any rows", autocomplete: "off", spellcheck: "false" })),
      h("button", { class: "act" }, "Preview")),
    asked(page.found, draw),
  ];
  return page;
}

const bound = (size) => (size === null ? "–" : `≤ ${bytes(size)}`);

function draw(found) {
  const affected = found.views.filter((one) => one.affected);
  const others = found.views.filter((one) => !one.affected);
  return [
    h("p", { class: "sum" }, affected.length === 0 ? "No view would be refreshed." :
      `${counted(affected.length, "view")} would be refreshed: at most ${bytes(found.bytes_to_read)} to read, where recomputing would read ${bytes(found.recompute_bytes)}.`),
    (found.notices ?? []).map((one) => h("div", { class: "notice" }, h("strong", {}, one.subject), ` ${one.message}`)),
    affected.length > 0 && section("Would be refreshed", table("Views that would be refreshed",
      [["View", ""], ["Strategy", ""], ["Why", "wide"], ["Path of the change", "wide"], ["Rows", "number"], ["Files", "number"], ["Reads", "number"], ["Rewrites", "number"], ["Recompute", "number"]],
      affected.map((one) => [
        [relationLink("view", one.view), !one.certain && h("span", { class: "faint", title: "an input changes before, so that the cost is not known yet" }, " (estimate)")],
        words(one.strategy),
        [one.message || words(one.reason), one.hint && h("div", { class: "faint" }, one.hint)],
        one.path.join(" → "),
        one.change_rows_bound === null ? "–" : `≤ ${count(one.change_rows_bound)}`,
        one.files_to_read === null ? "–" : `${count(one.files_to_read)}, ${count(one.files_skipped)} skipped`,
        bound(one.bytes_to_read), bound(one.bytes_to_write_bound), bytes(one.recompute_bytes),
      ]),
      affected.map((one) => one.view))),
    others.length > 0 && section("Would not be refreshed", others.length > 60 && calm(`The first 60 of ${count(others.length)}.`), table("Views that would not be refreshed",
      [["View", ""], ["Reason", ""], ["Why", "wide"]],
      others.slice(0, 60).map((one) => [relationLink("view", one.view), words(one.reason), one.message]),
      others.map((one) => one.view))),
  ];
}
