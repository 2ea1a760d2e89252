// The people and conversations of the screenshots, made by the real programs.

const others = [
  ['lin_xiaoyu', 'Lin Xiaoyu 林晓雨'],
  ['bob', 'Bob Andersson'],
  ['alice', 'Alice Martin'],
  ['wanglei', '王磊'],
  ['chenjia', 'Chen Jia 陈佳'],
  ['grace', 'Grace Hopper'],
  ['oncall', 'Ops on-call 🚨'],
  ['mum', 'Mum 妈妈'],
  ['zoe', 'Zoë Kravitz'],
];

/** Waits until somebody has a text of somebody else. */
export const hears = (person, from, text) =>
  person.until((items) => items.some((item) => item.text === text), 'log', from.self.user_id);

/**
 * Registers everybody and plays the conversations. The window of Jonas is the one
 * to show; his app runs, and the others are online or have gone.
 */
export async function tell(world) {
  const jonas = await world.register('jonas', 'Jonas');
  await jonas.command('settings', 'auto-accept', 'on');
  await jonas.startApp();
  const people = { jonas };
  for (const [name, displayName] of others) {
    const person = await world.register(name, displayName);
    people[name] = person;
    await person.startDaemon();
    await person.command('contacts', 'add', jonas.self.user_id);
    await person.until(([contact]) => contact?.state === 'accepted', 'contacts', 'list');
  }
  const say = async (from, to, text) => {
    await from.command('send', to.self.user_id, text);
    await hears(to, from, text);
  };
  const { lin_xiaoyu: lin, bob, alice, wanglei, chenjia, grace, oncall, mum, zoe } = people;

  await say(zoe, jonas, 'See you on Friday at the gallery');
  await say(mum, jonas, '到家了吗？');
  await say(jonas, mum, '到家了给我打个电话 ❤️');
  await say(oncall, jonas, 'eu-relay-2 back to normal, queue drained in 40 s');
  await say(grace, jonas, 'Did you see the log book?');
  await say(chenjia, jonas, '新的配色我很喜欢，深色的也好看');
  await say(wanglei, jonas, '合同今天能给我吗？');
  await say(jonas, wanglei, '好的，我下午三点前发给你 👌');
  await say(alice, jonas, 'I have a new phone, writing soon');
  for (const person of [alice, zoe, mum, oncall, grace, chenjia]) await read(jonas, person);

  await say(jonas, lin, '晚安 🌙 talk tomorrow');
  await say(lin, jonas, 'Morning! Did the build go through overnight?');
  await say(lin, jonas, '昨天那张架构图也发我一份吧，我要放进文档里。');
  await say(jonas, lin, 'All green, **412 tests** in 38 s 🎉 图在这里：');
  await say(jonas, lin, 'https://docs.example.org/ratchet-architecture');
  await read(jonas, lin);
  for (const person of [lin, bob]) {
    const { number } = await jonas.command('safety', person.self.user_id);
    await jonas.command('verify', person.self.user_id, number);
  }
  await say(bob, jonas, 'Morning');
  await say(bob, jonas, 'The relay test is flaky on arm64, I think it is the clock');
  await say(bob, jonas, 'Pushed the fix, can you pull?');
  await say(lin, jonas, '周末去爬山吧！The ridge at 05:40 ⛰️🌤️');
  await say(lin, jonas, 'Bring the kids 🥾🎒 there is room for four.');

  // Another account has the username alice now.
  const { number } = await jonas.command('safety', alice.self.user_id);
  await jonas.command('verify', alice.self.user_id, number);
  await alice.stopDaemon();
  await alice.command('account', 'delete');
  const other = world.person('alice_anew');
  other.self = await other.command('register', 'alice', '--display-name', 'Alice Martin');
  await jonas.command('send', alice.self.user_id, 'Good luck with it!');
  await jonas.until((contacts) => contacts.some((c) => c.key_changed), 'contacts', 'list');

  // Somebody whom nobody knows asks.
  const stranger = await world.register('b0b', 'Bоb Andersson'); // the second letter is Cyrillic
  await jonas.command('settings', 'auto-accept', 'off');
  await stranger.command('contacts', 'add', jonas.self.user_id);
  await stranger.command('send', jonas.self.user_id, 'Hi, it is me, Bob. I lost my phone.');
  await jonas.until((contacts) => contacts.some((c) => c.state === 'incoming'), 'contacts', 'list');

  for (const person of [zoe, mum, oncall, grace]) await person.stopDaemon();
  return people;
}

/** Marks what there is of a conversation as read, through the local API. */
async function read(person, other) {
  const items = await person.command('log', other.self.user_id);
  await person.post('chats/read', { who: other.self.user_id, upto: items.at(-1).id });
}
