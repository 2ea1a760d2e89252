// How much a window has to load before it shows anything.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

test('the bundle is at most 200 kB, compressed, without fonts and emoji', (t) => {
  const dist = new URL('../../internal/webui/dist/', import.meta.url);
  let size = 0;
  for (const name of readdirSync(dist)) {
    if (name.endsWith('.woff2') || name === 'emoji.json') continue;
    size += gzipSync(readFileSync(new URL(name, dist))).length;
  }
  t.diagnostic(`${size} bytes`);
  assert.ok(size > 10_000 && size <= 200_000, `${size} bytes`);
});
