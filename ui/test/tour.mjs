// A walk through every screen of the window, for pictures and for axe.
import { password } from './world.mjs';

/**
 * Walks through the window of Jonas, and of somebody new, and calls
 * visit(name, page) wherever there is something to look at.
 */
export async function tour(world, people, { language, dark, width, height }, visit, { gates = true } = {}) {
  const options = { width, height, dark, locale: language === 'zh' ? 'zh-CN' : 'en-GB' };
  const { jonas } = people;
  await jonas.command('settings', 'language', language);
  const take = async (name) => {
    await page.evaluate(() => document.fonts.ready);
    await page.waitForTimeout(100); // rows are measured, then shown
    await visit(name, page);
  };
  let page = await jonas.page({ ...options, link: await jonas.newLink() });
  const key = (name) => page.keyboard.press(name);
  const row = (person) => page.locator(`.list button.row[title="${person.self.display_name}"]`).first();
  const back = async () => width < 560 && page.locator('.back').click();

  await page.waitForSelector('.list .row');
  await take('list');
  await row(people.lin_xiaoyu).click();
  await page.waitForSelector('.m');
  await page.locator('[data-composer]').fill('算上我们一家 😄 I’ll book the cabin');
  await take('chat');
  await page.locator('.m').last().click({ button: 'right' });
  await page.waitForSelector('.pop');
  await take('bubble-menu');
  await key('Escape');
  await page.locator('[data-composer]').focus();
  await key('Control+Shift+I');
  await page.waitForSelector('.insp .ev');
  await take('inspector');
  await page.locator('.ev .line').nth(1).click();
  await take('inspector-step');
  await key('Control+Shift+I');
  await page.locator('.chat > header button').last().click();
  await take('menu');
  await key('Escape');
  await page.locator('.who .name').click();
  await page.waitForSelector('.details .kv');
  await take('details');
  await page.locator('.details header .ib').click();
  await key('Control+Shift+V');
  await page.waitForSelector('.qr path[d^=M]');
  await take('safety-verified');
  await key('Escape');
  await key('Control+k');
  await page.locator('.query input').fill('re');
  await page.waitForSelector('.hits li:has-text("ridge"), .hits .av');
  await page.waitForTimeout(250);
  await take('palette');
  await key('Escape');
  await key('Alt+n');
  await page.waitForSelector('.qr path[d^=M]');
  await take('new');
  await page.locator('.one input').fill('zoe');
  await key('Enter');
  await page.waitForSelector('.print');
  await take('new-known');
  await key('Escape');
  await key('Alt+n');
  await page.locator('.one input').fill('alice'); // names somebody else now, who is no contact
  await key('Enter');
  await page.waitForSelector('.print');
  await take('new-found');
  await key('Escape');
  await key('Control+,');
  for (const tab of ['account', 'privacy', 'appearance', 'chats', 'language', 'about']) {
    await page.locator(`#tab-${tab}`).click();
    await take(`settings-${tab}`);
  }
  await page.locator('.side2 input').fill(language === 'zh' ? '消息' : 'message');
  await page.waitForSelector('.page h3');
  await take('settings-search');
  await key('Escape');
  await key('Escape');
  await key('Control+/');
  await take('shortcuts');
  await key('Escape');
  await page.locator('[data-composer]').focus();
  await key('Control+e');
  await page.waitForSelector('.emoji .grid button');
  await take('emoji');
  await key('Escape');
  await page.locator('[data-composer]').fill('');
  await page.locator('[data-composer]').pressSequentially(language === 'zh' ? '好的：笑' : 'Great :smi');
  await page.waitForSelector('.complete');
  await take('complete');
  await page.locator('[data-composer]').fill('');
  await key('Control+f');
  await page.locator('.find input').fill('the');
  await page.waitForFunction(() => document.querySelector('.find span')?.textContent !== '');
  await take('find');
  await key('Escape');
  await back();
  await row({ self: { display_name: 'Bоb Andersson' } }).click();
  await page.waitForSelector('.banner');
  await take('request');
  await back();
  await row(people.alice).click();
  await page.waitForSelector('.banner.amber');
  await take('keychange');
  await key('Control+Shift+V');
  await page.waitForSelector('.qr path[d^=M]');
  await take('safety-changed');
  await key('Escape');
  await back();
  await row(people.chenjia).click();
  await key('Control+Shift+V');
  await page.waitForSelector('.qr path[d^=M]');
  await take('safety');
  await page.locator('.dlg .right .acts .btn').nth(1).click(); // scan
  await page.waitForSelector('.scan [role=status]:not(:empty)');
  await take('scan');
  await key('Escape');
  await back();
  if (width > 820) {
    await page.locator('.rail button').nth(2).click();
    await take('contacts');
  }
  await page.locator(width > 820 ? '.rail button' : '.menu:visible').nth(width > 820 ? 3 : 0).click();
  if (width <= 820) await page.locator('.pop button').nth(4).click();
  await page.waitForSelector('.labpane .say');
  await page.locator('.labpane .btn.small').first().click(); // begin anew
  await page.waitForSelector('.wire .nothing');
  const say = (party) => page.locator(`.p${party} .send`).click();
  const envelope = (n, button) => page.locator('.wire li', { hasText: `#${n}` }).locator('button').nth(button).click();
  for (const party of [0, 0, 0]) await say(party);
  await page.waitForSelector('.wire li:nth-child(3)');
  await envelope(3, 0);
  await page.waitForSelector('.wire .opened');
  await envelope(2, 1);
  await page.waitForSelector('.wire .dropped');
  await envelope(1, 2);
  await envelope(1, 0);
  await page.waitForSelector('.wire .refused');
  await say(1);
  await page.waitForSelector('.wire li:nth-child(4)');
  await take('lab');
  await page.context().close();
  if (!gates) return;

  await jonas.command('lock');
  page = await jonas.page({ ...options, link: await jonas.newLink() });
  await page.waitForSelector('input[type=password]');
  await take('unlock');
  await page.locator('input').fill('wrong');
  await key('Enter');
  await page.waitForSelector('.field.bad');
  await take('unlock-wrong');
  await page.locator('input').fill(password);
  await key('Enter');
  await page.waitForSelector('.list .row');
  await page.context().close();

  const fresh = world.person(`new-${language}-${dark}-${width}`);
  await fresh.startApp();
  page = await fresh.page(options);
  await page.waitForSelector('#w-user');
  await take('welcome');
  await page.locator('#w-user').fill('fresh_' + Math.random().toString(36).slice(2, 8));
  await page.locator('#w-name').fill('Jonas Berg');
  for (const input of await page.locator('input[type=password]').all()) await input.fill(password);
  await take('welcome-filled');
  await key('Enter');
  await page.waitForSelector('.steps');
  await take('creating');
  await page.waitForSelector('.list, .hintpane');
  await take('empty');
  await fresh.stopApp();
  await page.waitForSelector('.gate [role=alert]');
  await take('stopped');
  await page.context().close();
}
