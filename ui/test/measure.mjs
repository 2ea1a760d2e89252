// How a profile of 100,000 messages opens: from unlocking to the first messages on
// the screen, and the memory of the program five seconds later.
//
//   node test/measure.mjs [MESSAGES]
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { browserPath, password, World } from './world.mjs';

if (!browserPath) {
  console.log('skipped: no Chromium');
  process.exit(0);
}
const total = Number(process.argv[2] ?? 100_000);
const world = await World.open();
try {
  await world.startRelay();
  const alice = await world.register('alice', 'Alice');
  const bob = await world.register('bob', 'Bob');
  await alice.startDaemon();
  await alice.command('contacts', 'add', bob.self.user_id);
  await world.stopRelay();
  let next = 0;
  const worker = async () => {
    while (next < total) {
      const text = `${next++} ` + 'The ridge at 05:40, 周末去爬山吧！ '.repeat(1 + (next % 3));
      await alice.post('messages/send', { who: bob.self.user_id, text });
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  await alice.stopDaemon();
  await alice.startApp({ locked: true });
  const page = await alice.page({ width: 1280, height: 860 });
  await page.locator('input[type=password]').fill(password);
  const paint = page.evaluate(
    () =>
      new Promise((resolve) => {
        const started = performance.now();
        const look = () => {
          if (document.querySelector('.list .row')) resolve(performance.now() - started);
          else requestAnimationFrame(look);
        };
        document.querySelector('button[type=submit]').click();
        look();
      }),
  );
  const unlocked = await paint;
  const shown = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const started = performance.now();
        const look = () => {
          const text = document.querySelector('.m .tx');
          if (text && getComputedStyle(text).visibility === 'visible') resolve(performance.now() - started);
          else requestAnimationFrame(look);
        };
        document.querySelector('.list .row').click();
        look();
      }),
  );
  await page.waitForTimeout(5000);
  const status = readFileSync(`/proc/${alice.app.pid}/status`, 'utf8');
  const rss = Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024;
  console.log(
    `${total} messages: list ${unlocked.toFixed(0)} ms after the password, conversation ${shown.toFixed(0)} ms after the click, ` +
      `${rss.toFixed(1)} MB resident 5 s later`,
  );
  assert.ok(unlocked <= 1000, 'the first paint takes more than a second');
  assert.ok(rss <= 60, 'the program takes more than 60 MB');
} finally {
  await world.close();
}
