import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from 'vite';

interface Package {
  name: string;
  version: string;
  license: string;
}

/** What is taken from packages as files, which the bundler does not see as modules. */
const data = ['@fontsource-variable/inter', 'emojibase-data'];

/** The folder of the package that a file is of. */
const folder = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/;

/** Writes notices.txt: the licences of all that is in the bundle. */
export function notices(): Plugin {
  return {
    name: 'notices',
    generateBundle(_, bundle) {
      const dirs = new Set(data.map((name) => join(import.meta.dirname, '../node_modules', name)));
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== 'chunk') continue;
        for (const id of Object.keys(chunk.modules)) {
          const dir = folder.exec(id)?.[0];
          if (dir && existsSync(join(dir, 'package.json'))) dirs.add(dir);
        }
      }
      const texts = [...dirs].map((dir) => {
        const { name, version, license } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as Package;
        const file = readdirSync(dir).find((entry) => /^licen[cs]e(\.\w+)?$/i.test(entry));
        if (!file) throw new Error(`${name} comes without its licence`);
        return `${name} ${version} (${license})\n\n${readFileSync(join(dir, file), 'utf8').trim()}\n`;
      });
      const line = `\n${'-'.repeat(72)}\n\n`;
      this.emitFile({
        type: 'asset',
        fileName: 'notices.txt',
        source: `What the window of ChatE2E is made of, beside its own code.\n${line}${texts.sort().join(line)}`,
      });
    },
  };
}
