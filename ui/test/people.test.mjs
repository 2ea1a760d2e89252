// Two people, from signing up to a verified chat: by mouse, and by keyboard alone.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browserPath, password, World } from './world.mjs';

const skip = browserPath ? false : 'no Chromium';
let world;

before(async () => {
  if (skip) return;
  world = await World.open();
  await world.startRelay();
});
after(() => world?.close());

/** The digits of the safety number that is shown. */
const digits = (page) => page.locator('.nums').innerText().then((text) => text.replace(/\D/g, ''));

const ticks = (page) => page.locator('.m.me .ticks .vh').last();

test('by mouse', { skip }, async () => {
  const [alice, bob] = await Promise.all([open('alice'), open('bob')]);
  await signUpByMouse(alice, 'alice_m', 'Alice');
  await signUpByMouse(bob, 'bob_m', 'Bob');

  await alice.getByRole('button', { name: 'Find someone' }).first().click();
  await alice.getByPlaceholder('User name, ID or link').click();
  await alice.keyboard.type('@bob_m');
  await alice.getByRole('button', { name: 'Find', exact: true }).click();
  // The fingerprint that Alice sees is the one that Bob's own window tells him.
  await bob.getByRole('button', { name: 'Settings' }).click();
  const own = (await bob.locator('.page .mono').first().innerText()).replace(/\s/g, '');
  await bob.keyboard.press('Escape');
  assert.match(own, /^[a-z2-7]{32}$/);
  assert.equal((await alice.locator('.print').innerText()).replace(/\s/g, ''), own);
  await alice.getByRole('button', { name: 'Start chat' }).click();
  await alice.getByText('Waiting for an answer to your request').waitFor();

  await bob.getByRole('button', { name: /^Contacts, Requests: 1/ }).click();
  await bob.getByRole('button', { name: 'Accept', exact: true }).click();
  await bob.locator('.list button.row', { hasText: 'Alice' }).click();
  await alice.locator('.who p', { hasText: 'Online' }).waitFor();

  await alice.locator('[data-composer]').click();
  await alice.keyboard.type('Hello Bob 你好');
  await alice.getByRole('button', { name: 'Send', exact: true }).click();
  await bob.locator('.m .tx', { hasText: 'Hello Bob 你好' }).waitFor();
  await ticks(alice).filter({ hasText: 'Sent' }).waitFor({ state: 'attached' });
  await bob.locator('[data-composer]').click();
  await bob.keyboard.type('Hello Alice');
  await bob.getByRole('button', { name: 'Send', exact: true }).click();
  await alice.locator('.m:not(.me) .tx', { hasText: 'Hello Alice' }).waitFor();

  // They read their numbers out to each other.
  for (const page of [alice, bob]) {
    await page.getByRole('button', { name: 'More' }).click();
    await page.getByRole('menuitem', { name: 'Safety number' }).click();
    await page.locator('.qr path[d^=M]').waitFor({ state: 'attached' });
  }
  const number = await digits(bob);
  assert.match(number, /^\d{60}$/);
  assert.equal(await digits(alice), number);
  const compare = async (value) => {
    await alice.getByRole('button', { name: 'Compare a number' }).click();
    await alice.getByPlaceholder(/60 digits/).fill(value);
    await alice.getByRole('button', { name: 'Compare', exact: true }).click();
  };
  await compare(number.replace(/^\d/, (d) => String((Number(d) + 1) % 10)));
  await alice.getByText('These do not match').waitFor();
  assert.equal(await alice.locator('.vpill').count(), 0, 'a wrong number verifies');
  await alice.getByRole('button', { name: 'Try again' }).click();
  await alice.getByPlaceholder(/60 digits/).fill(number);
  await alice.getByRole('button', { name: 'Compare', exact: true }).click();
  await alice.getByText('The numbers match').waitFor();
  await alice.getByRole('button', { name: 'Done' }).click();
  await alice.locator('.vpill', { hasText: 'Verified' }).waitFor();
  await bob.getByRole('button', { name: 'Mark as verified' }).click();
  await bob.getByRole('button', { name: 'Done' }).click();
  await bob.locator('.vpill', { hasText: 'Verified' }).waitFor();
  clean(alice, bob);
});

test('by keyboard alone', { skip }, async () => {
  const [alice, bob] = await Promise.all([open('alice-keys'), open('bob-keys')]);
  await signUpByKeyboard(alice, 'alice_k', 'Alice');
  await signUpByKeyboard(bob, 'bob_k', 'Bob');

  await alice.keyboard.press('Alt+n');
  await alice.getByPlaceholder('User name, ID or link').waitFor();
  await alice.keyboard.type('bob_k');
  await alice.keyboard.press('Enter');
  await alice.locator('.print').waitFor();
  await alice.waitForFunction(() => document.activeElement?.textContent === 'Start chat');
  await alice.keyboard.press('Enter');
  await alice.getByText('Waiting for an answer to your request').waitFor();

  await bob.locator('.list .row').waitFor();
  await bob.keyboard.press('Alt+1');
  await bob.locator('.banner').waitFor();
  await tabTo(bob, bob.getByRole('button', { name: 'Accept', exact: true }));
  await bob.keyboard.press('Enter');
  await bob.locator('[data-composer]').waitFor();
  await alice.locator('.who p', { hasText: 'Online' }).waitFor();

  await alice.keyboard.type('Hello Bob');
  await alice.keyboard.press('Shift+Enter');
  await alice.keyboard.type('second line');
  await alice.keyboard.press('Enter');
  await bob.locator('.m .tx', { hasText: 'Hello Bob\nsecond line' }).waitFor();
  await tabTo(bob, bob.locator('[data-composer]'));
  await bob.keyboard.type('Hi');
  await bob.keyboard.press('Enter');
  await alice.locator('.m:not(.me) .tx', { hasText: 'Hi' }).waitFor();

  // Into the conversation, to the newest message, and back.
  await alice.keyboard.press('Shift+F6');
  await alice.keyboard.press('End');
  await alice.waitForFunction(() => document.activeElement?.matches('.m:not(.me)'));
  await alice.keyboard.press('ArrowUp');
  await alice.waitForFunction(() => document.activeElement?.matches('.m.me'));
  await alice.keyboard.press('Escape');
  await alice.waitForFunction(() => document.activeElement?.matches('[data-composer]'));

  for (const page of [alice, bob]) {
    await page.keyboard.press('Control+Shift+V');
    await page.locator('.qr path[d^=M]').waitFor({ state: 'attached' });
  }
  assert.equal(await digits(alice), await digits(bob));
  for (const page of [alice, bob]) {
    await tabTo(page, page.getByRole('button', { name: 'Mark as verified' }));
    await page.keyboard.press('Enter');
    await page.getByText('The numbers match').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('.vpill', { hasText: 'Verified' }).waitFor();
  }
  clean(alice, bob);
});

async function open(name) {
  const person = world.person(name);
  await person.startApp();
  return person.page({ width: 1100, height: 800 });
}

async function signUpByMouse(page, username, name) {
  await page.getByLabel('User name').click();
  await page.keyboard.type(username.toUpperCase());
  await page.getByLabel('Your name, as others see it').click();
  await page.keyboard.type(name);
  await page.getByLabel('Password', { exact: true }).click();
  await page.keyboard.type(password);
  await page.getByLabel('Password again', { exact: true }).click();
  await page.keyboard.type(password + '?');
  await page.getByRole('button', { name: 'Create account' }).click();
  await page.getByText('The two passwords are not the same.').waitFor();
  await page.getByLabel('Password again', { exact: true }).click();
  await page.keyboard.press('End');
  await page.keyboard.press('Backspace');
  await page.getByRole('button', { name: 'Create account' }).click();
  await page.getByText('No chats yet').waitFor();
}

async function signUpByKeyboard(page, username, name) {
  await page.waitForFunction(() => document.activeElement?.id === 'w-user');
  await page.keyboard.type(username);
  await page.keyboard.press('Tab');
  await page.keyboard.type(name);
  await tabTo(page, page.getByLabel('Password', { exact: true }));
  await page.keyboard.type(password);
  await tabTo(page, page.getByLabel('Password again', { exact: true }));
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  await page.getByText('No chats yet').waitFor();
}

/** Presses Tab until an element has the focus. */
async function tabTo(page, locator) {
  for (let n = 0; n < 60; n++) {
    if (await locator.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`Tab does not reach ${locator}`);
}

function clean(...pages) {
  for (const page of pages) assert.deepEqual(page.faults, []);
}
