import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Plugin } from 'vite';

interface Entry {
  unicode: string;
  label: string;
  group?: number;
  order?: number;
  tags?: string[];
  skins?: { unicode: string }[];
}

const require = createRequire(import.meta.url);

// Newer ones are boxes on most computers.
const newest = 15;

function recent(): Set<string> {
  const all = JSON.parse(readFileSync(require.resolve('emojibase-data/en/data.json'), 'utf8')) as { emoji: string; version: number }[];
  return new Set(all.filter((entry) => entry.version > newest).map((entry) => entry.emoji));
}

function read(language: string): Entry[] {
  return JSON.parse(readFileSync(require.resolve(`emojibase-data/${language}/compact.json`), 'utf8')) as Entry[];
}

/**
 * Writes emoji.json: for each emoji its group, its text, the English and the
 * Chinese name, the words it is found by, and its five skin tones if it has them.
 * It is a file beside the bundle, read when the picker opens for the first time.
 */
export function emoji(): Plugin {
  const build = (): string => {
    const chinese = new Map(read('zh').map((entry) => [entry.unicode, entry]));
    const tooNew = recent();
    const rows = read('en')
      .filter((entry) => entry.group !== undefined && entry.group !== 2 && !tooNew.has(entry.unicode)) // 2: parts of others
      .sort((a, b) => (a.order ?? 0) - (b.order ?? 0))
      .map((entry) => {
        const zh = chinese.get(entry.unicode);
        const words = [...new Set([...(entry.tags ?? []), ...(zh?.tags ?? [])])].join(' ');
        const tones = entry.skins?.length === 5 ? entry.skins.map((skin) => skin.unicode) : undefined;
        const row = [entry.group, entry.unicode, entry.label, zh?.label ?? entry.label, words];
        return tones ? [...row, tones] : row;
      });
    return JSON.stringify(rows);
  };
  return {
    name: 'emoji-data',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: 'emoji.json', source: build() });
    },
    configureServer(server) {
      server.middlewares.use('/emoji.json', (_request, response) => {
        response.setHeader('Content-Type', 'application/json');
        response.end(build());
      });
    },
  };
}
