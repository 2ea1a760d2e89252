import { i18n } from './i18n.svelte';

/** An emoji: its group, itself, its name in both languages, the words it is found by, its five skin tones. */
export type Emoji = [group: number, emoji: string, en: string, zh: string, words: string, tones?: string[]];

let loading: Promise<Emoji[]> | undefined;

/** All emoji, read from the program when they are needed for the first time. */
export function emoji(): Promise<Emoji[]> {
  loading ??= fetch('/emoji.json', { credentials: 'omit' }).then((response) => response.json() as Promise<Emoji[]>);
  loading.catch(() => (loading = undefined));
  return loading;
}

/** The emoji in a skin tone, 1 to 5, if it has any. */
export function toned(row: Emoji, tone: number): string {
  return (tone > 0 ? row[5]?.[tone - 1] : undefined) ?? row[1];
}

/** The name in the language of the window. */
export function emojiName(row: Emoji): string {
  return i18n.resolved === 'zh' ? row[3] : row[2];
}

/** Up to limit emoji that go by a word in either language, the likeliest first. */
export function findEmoji(rows: readonly Emoji[], query: string, limit: number): Emoji[] {
  const wanted = query.toLowerCase().replaceAll('_', ' ');
  const ranked: [rank: number, row: Emoji][] = [];
  for (const row of rows) {
    const rank = Math.min(...[row[2], row[3]].map((name) => likeness(name.toLowerCase(), wanted)), likeness(row[4].toLowerCase(), wanted) + 2);
    if (rank < 8) ranked.push([rank, row]);
  }
  return ranked
    .sort((a, b) => a[0] - b[0]) // stable: within a rank they stay in their order
    .slice(0, limit)
    .map(([, row]) => row);
}

function likeness(text: string, wanted: string): number {
  if (text === wanted) return 0;
  if (text.startsWith(wanted)) return 1;
  if (text.includes(' ' + wanted)) return 2;
  return text.includes(wanted) ? 5 : 100;
}
