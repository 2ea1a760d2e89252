import type { Contact } from './api.gen';
import { i18n } from './i18n.svelte';

/** The characters that turn text around or cannot be seen have no place in a name. */
const unseen = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/** A name as it may be shown on one line. */
export function clean(name: string): string {
  return name.replace(unseen, '').replace(/\s+/gu, ' ').trim().slice(0, 80);
}

/** What a contact is called. */
export function nameOf(c: Pick<Contact, 'display_name' | 'username' | 'user_id'>): string {
  return clean(c.display_name) || clean(c.username) || shortId(c.user_id);
}

/** The beginning of a user ID, enough to tell a few people apart. */
export function shortId(id: string): string {
  return id.slice(0, 4) + ' ' + id.slice(4, 8);
}

/** A user ID in groups of four. */
export function groupId(id: string): string {
  return id.match(/.{1,4}/g)?.join(' ') ?? id;
}

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** The letter on an avatar: the first grapheme, or the family name of a Chinese one. */
export function initial(name: string): string {
  const han = /\p{Script=Han}/u.exec(name);
  if (han) return han[0];
  for (const { segment } of graphemes.segment(name)) {
    if (/[\p{L}\p{N}]/u.test(segment)) return segment.toLocaleUpperCase();
  }
  return '?';
}

/** One of the eight gradients, always the same for the same ID. */
export function gradient(id: string): number {
  let hash = 2166136261;
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16777619) >>> 0;
  return (hash % 8) + 1;
}

const lookAlikes: Record<string, string> = {
  а: 'a', е: 'e', о: 'o', р: 'p', с: 'c', у: 'y', х: 'x', і: 'i', ј: 'j', ѕ: 's', һ: 'h', ԁ: 'd', ӏ: 'l', в: 'b',
  к: 'k', м: 'm', н: 'h', т: 't', α: 'a', ο: 'o', ρ: 'p', ν: 'v', ι: 'i', κ: 'k', υ: 'u', τ: 't', ε: 'e', '0': 'o',
  '1': 'l', '|': 'l',
}; // prettier-ignore

/** What a name looks like: two names with the same skeleton are easily mistaken. */
export function skeleton(name: string): string {
  return [...clean(name).normalize('NFKD').toLowerCase().replace(/\p{M}|[\s._-]/gu, '')]
    .map((c) => lookAlikes[c] ?? c)
    .join('')
    .replaceAll('rn', 'm')
    .replaceAll('i', 'l');
}

function dayNumber(d: Date): number {
  return Math.floor((d.getTime() - d.getTimezoneOffset() * 60_000) / 86_400_000);
}

/** Whether two times are of the same day here. */
export function sameDay(a: string, b: string): boolean {
  return dayNumber(new Date(a)) === dayNumber(new Date(b));
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = i18n.locale + JSON.stringify(options);
  let f = formats.get(name);
  if (!f) formats.set(name, (f = new Intl.DateTimeFormat(i18n.locale, options)));
  return f;
}

/** The time of day. */
export function clock(at: string, seconds = false): string {
  const options: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  return format(seconds ? { ...options, second: '2-digit' } : options).format(new Date(at));
}

/** The day, as a pill between messages says it. */
export function day(at: string): string {
  const d = new Date(at);
  const now = new Date();
  const ago = dayNumber(now) - dayNumber(d);
  if (ago === 0) return i18n.w.today;
  if (ago === 1) return i18n.w.yesterday;
  if (ago > 1 && ago < 7) return format({ weekday: 'long' }).format(d);
  if (d.getFullYear() === now.getFullYear()) return format({ day: 'numeric', month: 'long' }).format(d);
  return format({ day: 'numeric', month: 'long', year: 'numeric' }).format(d);
}

/** When, as short as a list needs it. */
export function ago(at: string): string {
  const d = new Date(at);
  const now = new Date();
  const days = dayNumber(now) - dayNumber(d);
  if (days === 0) return clock(at);
  if (days === 1) return i18n.w.yesterday;
  if (days > 1 && days < 7) return format({ weekday: 'short' }).format(d);
  if (d.getFullYear() === now.getFullYear()) return format({ day: 'numeric', month: 'short' }).format(d);
  return format({ day: 'numeric', month: 'numeric', year: '2-digit' }).format(d);
}

/** Day and time. */
export function moment(at: string): string {
  return format({ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(new Date(at));
}

/** A day without a time. */
export function date(at: string): string {
  return format({ day: 'numeric', month: 'short', year: 'numeric' }).format(new Date(at));
}

const emojiOnly = /^(?:\p{RGI_Emoji}|\s)+$/v;

/** Whether a text is nothing but up to three emoji. */
export function bigEmoji(text: string): boolean {
  if (text.length > 60 || !emojiOnly.test(text)) return false;
  const n = [...graphemes.segment(text.replace(/\s/gu, ''))].length;
  return n >= 1 && n <= 3;
}

/** Length in bytes. */
export function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}
