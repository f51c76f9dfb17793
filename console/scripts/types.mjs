// Writes the TypeScript of what the console asks and is answered, from the server's own description.
//
// node scripts/types.mjs description.json > src/api/schema.ts
//
// The description is an OpenAPI document, with the payloads of events under "x-payloads" (name: schema). Only the routes
// of USED are written, with the schemas that they reach.
import { readFileSync } from "node:fs";

const USED = [
  "GET /v1/auth/config",
  "GET /v1/auth/me",
  "POST /v1/auth/login",
  "POST /v1/auth/setup",
  "POST /v1/auth/logout",
  "GET /v1/agents",
  "GET /v1/catalogue",
  "GET /v1/waits",
  "GET /v1/sessions",
  "POST /v1/sessions",
  "GET /v1/sessions/{session}",
  "DELETE /v1/sessions/{session}",
  "GET /v1/sessions/{session}/events",
  "POST /v1/sessions/{session}/prompts",
  "POST /v1/sessions/{session}/proceed",
  "POST /v1/sessions/{session}/steer",
  "POST /v1/sessions/{session}/follow-up",
  "POST /v1/sessions/{session}/pause",
  "POST /v1/sessions/{session}/resume",
  "POST /v1/sessions/{session}/abort",
  "POST /v1/sessions/{session}/waits/{token}",
  "POST /v1/sessions/{session}/fork",
  "POST /v1/sessions/{session}/rewind",
  "GET /v1/sessions/{session}/diff",
];

const document = JSON.parse(readFileSync(process.argv[2] ?? 0, "utf8"));
const schemas = document.components.schemas;
const reached = new Set();

const written = (name) => name.split(".").at(-1) !== name ? name.split(".").slice(-2).map(capital).join("") : name;
const capital = (word) => word[0].toUpperCase() + word.slice(1);
const key = (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));

function type(schema) {
  if (schema.$ref) {
    const name = decodeURIComponent(schema.$ref.split("/").at(-1));
    reach(name);
    return written(name);
  }
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const options = schema.anyOf ?? schema.oneOf;
  if (options) return [...new Set(options.map(type))].join(" | ");
  switch (schema.type) {
    case "string": return "string";
    case "integer":
    case "number": return "number";
    case "boolean": return "boolean";
    case "null": return "null";
    case "array": return schema.items ? `readonly (${type(schema.items)})[]` : "readonly unknown[]";
    case "object":
      if (schema.properties) return fields(schema);
      return schema.additionalProperties ? `Readonly<Record<string, ${type(schema.additionalProperties)}>>` : "Readonly<Record<string, unknown>>";
    default: return "unknown";
  }
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  const lines = Object.entries(schema.properties ?? {}).map(
    ([name, each]) => `  readonly ${key(name)}${required.has(name) ? "" : "?"}: ${type(each)};`,
  );
  return `{\n${lines.join("\n")}\n}`;
}

function reach(name) {
  if (reached.has(name)) return;
  reached.add(name);
  if (!schemas[name]) throw new Error(`the description has no schema ${name}`);
  type(schemas[name]);
}

function body(operation) {
  const content = operation.requestBody?.content?.["application/json"];
  return content ? type(content.schema) : "undefined";
}

function answer(operation) {
  const good = Object.keys(operation.responses).filter((status) => status < "300");
  const found = good.map((status) => operation.responses[status].content?.["application/json"]).filter(Boolean);
  return found.length ? [...new Set(found.map((each) => type(each.schema)))].join(" | ") : "undefined";
}

function query(operation) {
  const given = (operation.parameters ?? []).filter((each) => each.in === "query");
  if (!given.length) return "undefined";
  return `{ ${given.map((each) => `readonly ${key(each.name)}?: ${type(each.schema)}`).join("; ")} }`;
}

const routes = USED.map((route) => {
  const [method, path] = route.split(" ");
  const operation = document.paths[path]?.[method.toLowerCase()];
  if (!operation) throw new Error(`the server has no route ${route}`);
  return `  ${JSON.stringify(route)}: { query: ${query(operation)}; body: ${body(operation)}; answer: ${answer(operation)} };`;
});
const payloads = Object.entries(document["x-payloads"]).map(([name, schema]) => `  ${JSON.stringify(name)}: ${type(schema)};`);

const shapes = [...reached].sort().map((name) => {
  const schema = schemas[name];
  return schema.properties || schema.type === "object"
    ? `export interface ${written(name)} ${fields(schema)}`
    : `export type ${written(name)} = ${type(schema)};`;
});

process.stdout.write(
  `// Written by scripts/types.mjs from the server's description. Do not edit.\n\n` +
    `/** What can be asked, and what it is answered with. */\nexport interface Routes {\n${routes.join("\n")}\n}\n\n` +
    `/** What events say, by type. */\nexport interface Payloads {\n${payloads.join("\n")}\n}\n\n` +
    shapes.join("\n\n") + "\n",
);
