import { tick } from 'svelte';
import { ApiError, begin, events, get, post, stay } from './api';
import type {
  Chat,
  Chats,
  Contact,
  Contacts,
  ContactStatus,
  Event,
  Item,
  Items,
  Protocol,
  ProtocolEvent,
  Self,
  Sending,
  Settings,
  Status,
} from './api.gen';
import { nameOf, skeleton } from './format';
import { i18n, type Language } from './i18n.svelte';

/** What the window remembers of itself; the program keeps it beside the profile. */
export interface Preferences {
  theme: 'system' | 'light' | 'dark';
  language: Language;
  text_size: number;
  enter_sends: boolean;
  lock_minutes: number;
  inspector: boolean;
  list_width: number;
  emoji_tone: number;
  notify: 'text' | 'name' | 'nothing' | 'off';
  keep_running: boolean;
  conflict_seen: string;
}

/** What the program says of the profile before it is unlocked. */
export interface WindowState {
  profile: string;
  state: 'none' | 'locked' | 'open';
  name: string;
  user_id: string;
  server: string;
  version: string;
  preferences: Preferences;
}

export type Phase = 'starting' | 'no_key' | 'stopped' | 'broken' | 'welcome' | 'unlock' | 'open';
export type Section = 'chats' | 'contacts' | 'lab';
export type Filter = 'all' | 'unread' | 'unverified';
export type Panel = 'none' | 'inspector' | 'details';
export type Dialog =
  | { kind: 'new' }
  | { kind: 'safety'; who: string }
  | { kind: 'settings' }
  | { kind: 'shortcuts' }
  | { kind: 'palette' }
  | { kind: 'confirm'; text: string; action: string; run: () => Promise<void> };

const page = 50;

/** The part of a conversation that is loaded, oldest first. */
export class History {
  items: Item[] = $state.raw([]);
  /** Nothing older exists. */
  complete = $state(false);
  loaded = $state(false);
  loading = $state(false);
  /** Items have just been put before the others. */
  shift = $state(false);
  /** The first unread item when the chat was opened, and how many there were. */
  marker: { id: string; count: number } | null = $state(null);
  /** Where it was left, if not at the end: an item and the distance from the top. */
  left: { id: string; offset: number } | null = null;

  /** Lets go of what was scrolled through, if the end is in view. */
  trim(): void {
    if (this.left !== null || this.items.length <= 2 * page) return;
    this.items = this.items.slice(-2 * page);
    this.complete = false;
  }
}

export interface Toast {
  id: number;
  text: string;
}

const defaults: Preferences = {
  theme: 'system',
  language: 'auto',
  text_size: 100,
  enter_sends: true,
  lock_minutes: 0,
  inspector: false,
  list_width: 332,
  emoji_tone: 0,
  notify: 'name',
  keep_running: false,
  conflict_seen: '',
};

class App {
  phase: Phase = $state('starting');
  fault = $state('');
  info: WindowState | null = $state(null);
  preferences: Preferences = $state(defaults);

  self: Self | null = $state(null);
  status: Status = $state({ connected: false, outbox: 0, prekeys_left: -1, conflict: null, next_try: null, clock_ahead_s: 0, storage_full: false });
  /** Connected a moment ago: what is shown lags a second, so that a blink is not. */
  settled = $state(false);
  settings: Record<string, string> = $state({});
  chats: Chat[] = $state.raw([]);
  contacts: Contact[] = $state.raw([]);
  chatsLoaded = $state(false);

  section: Section = $state('chats');
  filter: Filter = $state('all');
  selected: string | null = $state(null);
  panel: Panel = $state('none');
  dialog: Dialog | null = $state(null);
  finding = $state(false);
  toasts: Toast[] = $state([]);
  /** Said to screen readers: the newest incoming message. */
  said = $state('');
  /** The item to show and light up. */
  jump: { id: string; at: number } | null = $state(null);
  /** The item whose bubble or event the pointer is at. */
  hovered = $state('');
  focusComposer = $state(0);

  protocol: ProtocolEvent[] = $state.raw([]);
  contactStatus: ContactStatus | null = $state.raw(null);

  /** Emoji used in this window, newest first: what is said stays in the vault, so they are kept nowhere else. */
  emojiRecent: string[] = $state([]);

  usedEmoji(emoji: string): void {
    this.emojiRecent = [emoji, ...this.emojiRecent.filter((e) => e !== emoji)].slice(0, 24);
  }

  histories = new Map<string, History>();
  drafts = new Map<string, string>();

  chat: Chat | null = $derived(this.chats.find((c) => c.contact.user_id === this.selected) ?? null);
  unread: number = $derived(this.chats.reduce((n, c) => n + c.unread, 0));

  #listWanted = false;
  #listBusy = false;
  #toast = 0;
  #draftTimer: ReturnType<typeof setTimeout> | undefined;
  #settleTimer: ReturnType<typeof setTimeout> | undefined;
  #saveTimer: ReturnType<typeof setTimeout> | undefined;
  #stream = 0;
  #stop = (): void => undefined;

  /** Takes the session key and finds out what the profile needs. */
  async start(): Promise<void> {
    // A new link opened in this very tab does not load the page again by itself.
    addEventListener('hashchange', () => location.hash.startsWith('#t=') && location.reload());
    try {
      await begin();
      await this.refresh();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Asks in what state the profile is, and shows that. */
  async refresh(): Promise<void> {
    const info = await get<WindowState>('app');
    this.info = info;
    this.preferences = { ...defaults, ...info.preferences };
    i18n.language = this.preferences.language;
    if (info.state === 'open') return this.open();
    this.phase = info.state === 'none' ? 'welcome' : 'unlock';
    const mine = ++this.#stream;
    void stay().then(
      ({ ended, stop }) => {
        this.#stop = stop;
        void this.stay(ended, mine);
      },
      (error: unknown) => this.fail(error),
    );
  }

  /** Notices that the program has ended while there is no stream of events. */
  private async stay(ended: Promise<void>, mine: number): Promise<void> {
    await ended;
    if (mine === this.#stream) this.fail(new ApiError('gone', ''));
  }

  /** Tells the program whether somebody looks at this page: then it notifies of nothing. */
  looking(): void {
    if (this.phase !== 'open') return;
    void post('app/focus', { focused: document.hasFocus() && !document.hidden }).catch(() => undefined);
  }

  /** Turns an error that is not about one action into what the window shows. */
  fail(error: unknown): void {
    if (error instanceof ApiError && error.code === 'no_key_here') this.phase = 'no_key';
    else if (error instanceof ApiError && error.code === 'gone') this.phase = 'stopped';
    else {
      this.fault = error instanceof Error ? error.message : String(error);
      this.phase = 'broken';
    }
  }

  /** What an error of one action says to people. */
  words(error: unknown): string {
    if (!(error instanceof ApiError)) return i18n.w.errors.internal;
    if (error.code === 'gone' || error.code === 'no_key_here') {
      this.fail(error);
      return i18n.w.stoppedTitle;
    }
    const known = i18n.w.errors as Record<string, string>;
    return known[error.code] || sentence(error.message);
  }

  /** Loads everything of the unlocked profile and follows its events. */
  async open(): Promise<void> {
    const stream = await events();
    const mine = ++this.#stream;
    this.#stop(); // one stream is enough
    const [self, status, settings] = await Promise.all([
      get<Self>('self'),
      get<Status>('status'),
      get<Settings>('settings'),
    ]);
    this.self = self;
    this.settings = settings.settings;
    this.setStatus(status);
    i18n.language = (settings.settings['language'] as Language | undefined) ?? 'auto';
    this.preferences.language = i18n.language;
    this.panel = this.preferences.inspector && innerWidth >= 1180 ? 'inspector' : 'none';
    await this.readList();
    this.phase = 'open';
    this.looking();
    void this.follow(stream, mine);
  }

  private async follow(stream: AsyncGenerator<Event>, mine: number): Promise<void> {
    for await (const event of stream) {
      if (mine !== this.#stream) return;
      this.apply(event);
    }
    if (mine !== this.#stream) return;
    this.forget();
    try {
      await this.refresh(); // the engine was locked, or has stopped
    } catch (error) {
      this.fail(error);
    }
  }

  /** Drops all that belongs to an unlocked profile. */
  private forget(): void {
    this.#stream++;
    this.self = null;
    this.chats = [];
    this.contacts = [];
    this.chatsLoaded = false;
    this.histories.clear();
    this.drafts.clear();
    this.protocol = [];
    this.selected = null;
    this.dialog = null;
    this.finding = false;
    this.panel = 'none';
  }

  private setStatus(status: Status): void {
    this.status = status;
    clearTimeout(this.#settleTimer);
    this.#settleTimer = setTimeout(() => (this.settled = status.connected), status.connected ? 0 : 1000);
  }

  private apply(event: Event): void {
    switch (event.kind) {
      case 'item':
        if (event.item) this.applyItem(event.item);
        if (event.item?.direction === 'out') void this.loadStatus();
        void this.loadList();
        break;
      case 'contact':
        if (event.removed) {
          this.histories.delete(event.removed);
          if (this.selected === event.removed) this.select(null);
        }
        void this.loadList();
        if (event.contact?.user_id === this.selected) void this.loadContactStatus();
        break;
      case 'connection':
        if (event.status) this.setStatus(event.status);
        break;
      case 'protocol':
        if (event.protocol && event.protocol.contact === this.selected) {
          const known = event.protocol;
          this.protocol = [...this.protocol.filter((e) => e.id !== known.id), known].slice(-500);
          void this.loadContactStatus();
        }
        void this.loadStatus();
        break;
      case 'settings':
        void get<Settings>('settings').then((s) => {
          this.settings = s.settings;
          i18n.language = (s.settings['language'] as Language | undefined) ?? 'auto';
        }, () => undefined);
        break;
      case 'lagged':
        void this.loadList();
        void this.loadStatus();
        for (const who of this.histories.keys()) void this.catchUp(who);
        if (this.selected) void this.loadProtocol(this.selected);
        break;
      default: // closed: the stream ends too
    }
  }

  private applyItem(item: Item): void {
    const history = this.histories.get(item.chat);
    if (!history?.loaded) return;
    const at = history.items.findIndex((other) => other.id === item.id);
    if (at >= 0) {
      history.items = history.items.with(at, item);
      return;
    }
    void this.catchUp(item.chat);
    if (item.direction === 'in' && item.kind === 'text' && !item.request && item.chat === this.selected) {
      this.said = i18n.w.saying(item.from_name, item.text.slice(0, 120));
    }
  }

  /** Puts the newest page of a conversation behind what is loaded of it. */
  private async catchUp(who: string): Promise<void> {
    const history = this.histories.get(who);
    if (!history?.loaded) return;
    try {
      const { items } = await post<Items>('chats/history', { who, limit: page });
      const first = items[0];
      const at = first ? history.items.findIndex((item) => item.id === first.id) : history.items.length;
      history.shift = false;
      if (at >= 0) history.items = [...history.items.slice(0, at), ...items];
      else {
        history.items = items;
        history.complete = items.length < page;
      }
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** Reads the lists of chats and contacts; calls in quick succession become two. */
  async loadList(): Promise<void> {
    try {
      await this.readList();
    } catch (error) {
      if (this.phase === 'open') this.note(this.words(error)); // else it has been locked meanwhile
    }
  }

  private async readList(): Promise<void> {
    this.#listWanted = true;
    if (this.#listBusy) return;
    this.#listBusy = true;
    try {
      while (this.#listWanted) {
        this.#listWanted = false;
        const [chats, contacts] = await Promise.all([get<Chats>('chats'), get<Contacts>('contacts')]);
        this.chats = chats.chats;
        this.contacts = contacts.contacts;
        for (const chat of this.chats) {
          if (!this.drafts.has(chat.contact.user_id)) this.drafts.set(chat.contact.user_id, chat.draft);
        }
        this.chatsLoaded = true;
      }
    } finally {
      this.#listBusy = false;
    }
  }

  async loadStatus(): Promise<void> {
    try {
      this.setStatus(await get<Status>('status'));
    } catch {
      // the event stream tells what has become of the program
    }
  }

  private async loadContactStatus(): Promise<void> {
    const who = this.selected;
    if (!who) return;
    try {
      const status = await post<ContactStatus>('contacts/status', { who });
      if (who === this.selected) this.contactStatus = status;
    } catch {
      if (who === this.selected) this.contactStatus = null;
    }
  }

  private async loadProtocol(who: string): Promise<void> {
    try {
      const { events } = await post<Protocol>('protocol', { who, limit: 500 });
      if (who === this.selected) this.protocol = events;
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** Shows a chat, or none. */
  select(who: string | null): void {
    if (who === this.selected) {
      this.focusComposer++;
      return;
    }
    void this.flushDraft();
    const before = this.selected ? this.histories.get(this.selected) : undefined;
    if (before) {
      before.marker = null;
      before.trim();
    }
    this.selected = who;
    this.finding = false;
    this.protocol = [];
    this.contactStatus = null;
    this.said = '';
    if (!who) return;
    void this.loadHistory(who);
    void this.loadProtocol(who);
    void this.loadContactStatus();
  }

  history(who: string): History {
    let history = this.histories.get(who);
    if (!history) this.histories.set(who, (history = new History()));
    return history;
  }

  private async loadHistory(who: string): Promise<void> {
    const history = this.history(who);
    const unread = this.chats.find((c) => c.contact.user_id === who)?.unread ?? 0;
    try {
      if (!history.loaded || unread > history.items.length) {
        history.loading = true;
        const limit = Math.min(1000, Math.max(page, unread + 20));
        const { items } = await post<Items>('chats/history', { who, limit });
        history.items = items;
        history.complete = items.length < limit;
      }
      if (unread > 0) {
        const incoming = history.items.filter((item) => item.direction === 'in' && item.kind !== 'missing');
        const first = incoming[Math.max(0, incoming.length - unread)];
        history.marker = first ? { id: first.id, count: unread } : null;
      }
      history.loaded = true;
    } catch (error) {
      this.note(this.words(error));
    } finally {
      history.loading = false;
    }
  }

  /** Loads what comes before the loaded part. */
  async loadOlder(who: string, limit = page): Promise<void> {
    const history = this.history(who);
    const first = history.items[0];
    if (!history.loaded || history.loading || history.complete || !first) return;
    history.loading = true;
    try {
      const { items } = await post<Items>('chats/history', { who, before: first.id, limit });
      const known = new Set(history.items.map((item) => item.id));
      history.shift = true;
      history.items = [...items.filter((item) => !known.has(item.id)), ...history.items];
      history.complete = items.length < limit;
      await tick();
    } catch (error) {
      this.note(this.words(error));
    } finally {
      history.shift = false;
      history.loading = false;
    }
  }

  /** Shows one message of a chat, and loads up to it if need be. */
  async show(who: string, id: string): Promise<void> {
    if (who !== this.selected) this.select(who);
    this.section = 'chats';
    const history = this.history(who);
    while (!history.loaded) await new Promise((resolve) => setTimeout(resolve, 10));
    while (!history.items.some((item) => item.id === id) && !history.complete) await this.loadOlder(who, 1000);
    this.jump = { id, at: Date.now() };
  }

  /** Notes that the newest message of the chat in view was seen. */
  seen(who: string): void {
    const chat = this.chats.find((c) => c.contact.user_id === who);
    const last = this.history(who).items.at(-1);
    if (!chat || chat.unread === 0 || !last) return;
    void post('chats/read', { who, upto: last.id }).then(() => this.loadList(), () => undefined);
  }

  /** Marks a whole chat as read without opening it. */
  async markRead(who: string): Promise<void> {
    const last = this.chats.find((c) => c.contact.user_id === who)?.last;
    if (!last) return;
    try {
      await post('chats/read', { who, upto: last.id });
      await this.loadList();
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** Sends a text; it is safe once the promise is kept. */
  async send(who: string, text: string): Promise<void> {
    await post<Sending>('messages/send', { who, text, client_id: crypto.randomUUID() });
    const history = this.history(who);
    history.marker = null;
    this.setDraft(who, '');
    void this.flushDraft();
    void this.catchUp(who);
    void this.loadList();
  }

  /** Sends once more what could not be sent. */
  async resend(who: string, text: string): Promise<void> {
    try {
      await post<Sending>('messages/send', { who, text, client_id: crypto.randomUUID() });
      await this.catchUp(who);
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** Keeps what is written, once no key was pressed for a moment. */
  setDraft(who: string, text: string): void {
    if (this.drafts.get(who) === text) return;
    this.drafts.set(who, text);
    this.#pendingDraft = who;
    this.unsaved = text;
    clearTimeout(this.#draftTimer);
    this.#draftTimer = setTimeout(() => void this.flushDraft(), 300);
  }

  #pendingDraft = '';

  /** What was written last, as long as the program has not kept it. */
  unsaved = $state('');

  private async flushDraft(): Promise<void> {
    clearTimeout(this.#draftTimer);
    const who = this.#pendingDraft;
    this.#pendingDraft = '';
    if (!who) return;
    const text = this.drafts.get(who) ?? '';
    try {
      await post('chats/draft', { who, text });
      if (this.unsaved === text) this.unsaved = '';
    } catch {
      return; // the stream of events tells why
    }
    void this.loadList();
  }

  /** Tries at once what waits for the relay, or for room on the disk. */
  async flush(): Promise<void> {
    try {
      await post('flush', {});
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** Runs a verb on a contact and tells what went wrong. */
  async contactVerb(verb: 'accept' | 'block' | 'remove', who: string): Promise<boolean> {
    try {
      await post<Contact>(`contacts/${verb}`, { who });
      await this.loadList();
      return true;
    } catch (error) {
      this.note(this.words(error));
      return false;
    }
  }

  /** Asks before it blocks. */
  confirmBlock(contact: Contact): void {
    this.dialog = {
      kind: 'confirm',
      text: i18n.w.blockConfirm(nameOf(contact)),
      action: i18n.w.block,
      run: async () => void (await this.contactVerb('block', contact.user_id)),
    };
  }

  /** Asks before it deletes. */
  confirmRemove(contact: Contact): void {
    this.dialog = {
      kind: 'confirm',
      text: i18n.w.removeConfirm(nameOf(contact)),
      action: i18n.w.remove,
      run: async () => {
        if (!(await this.contactVerb('remove', contact.user_id))) return;
        this.histories.delete(contact.user_id);
        this.drafts.delete(contact.user_id);
        if (this.selected === contact.user_id) this.select(null);
        this.note(i18n.w.removed(nameOf(contact)));
      },
    };
  }

  /** Makes a contact stand for the account that her username names now. */
  async acceptKey(contact: Contact): Promise<void> {
    try {
      await post('safety/accept-key', { who: contact.user_id });
      await this.loadList();
      const moved = this.contacts.find((c) => c.username === contact.username && !c.key_changed);
      if (moved) this.select(moved.user_id);
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** The other contact that a name is easily mistaken for. */
  lookAlike(contact: Contact): Contact | null {
    const own = skeleton(nameOf(contact));
    return this.contacts.find((c) => c.user_id !== contact.user_id && skeleton(nameOf(c)) === own) ?? null;
  }

  async setSetting(key: string, value: string): Promise<void> {
    try {
      await post('settings/set', { key, value });
      this.settings = { ...this.settings, [key]: value };
    } catch (error) {
      this.note(this.words(error));
    }
  }

  /** Changes what the window remembers of itself. */
  prefer(change: Partial<Preferences>): void {
    Object.assign(this.preferences, change);
    if (change.language) {
      i18n.language = change.language;
      if (this.phase === 'open') void this.setSetting('language', change.language);
    }
    clearTimeout(this.#saveTimer);
    this.#saveTimer = setTimeout(() => {
      void post('app/preferences', $state.snapshot(this.preferences)).catch(() => undefined);
    }, 200);
  }

  togglePanel(panel: 'inspector' | 'details'): void {
    this.panel = this.panel === panel ? 'none' : panel;
    this.hovered = '';
    if (panel === 'inspector' && innerWidth >= 1180) this.prefer({ inspector: this.panel === 'inspector' });
  }

  async lock(): Promise<void> {
    await this.flushDraft();
    try {
      await post('lock', {});
    } catch (error) {
      this.note(this.words(error));
    }
  }

  async copy(text: string, said = i18n.w.copied): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.note(said);
    } catch {
      this.note(i18n.w.errors.internal);
    }
  }

  /** Shows a line for five seconds. */
  note(text: string): void {
    if (this.phase !== 'open') return;
    const id = ++this.#toast;
    this.toasts = [...this.toasts.slice(-2), { id, text }];
    setTimeout(() => (this.toasts = this.toasts.filter((t) => t.id !== id)), 5000);
  }
}

function sentence(text: string): string {
  return text === '' ? text : text[0]?.toUpperCase() + text.slice(1) + (/[.!?。]$/.test(text) ? '' : '.');
}

export const app = new App();
