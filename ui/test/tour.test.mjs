// Every screen, in both languages and both themes: axe finds nothing, and pictures
// are kept to look at.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tell } from './story.mjs';
import { tour } from './tour.mjs';
import { browserPath, World } from './world.mjs';

const skip = browserPath ? false : 'no Chromium';
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const folder = process.env['CHATE2E_SHOTS'] ?? fileURLToPath(new URL('../shots', import.meta.url));

// Each pair of language and theme goes through axe at one width; pictures are taken
// at all four.
const all = process.env['CHATE2E_ALL_SCREENS'] === '1';
const variants = [
  { language: 'en', dark: false, width: 1440, height: 900, gates: true },
  { language: 'zh', dark: true, width: 1440, height: 900, gates: true },
  { language: 'zh', dark: false, width: 420, height: 900, gates: true },
  { language: 'en', dark: true, width: 420, height: 900, gates: true },
  { language: 'en', dark: false, width: 1000, height: 760, gates: false },
  { language: 'zh', dark: true, width: 700, height: 760, gates: false },
];
if (all) {
  for (const language of ['en', 'zh']) {
    for (const dark of [false, true]) {
      for (const [width, height] of [[1440, 900], [1000, 760], [700, 760], [420, 900]]) {
        if (!variants.some((v) => v.language === language && v.dark === dark && v.width === width)) {
          variants.push({ language, dark, width, height, gates: false });
        }
      }
    }
  }
}

let world, people;
before(async () => {
  if (skip) return;
  mkdirSync(folder, { recursive: true });
  world = await World.open();
  await world.startRelay();
  people = await tell(world);
});
after(() => world?.close());

/** What axe finds; of the many emoji the first group stands for all. */
async function examine(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    window.axe.run({ exclude: [['.emoji section ~ section']] }, { resultTypes: ['violations'] }),
  );
  return violations;
}

for (const variant of variants) {
  const { language, dark, width } = variant;
  const name = `${language}-${dark ? 'dark' : 'light'}-${width}`;
  test(name, { skip }, async () => {
    const faults = [];
    await tour(world, people, variant, async (screen, page) => {
      await page.screenshot({ path: join(folder, `${screen}-${name}.png`) });
      const violations = all || variant.gates ? await examine(page) : [];
      for (const violation of violations) {
        faults.push(`${screen}: ${violation.id}: ${violation.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.failureSummary.split('\n').slice(1, 3).join(' ')}`).join('\n    ')}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      if (wide) faults.push(`${screen}: wider than the window`);
      faults.push(...page.faults.splice(0).map((fault) => `${screen}: ${fault}`));
    }, { gates: variant.gates }); // prettier-ignore
    assert.deepEqual(faults, []);
  });
}
