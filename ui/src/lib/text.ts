// A message's text as pieces to show. Everything stays text: the pieces say how it
// looks, never what it is.

export type Piece =
  | { kind: 'text' | 'bold' | 'italic' | 'strike' | 'code' | 'block'; text: string }
  | { kind: 'link'; text: string; href: string; host: string };

const link = /\b(?:https?:\/\/|mailto:)[^\s<>"'`]+/giu;
const marks = /```\n?([\s\S]+?)\n?```|`([^`\n]+)`|\*\*(\S(?:[^\n]*?\S)?)\*\*|~~(\S(?:[^\n]*?\S)?)~~|(?<![\w*])\*(\S(?:[^*\n]*?\S)?)\*(?![\w*])/gu;

function links(text: string, out: Piece[]): void {
  let from = 0;
  for (const match of text.matchAll(link)) {
    const raw = match[0].replace(/[.,;:!?)\]}。，；：！？）】》」]+$/u, '');
    let url: URL;
    try {
      url = new URL(raw);
    } catch {
      continue;
    }
    if (!['http:', 'https:', 'mailto:'].includes(url.protocol)) continue;
    if (match.index > from) out.push({ kind: 'text', text: text.slice(from, match.index) });
    // The host as it is looked up, where it could pass for another one.
    const odd = url.hostname.split('.').some((part) => part.startsWith('xn--')) || url.username !== '';
    out.push({ kind: 'link', text: raw, href: url.href, host: odd ? url.hostname : '' });
    from = match.index + raw.length;
  }
  if (from < text.length) out.push({ kind: 'text', text: text.slice(from) });
}

/** Splits a text into its pieces. */
export function pieces(text: string): Piece[] {
  const out: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(marks)) {
    if (match.index > from) links(text.slice(from, match.index), out);
    const [all, block, code, bold, strike, italic] = match;
    if (block !== undefined) out.push({ kind: 'block', text: block });
    else if (code !== undefined) out.push({ kind: 'code', text: code });
    else if (bold !== undefined) out.push({ kind: 'bold', text: bold });
    else if (strike !== undefined) out.push({ kind: 'strike', text: strike });
    else if (italic !== undefined) out.push({ kind: 'italic', text: italic });
    from = match.index + all.length;
  }
  if (from < text.length) links(text.slice(from), out);
  return out;
}
