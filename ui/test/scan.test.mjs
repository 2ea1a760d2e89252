// Codes are scanned: from a picture, and by the camera.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { browserPath, launch, World } from './world.mjs';

const skip = browserPath ? false : 'no Chromium';
let world, alice, bob, carol;
let codes; // pictures of what the others' windows show

before(async () => {
  if (skip) return;
  world = await World.open();
  await world.startRelay();
  alice = await world.register('alice', 'Alice');
  bob = await world.register('bob', 'Bob');
  carol = await world.register('carol', 'Carol');
  await alice.command('settings', 'auto-accept', 'on');
  await alice.startApp();
  for (const other of [bob, carol]) {
    await other.command('contacts', 'add', alice.self.user_id);
    await other.startApp();
  }
  codes = { bob: await shown(bob), carol: await shown(carol), link: await ownLink(carol) };
});
after(() => world?.close());

/** The picture of the code that somebody's window shows, and what a camera before it sees. */
async function shown(person, of = 'Alice', link) {
  const page = await person.page({ width: 640, height: 480, link });
  await openSafety(page, of);
  const png = await page.locator('.qr').screenshot();
  await page.evaluate(() => {
    const code = document.querySelector('.qr svg');
    document.body.replaceChildren(code);
    document.body.style.cssText = 'background:#fff;display:grid;place-items:center;height:100vh';
    code.style.cssText = 'width:360px;height:360px';
  });
  const film = await page.screenshot({ type: 'jpeg', quality: 90 });
  await page.context().close();
  return { png, film };
}

async function ownLink(person) {
  const page = await person.page({ width: 1100, height: 800, link: await person.newLink() });
  await page.locator('.list .row').first().waitFor();
  await page.keyboard.press('Alt+n');
  await page.locator('.qr path[d^=M]').waitFor({ state: 'attached' });
  const png = await page.locator('.qr').screenshot();
  await page.context().close();
  return { png };
}

async function openSafety(page, name) {
  await page.locator('.list button.row', { hasText: name }).click();
  await page.locator('.who').waitFor();
  await page.keyboard.press('Control+Shift+V');
  await page.locator('.qr path[d^=M]').waitFor({ state: 'attached' });
}

const picture = (buffer, name = 'code.png', mimeType = 'image/png') => ({ name, mimeType, buffer });
const choose = (page, file) => page.locator('.scan input[type=file]').setInputFiles(file);

/** Pastes or drops a file, as the browser does. */
const give = (page, kind, buffer) =>
  page.evaluate(
    ({ kind, data }) => {
      const transfer = new DataTransfer();
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      transfer.items.add(new File([bytes], 'code.png', { type: 'image/png' }));
      const init = { bubbles: true, cancelable: true };
      const event =
        kind === 'paste'
          ? new ClipboardEvent('paste', { ...init, clipboardData: transfer })
          : new DragEvent('drop', { ...init, dataTransfer: transfer });
      document.querySelector('.scan').dispatchEvent(event);
    },
    { kind, data: buffer.toString('base64') },
  );

const isVerified = async (person, other) =>
  (await person.command('contacts', 'list')).find((contact) => contact.user_id === other.self.user_id)?.verified;

test('a picture of the wrong code, of no code, and of the right one', { skip }, async () => {
  const page = await alice.page({ width: 1100, height: 800 });
  await openSafety(page, 'Bob');
  await page.getByRole('button', { name: 'Scan code' }).click();
  // There is no camera: one plain line, and pictures stay.
  await page.locator('.scan [role=status]', { hasText: 'A picture of the code will do.' }).waitFor();
  assert.equal(await page.locator('.scan video').isVisible(), false);

  const own = await page.screenshot({ clip: { x: 0, y: 0, width: 300, height: 300 } });
  await choose(page, picture(own));
  await page.getByText('No code was found in that picture.').waitFor();
  await choose(page, picture(Buffer.from('no picture'), 'a.png'));
  await page.getByText('That picture cannot be read.').waitFor();
  await choose(page, picture(codes.link.png));
  await page.getByText('That code is not a safety number.').waitFor();

  await choose(page, picture(codes.carol.png)); // is about Carol and Alice
  await page.getByRole('alert').getByText('These do not match').waitFor();
  await page.getByText('Do not send secrets here.').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Mark as verified' }).count(), 0);
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.scan').waitFor();
  await give(page, 'drop', codes.carol.png);
  await page.getByRole('alert').getByText('These do not match').waitFor();
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.locator('.scan').getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Scan code' }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Mark as verified' }).count(), 0, 'easily verified after a mismatch');
  assert.ok(await page.getByRole('button', { name: 'Scan code' }).evaluate((button) => button === document.activeElement));
  assert.equal(await isVerified(alice, bob), false);

  await page.getByRole('button', { name: 'Scan code' }).click();
  await page.locator('.scan').waitFor();
  await give(page, 'paste', codes.bob.png);
  await page.getByText('The numbers match').waitFor();
  await page.getByText('Alice and Bob talk to each other').waitFor();
  assert.equal(await isVerified(alice, bob), true);
  assert.equal(await isVerified(bob, alice), false, 'one side scans for itself alone');
  await page.getByRole('button', { name: 'Done' }).click();
  await page.locator('.vpill', { hasText: 'Verified' }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test('a contact link', { skip }, async () => {
  const page = await bob.page({ width: 1100, height: 800, link: await bob.newLink() });
  await page.locator('.list .row').first().waitFor();
  await page.keyboard.press('Alt+n');
  await page.getByRole('button', { name: 'Scan code' }).click();
  await page.locator('.scan').waitFor();
  await choose(page, picture(codes.bob.png)); // a safety number is no link
  await page.getByText('That code is not a contact link.').waitFor();
  await choose(page, picture(codes.link.png));
  await page.locator('.scan').waitFor({ state: 'detached' });
  await page.locator('.print').waitFor();
  assert.equal((await page.locator('.print').innerText()).replace(/\s/g, ''), carol.self.user_id);
  await page.waitForFunction(() => document.activeElement?.textContent === 'Start chat');
  await page.keyboard.press('Enter');
  await page.getByText('Waiting for an answer to your request').waitFor();
  assert.ok((await bob.command('contacts', 'list')).some((contact) => contact.user_id === carol.self.user_id));
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test('by camera, which goes off with the view', { skip }, async () => {
  const film = join(world.dir, 'film.mjpeg');
  writeFileSync(film, (await shown(alice, 'Bob', await alice.newLink())).film);
  const browser = await launch('--use-fake-device-for-media-stream', `--use-file-for-fake-video-capture=${film}`);
  try {
    // Refused: one line.
    const refused = await bob.page({ browser, link: await bob.newLink(), width: 1100, height: 800 });
    await openSafety(refused, 'Alice');
    await refused.getByRole('button', { name: 'Scan code' }).click();
    await refused.locator('.scan [role=status]', { hasText: 'The camera may not be used here.' }).waitFor();
    await refused.context().close();

    const page = await bob.page({ browser, link: await bob.newLink(), width: 1100, height: 800, permissions: ['camera'] });
    await openSafety(page, 'Alice');
    await page.evaluate(() => {
      const media = navigator.mediaDevices;
      const open = media.getUserMedia.bind(media);
      window.tracks = [];
      media.getUserMedia = async (wanted) => {
        const stream = await open(wanted);
        window.tracks.push(...stream.getTracks());
        return stream;
      };
    });
    const off = () => page.waitForFunction(() => window.tracks.length > 0 && window.tracks.every((track) => track.readyState === 'ended'));
    await page.getByRole('button', { name: 'Scan code' }).click();
    await page.getByText('The numbers match').waitFor();
    await off();
    await page.getByRole('button', { name: 'Done' }).click();
    assert.equal(await isVerified(bob, alice), true);

    // Closed while the camera runs, on another person's code: it goes off too.
    await page.evaluate(() => (window.tracks = []));
    await page.keyboard.press('Alt+n');
    await page.getByRole('button', { name: 'Scan code' }).click();
    await page.getByText('That code is not a contact link.').waitFor();
    assert.ok(await page.locator('.scan video').isVisible());
    assert.ok(await page.evaluate(() => window.tracks.some((track) => track.readyState === 'live')));
    await page.keyboard.press('Escape');
    await off();
    assert.deepEqual(page.faults, []);
  } finally {
    await browser.close();
  }
});
