// Uses the page in a browser, as people do. Usage: drive.cjs BROWSER SCENARIO URL [ARGUMENT…]
// Ends with 0, or prints what went wrong.

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

// So that a test that hangs ends; nothing is concluded from how long something took.
const PATIENCE = 100_000;

const VALUES = ["inuse_space", "inuse_objects", "alloc_space", "alloc_objects"];

const text = (page, selector) => page.locator(selector).innerText();

async function until(page, what, ready) {
  const end = Date.now() + PATIENCE;
  while (!(await ready())) {
    assert.ok(Date.now() < end, `waited in vain for ${what}`);
    await page.waitForTimeout(100);
  }
}

async function loaded(page) {
  await until(page, "a verdict", async () => (await page.locator("#verdict").textContent()) !== "");
  await page.locator("#flame .frame").first().waitFor();
}

// Each of the four values has a graph of its own, a table and a title.
async function switches(page) {
  const seen = new Set();
  for (const value of VALUES) {
    await page.locator(`label[for="kind-${value}"]`).click();
    assert.ok(await page.locator(`#kind-${value}`).isChecked(), value);
    const row = await page.locator("#sites tbody tr").first().innerText();
    seen.add((await text(page, "#flame-title")) + row);
    const amount = await page.locator("#sites td.n0").first().innerText();
    assert.equal(/B$/.test(amount), value.endsWith("space"), amount);
    assert.ok((await page.locator("#flame .frame").count()) > 0, value);
  }
  assert.equal(seen.size, VALUES.length);
  await page.locator('label[for="kind-inuse_space"]').click();
}

async function finds(page, name) {
  await page.locator("#search").fill(name);
  await page.locator("#flame .frame.found").first().waitFor();
  assert.match(await text(page, "#found"), /^\d+ frames?, /);
  for (const row of await page.locator("#sites tbody tr").allInnerTexts()) {
    assert.ok(row.toLowerCase().includes(name.toLowerCase()), row);
  }
  await page.locator("#search").fill("there is no such function");
  assert.equal(await text(page, "#found"), "nothing found");
  await page.locator("#search").fill("");
}

async function compares(page) {
  await page.locator("#compare").check();
  await until(page, "the comparison", async () => (await text(page, "#sites-title")) === "What changed");
  assert.match(await text(page, "#sites-hint"), /in all: from .* to /);
  await page.locator("#compare").uncheck();
  await until(page, "the sites", async () => (await text(page, "#sites-title")) === "Sites");
  // From one moment to another by a drag over the time line.
  const chart = await page.locator("#charts .chart").first().boundingBox();
  const at = (part) => [chart.x + chart.width * part, chart.y + chart.height / 2];
  await page.mouse.move(...at(0.3));
  await page.mouse.down();
  await page.mouse.move(...at(0.7), { steps: 3 });
  await page.mouse.up();
  await until(page, "the comparison", async () => (await text(page, "#sites-title")) === "What changed");
  assert.ok(await page.locator("#compare").isChecked());
  await page.locator("#compare").uncheck();
  await until(page, "the sites", async () => (await text(page, "#sites-title")) === "Sites");
}

// What is focused, in short.
const focused = (page) =>
  page.evaluate(() => {
    const { id, className, tagName } = document.activeElement;
    return `${tagName.toLowerCase()}#${id}.${className}`;
  });

async function tabTo(page, wanted) {
  for (let times = 0; times < 200; times += 1) {
    await page.keyboard.press("Tab");
    if (wanted.test(await focused(page))) {
      return;
    }
  }
  assert.fail(`Tab does not lead to ${wanted}`);
}

// No pointer: values, search, zoom, moments.
async function byKeyboard(page, name) {
  await tabTo(page, /kind-inuse_space/);
  await page.keyboard.press("ArrowRight");
  assert.ok(await page.locator("#kind-inuse_objects").isChecked());
  await page.keyboard.press("ArrowLeft");
  await page.locator("#flame-section").focus();
  await page.keyboard.press("/");
  assert.match(await focused(page), /#search/);
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  assert.match(await focused(page), /frame .*found/);
  assert.ok(await page.locator("#reset").isVisible());
  const at = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  assert.ok(at.includes(name), at);
  await page.keyboard.press("ArrowUp");
  const above = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  assert.notEqual(above, at);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#reset").isHidden());
  assert.match(await focused(page), /frame/);
  // The search is emptied as it was filled.
  await page.keyboard.press("/");
  await page.keyboard.press("Delete");
  assert.equal(await page.locator("#search").inputValue(), "");
  await page.locator("h1").evaluate((head) => head.ownerDocument.activeElement.blur());
  await tabTo(page, /#moment\./);
  const now = await text(page, "#moment-time");
  await page.keyboard.press("ArrowLeft");
  await until(page, "another moment", async () => (await text(page, "#moment-time")) !== now);
  await tabTo(page, /#compare\./);
  await page.keyboard.press("Space");
  await until(page, "the comparison", async () => (await text(page, "#sites-title")) === "What changed");
  await tabTo(page, /#base\./);
  const base = await text(page, "#base-time");
  await page.keyboard.press("ArrowRight");
  await until(page, "another base", async () => (await text(page, "#base-time")) !== base);
}

// Nothing is wider than the window.
async function fits(page, width) {
  await page.setViewportSize({ width, height: 800 });
  await page.waitForTimeout(200);
  const wide = await page.evaluate(() => {
    const most = document.documentElement.clientWidth;
    const isWide = (one) => one.getBoundingClientRect().right > most + 0.5 && !one.closest(".flame, .skip, svg");
    const found = [...document.body.querySelectorAll("*")].filter(isWide);
    return { scroll: document.documentElement.scrollWidth - most, found: found.map((one) => one.outerHTML.slice(0, 90)) };
  });
  assert.deepEqual(wide, { scroll: 0, found: [] }, `${width} pixels`);
}

const SCENARIOS = {
  // A service under load: everything moves.
  async load(page, url, name) {
    await page.goto(url);
    await loaded(page);
    const points = () => page.locator("#charts .line.live polyline").first().getAttribute("points");
    await until(page, "a time line", async () => (await page.locator("#charts .line.live polyline").count()) > 0);
    for (let times = 0; times < 2; times += 1) {
      const [before, allocated] = [await points(), await text(page, "#figures")];
      await until(page, "more of it", async () => (await points()) !== before && (await text(page, "#figures")) !== allocated);
    }
    await switches(page);
    await finds(page, name);
    await compares(page);
    // Back to now. What is focused stays so when the page shows newer amounts.
    await page.locator("#moment").press("End");
    await until(page, "now", async () => (await text(page, "#moment-time")) === "now");
    await page.locator('label[for="kind-alloc_space"]').click();
    const frame = page.locator("#flame .frame").first();
    await frame.focus();
    const amounts = await text(page, "#figures");
    await until(page, "other amounts", async () => (await text(page, "#figures")) !== amounts);
    assert.match(await focused(page), /frame/);
  },

  // A leak becomes a suspect while one looks.
  async leak(page, url, name) {
    await page.goto(url);
    await loaded(page);
    const leak = page.locator(".suspect.leak", { hasText: name });
    await leak.first().waitFor();
    assert.ok((await leak.first().locator(".sparkline").count()) === 1);
  },

  // Saved profiles whose functions have names that look like HTML.
  async saved(page, url, name) {
    await page.goto(url);
    await loaded(page);
    await page.locator(".suspect", { hasText: name }).first().waitFor();
    assert.equal(await page.locator("img").count(), 0);
    assert.equal(await page.evaluate(() => globalThis.hit ?? null), null);
    assert.ok((await text(page, "#sites")).includes(name));
    for (const width of [390, 1280]) {
      await fits(page, width);
    }
    await switches(page);
    await finds(page, name);
    await compares(page);
    await byKeyboard(page, name);
    for (const width of [390, 1280]) {
      await fits(page, width);
    }
  },

  // The browser asks for the token, and the page works with it.
  async token(page, url) {
    await page.goto(url);
    await loaded(page);
  },
};

async function main() {
  const [executablePath, scenario, url, ...rest] = process.argv.slice(2);
  const { origin, username, password } = new URL(url);
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    ...(password === "" ? {} : { httpCredentials: { username, password } }),
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const wrong = [];
  // Chromium says of the first answer what the browser itself then deals with.
  const isAsked = (said) => password !== "" && said.includes("401");
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isAsked(message.text())) {
      wrong.push(`console: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => wrong.push(`page: ${error.message}`));
  page.on("dialog", (dialog) => wrong.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) {
      wrong.push(`a request to ${request.url()}`);
    }
  });
  await SCENARIOS[scenario](page, `${origin}/`, ...rest);
  assert.deepEqual(wrong, []);
  await browser.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
