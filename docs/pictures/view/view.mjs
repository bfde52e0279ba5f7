// Draws a dashboard's JSON from a real Prometheus, with Grafana's own components, in headless Chromium: see README.md.
// Prints a line for each panel. Exit 1 if one has an error or no data, 2 if it was called wrongly.
import { createServer } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import UPNG from 'upng-js';

const usage = 'usage: node view.mjs DASHBOARD.json PROMETHEUS_URL OUT.png [--from UNIX] [--to UNIX] [--width 1366]'
  + ' [--first-screen] [--datasource UID] [--scrape SECONDS] [--chromium PATH]';
let asked, positionals;
try {
  ({ values: asked, positionals } = parseArgs({ allowPositionals: true, options: {
    from: { type: 'string' }, to: { type: 'string', default: String(Math.floor(Date.now() / 1000)) },
    width: { type: 'string', default: '1366' }, 'first-screen': { type: 'boolean', default: false },
    datasource: { type: 'string', default: 'floodmark-prometheus' }, scrape: { type: 'string', default: '15' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  } }));
} catch (error) { console.error(`${error.message}\n${usage}`); process.exit(2); }
const [dashboard, prometheus, picture] = positionals;
if (positionals.length !== 3) { console.error(usage); process.exit(2); }
asked.from ??= String(Number(asked.to) - 3600);

const page = '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><body><div id="root"></div><script src="page.js"></script>';
const types = { '.js': 'text/javascript', '.css': 'text/css' };
const server = createServer(async (request, response) => {
  const answer = (status, type, body) => response.writeHead(status, { 'content-type': type }).end(body);
  try {
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/') answer(200, 'text/html', page);
    else if (url.pathname === '/dashboard.json') answer(200, 'application/json', await readFile(dashboard));
    else if (url.pathname.startsWith('/api/v1/')) {
      const reply = await fetch(prometheus + url.pathname + url.search);
      answer(reply.status, 'application/json', await reply.text());
    } else answer(200, types[extname(url.pathname)], await readFile(join(import.meta.dirname, 'dist', url.pathname)));
  } catch (error) { answer(404, 'text/plain', String(error)); }
}).listen(0, '127.0.0.1');
await new Promise((ready) => server.once('listening', ready));

const browser = await chromium.launch({ executablePath: asked.chromium, args: ['--no-sandbox', '--disable-gpu'] });
const width = Number(asked.width);
const tab = await browser.newPage({ viewport: { width, height: 768 }, timezoneId: 'UTC', locale: 'en-GB' });
tab.on('pageerror', (error) => console.error('page error:', String(error).slice(0, 300)));
await tab.goto(`http://127.0.0.1:${server.address().port}/?${new URLSearchParams(Object.entries(asked).map(([k, v]) => [k, String(v)]))}`);
await tab.waitForFunction('window.drawn', null, { timeout: 120_000 });
await tab.setViewportSize({ width, height: Math.min(16_000, Math.ceil(await tab.evaluate('window.drawn.height'))) });
await tab.waitForTimeout(700);
const panels = await tab.evaluate(() => [...document.querySelectorAll('.panel')].map((e) => ({
  ...e.dataset, error: e.dataset.error || e.querySelector('.failed')?.innerText || '', shows: e.innerText.replace(/\s+/g, ' ').slice(0, 160) })));
const error = await tab.evaluate('window.drawn.error');
const image = UPNG.decode(await tab.screenshot());
await browser.close();
server.close();
// 256 colours are enough for a dashboard, and a third of the bytes.
await writeFile(picture, Buffer.from(UPNG.encode(UPNG.toRGBA8(image), image.width, image.height, 256)));
if (error) console.error(error);
let bad = error ? 1 : 0;
for (const { type, title, series, error: failed, shows } of panels) {
  const wrong = failed || (Number(series) ? '' : 'no data');
  bad += Boolean(wrong);
  console.log(`${wrong ? 'BAD ' : 'ok  '} ${type.padEnd(11)} ${title}: ${wrong || `${series} series: ${shows}`}`);
}
console.log(`${panels.length} panels, ${bad} of them without data or with an error`);
process.exit(bad ? 1 : 0);
