import type { ProtocolEvent } from './api.gen';

// What the inspector shows, worked out from the protocol events: the lines of the
// stream, and the cells of the two chains.

export interface Line {
  key: string;
  what: 'handshake_out' | 'handshake_in' | 'encrypted' | 'decrypted' | 'late' | 'ratchet_out' | 'ratchet_in' | 'skipped' | 'refused' | 'epoch' | 'other';
  icon: 'handshake' | 'lock' | 'unlock' | 'ratchet' | 'late' | 'refused' | 'epoch';
  tone: '' | 'a' | 'g' | 'w' | 'r';
  n: number;
  count: number;
  reason: string;
  key_shown: string;
  event: ProtocolEvent;
}

/** The stream, newest first: a message whose chain is new shows its ratchet step too. */
export function lines(events: readonly ProtocolEvent[]): Line[] {
  const out: Line[] = [];
  for (const event of events) {
    const line = (what: Line['what'], icon: Line['icon'], tone: Line['tone'], rest: Partial<Line> = {}): void => {
      out.push({ key: `${event.id}-${what}`, what, icon, tone, n: 0, count: 0, reason: '', key_shown: '', event, ...rest });
    };
    switch (event.kind) {
      case 'handshake':
        line(event.setup?.initiator ? 'handshake_out' : 'handshake_in', 'handshake', 'a', { key_shown: event.setup?.base_key ?? '' });
        break;
      case 'encrypted':
      case 'decrypted': {
        for (const step of event.steps) {
          if (step.kind === 'root_sending') line('ratchet_out', 'ratchet', 'a', { n: step.n, key_shown: step.our });
          if (step.kind === 'root_receiving') line('ratchet_in', 'ratchet', 'a', { n: step.n, key_shown: step.their });
          if (step.kind === 'skipped') line('skipped', 'late', 'w', { count: step.count });
        }
        const late = event.steps.find((step) => step.kind === 'skipped_key_used');
        const n = event.steps.at(-1)?.n ?? 0;
        if (event.pq && event.pq.completed > 0) line('epoch', 'epoch', 'g', { n: event.pq.completed });
        if (late) line('late', 'late', 'g', { n: late.n });
        else if (event.kind === 'encrypted') line('encrypted', 'lock', '', { n });
        else line('decrypted', 'unlock', 'g', { n });
        break;
      }
      case 'refused':
        line('refused', 'refused', 'r', { reason: event.steps.at(-1)?.reason ?? '' });
        break;
      default:
        line('other', 'handshake', '');
    }
  }
  return out.reverse().slice(0, 500);
}

/** A cell of a chain: d done, n the newest, o the next one, k put aside, '' not yet. */
export type Cell = 'd' | 'n' | 'o' | 'k' | '';

const width = 8;

/** The last cells of the sending and the receiving chain. */
export function chains(events: readonly ProtocolEvent[]): { sending: Cell[]; receiving: Cell[] } {
  let sent = 0;
  let received = 0;
  let aside = new Set<number>();
  for (const event of events) {
    if (event.counters) {
      sent = event.counters.sent;
      received = event.counters.received;
    }
    for (const step of event.steps) {
      if (step.kind === 'root_receiving' || event.kind === 'handshake') aside = new Set();
      if (step.kind === 'skipped') for (let n = step.n; n < step.n + Math.min(step.count, 1000); n++) aside.add(n);
      if (step.kind === 'skipped_key_used') aside.delete(step.n);
    }
  }
  const cells = (count: number, next: boolean, held: Set<number>): Cell[] => {
    const from = Math.max(0, count + 2 - width);
    return Array.from({ length: width }, (_, i) => {
      const n = from + i;
      if (n >= count) return n === count && next ? 'o' : '';
      if (held.has(n)) return 'k';
      return n === count - 1 ? 'n' : 'd';
    });
  };
  return { sending: cells(sent, true, new Set()), receiving: cells(received, false, aside) };
}
