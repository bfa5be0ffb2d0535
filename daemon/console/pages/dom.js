// Building and patching the page.  Whatever comes from data becomes a text node or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// Make `old` look like `wanted` in place, so that focus, scroll, open parts and what is being typed stay as they are.
// Nothing here carries listeners: the document listens once, see actions.js.
export function patch(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName || key(old) !== key(wanted)) {
    old.replaceWith(wanted);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  patchAttributes(old, wanted);
  patchChildren(old, [...wanted.childNodes]);
}

export function patchChildren(element, wanted) {
  const present = [...element.childNodes];
  wanted.forEach((child, index) => {
    if (index < present.length) patch(present[index], child);
    else element.append(child);
  });
  present.slice(wanted.length).forEach((child) => child.remove());
}

function patchAttributes(old, wanted) {
  const mine = (name) =>
    (name === "open" && old.nodeName === "DETAILS") ||
    (name === "selected" && old.parentNode === document.activeElement);
  const before = old.getAttribute("value");
  for (const { name, value } of [...wanted.attributes]) {
    if (old.getAttribute(name) !== value && !mine(name)) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && !mine(name)) old.removeAttribute(name);
  }
  // What was typed and not sent yet stays until the page's address says something else.
  if (old !== document.activeElement && old.nodeName === "INPUT" && before !== wanted.getAttribute("value")) old.value = wanted.value;
}

const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);
