// Takes pictures of every screen: real programs, a real relay, a headless browser.
//
//   node test/screenshots.mjs FOLDER [VARIANT…]    all of en|zh-light|dark-WIDTH
//   node test/screenshots.mjs --readme FOLDER      those of the README
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { tell } from './story.mjs';
import { tour } from './tour.mjs';
import { World } from './world.mjs';

const readme = process.argv[2] === '--readme';
const [folder = 'shots', ...words] = process.argv.slice(readme ? 3 : 2);
mkdirSync(folder, { recursive: true });
const heights = { 1440: 900, 1000: 760, 700: 760, 420: 900 };
const variants = ['en', 'zh'].flatMap((language) =>
  ['light', 'dark'].flatMap((theme) =>
    Object.entries(heights).map(([width, height]) => ({
      name: `${language}-${theme}-${width}`, language, dark: theme === 'dark', width: Number(width), height,
    })),
  ),
); // prettier-ignore

const world = await World.open();
try {
  await world.startRelay();
  const people = await tell(world);
  if (readme) {
    const wanted = { 'en-light-1440': { chat: 'light', inspector: 'inspector' }, 'zh-dark-1440': { chat: 'dark' } };
    for (const variant of variants) {
      const names = wanted[variant.name];
      if (!names) continue;
      const enough = new Error('enough');
      try {
        await tour(world, people, variant, async (name, page) => {
          if (names[name]) await page.screenshot({ path: join(folder, `${names[name]}.png`) });
          delete names[name];
          if (Object.keys(names).length === 0) throw enough;
        });
      } catch (error) {
        if (error !== enough) throw error;
      }
    }
  } else {
    for (const variant of variants) {
      if (words.length > 0 && !words.includes(variant.name)) continue;
      await tour(world, people, variant, (name, page) => page.screenshot({ path: join(folder, `${name}-${variant.name}.png`) }));
      process.stdout.write(`${variant.name}\n`);
    }
  }
} finally {
  await world.close();
}
