// Fails the build when the first load grows past its budget; prints what was measured.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const FIRST_LOAD_JS_BYTES_MAX = 200_000;
const WHOLE_PAGE_BYTES_MAX = 3_000_000;
const built = new URL("../../src/tokenyard/_web/", import.meta.url).pathname;

const files = readdirSync(built, { recursive: true })
  .map((name) => join(built, name))
  .filter((path) => statSync(path).isFile());
const whole = files.reduce((sum, path) => sum + statSync(path).size, 0);
const html = readFileSync(join(built, "index.html"), "utf8");
const first = files
  .filter((path) => path.endsWith(".js") && html.includes(path.slice(built.length)))
  .reduce((sum, path) => sum + gzipSync(readFileSync(path)).length, 0);

console.log(`first load ${first} bytes of gzipped JavaScript, whole page ${whole} bytes`);
if (first > FIRST_LOAD_JS_BYTES_MAX || whole > WHOLE_PAGE_BYTES_MAX) {
  console.error(`over budget: ${FIRST_LOAD_JS_BYTES_MAX} and ${WHOLE_PAGE_BYTES_MAX} bytes`);
  process.exit(1);
}
