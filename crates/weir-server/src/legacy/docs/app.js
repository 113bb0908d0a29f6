"use strict";
// Lists the operations of /openapi.json and tries them. Everything is set as text, never as HTML; the token stays in this page.
(async () => {
  const main = document.getElementById("operations");
  const make = (tag, props, ...children) => {
    const node = Object.assign(document.createElement(tag), props);
    node.append(...children);
    return node;
  };
  let api;
  try {
    api = await (await fetch("/openapi.json")).json();
  } catch (error) {
    main.textContent = "The description of the API cannot be loaded: " + error;
    return;
  }
  const at = (ref) => ref.slice(2).split("/").reduce((node, key) => node[key], api);
  const real = (node) => (node && node.$ref ? at(node.$ref) : node);
  const sample = (schema, depth = 0) => {
    schema = real(schema) || {};
    if (schema.example !== undefined) return schema.example;
    if (schema.default !== undefined) return schema.default;
    if (schema.enum) return schema.enum[0];
    const options = schema.oneOf || schema.anyOf;
    if (options) return sample(options.find((option) => option.type !== "null"), depth);
    const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
    if (type === "object" || schema.properties) {
      const out = {};
      for (const name of depth > 4 ? [] : schema.required || []) out[name] = sample((schema.properties || {})[name], depth + 1);
      return out;
    }
    if (type === "array") return [];
    if (type === "integer" || type === "number") return schema.minimum ?? 0;
    if (type === "boolean") return false;
    return "";
  };
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(card(path, method, operation));
    }
  }
  main.textContent = "";
  for (const [tag, cards] of groups) main.append(make("section", {}, make("h2", { textContent: tag }), ...cards));

  document.getElementById("find").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const node of main.querySelectorAll("details")) node.hidden = !words.every((word) => node.dataset.text.includes(word));
    for (const section of main.querySelectorAll("section")) section.hidden = !section.querySelector("details:not([hidden])");
  });

  function card(path, method, operation) {
    const role = operation["x-weir-role"] || "open";
    const summary = make("summary", {},
      make("span", { className: "method " + method, textContent: method.toUpperCase() }),
      make("span", { className: "path", textContent: path }),
      make("span", { textContent: operation.summary || "" }),
      make("span", { className: "role", textContent: role }));
    const node = make("details", {}, summary);
    node.dataset.text = [method, path, operation.summary, operation.operationId, role].join(" ").toLowerCase();
    node.addEventListener("toggle", () => { if (node.open && node.children.length === 1) node.append(form(path, method, operation)); });
    return node;
  }

  function form(path, method, operation) {
    const body = make("div", { className: "body" });
    const fields = [];
    for (const raw of operation.parameters || []) {
      const param = real(raw);
      const input = make("input", { placeholder: String((param.schema || {}).default ?? "") });
      const label = make("label", { className: "field" }, make("span", { textContent: param.name + (param.required ? " *" : "") }), input,
        make("small", { textContent: param.description || "" }));
      fields.push([param, input]);
      body.append(label);
    }
    let text = null;
    const content = operation.requestBody && operation.requestBody.content["application/json"];
    if (content) {
      text = make("textarea", { value: JSON.stringify(content.example ?? sample(content.schema), null, 2), ariaLabel: "Body" });
      body.append(text);
    }
    const send = make("button", { type: "button", textContent: "Send" });
    const out = make("pre", { hidden: true });
    body.append(send, out);
    send.addEventListener("click", async () => {
      let url = path;
      const query = new URLSearchParams();
      const headers = {};
      for (const [param, input] of fields) {
        if (param.in === "path") url = url.replace("{" + param.name + "}", encodeURIComponent(input.value));
        else if (input.value === "") continue;
        else if (param.in === "query") query.set(param.name, input.value);
        else headers[param.name] = input.value;
      }
      if (query.size) url += "?" + query;
      const token = document.getElementById("token").value;
      if (token) headers.Authorization = "Bearer " + token;
      if (text) headers["Content-Type"] = "application/json";
      out.hidden = false;
      out.textContent = "…";
      try {
        const answer = await fetch(url, { method: method.toUpperCase(), headers, body: text ? text.value : undefined });
        let shown = await answer.text();
        try { shown = JSON.stringify(JSON.parse(shown), null, 2); } catch { /* not JSON: as it is */ }
        out.textContent = answer.status + " " + answer.statusText + "\n" + [...answer.headers].map(([name, value]) => name + ": " + value).join("\n") + "\n\n" + shown;
      } catch (error) {
        out.textContent = "No answer: " + error;
      }
    });
    return body;
  }
})();
