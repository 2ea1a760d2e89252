// Made from docs/openapi-local.yaml by: npm run types

export interface ArrivalsRequest {
  after: number;
  limit: number;
}

export interface Chat {
  contact: Contact;
  draft: string;
  draft_at: string | null;
  unread: number;
  last: Item | null;
  dropped: number;
}

export interface Chats {
  chats: Chat[];
}

export interface Contact {
  user_id: string;
  username: string;
  display_name: string;
  state: 'requested' | 'incoming' | 'accepted' | 'blocked';
  verified: boolean;
  key_changed: boolean;
  presence: '' | 'online' | 'away' | 'busy' | 'offline';
  last_seen: string | null;
}

export interface ContactStatus {
  verified: boolean;
  key_changed: boolean;
  pq: boolean;
  held: number;
  missing: number;
  epoch: number;
  ratchet_steps: number;
  pq_ratchet: PQRatchet | null;
  completed_at: string | null;
  reason: string;
}

export interface Contacts {
  contacts: Contact[];
}

export interface DeleteRequest {
  password: string;
}

export type Done = Record<string, never>;

export interface DraftRequest {
  who: string;
  text: string;
}

export interface ErrorBody {
  code: 'usage' | 'wrong_password' | 'profile_exists' | 'no_profile' | 'profile_in_use' | 'name_taken' | 'not_found' | 'ambiguous' | 'self' | 'blocked' | 'client_id' | 'too_large' | 'key_mismatch' | 'number_mismatch' | 'no_key' | 'unreachable' | 'refused' | 'read_only' | 'damaged' | 'closed' | 'internal';
  message: string;
}

export interface Event {
  kind: 'item' | 'contact' | 'connection' | 'protocol' | 'settings' | 'closed' | 'lagged';
  item?: Item | null;
  contact?: Contact | null;
  removed?: string;
  status?: Status | null;
  protocol?: ProtocolEvent | null;
  setting?: string;
}

export interface Failure {
  error: ErrorBody;
}

export interface Found {
  user_id: string;
  username: string;
  checked: boolean;
  contact: Contact | null;
}

export interface HistoryRequest {
  who: string;
  before?: string;
  limit: number;
}

export interface Item {
  id: string;
  chat: string;
  from: string;
  from_name: string;
  seq: number;
  kind: 'text' | 'request' | 'accepted' | 'missing' | 'undecryptable' | 'key_change';
  text: string;
  sent_at: string;
  received_at: string | null;
  gap_before: number;
  request: boolean;
  direction: 'in' | 'out';
  state: 'queued' | 'sent' | 'delivered' | 'read' | 'failed' | 'held';
  reason: string;
  late: boolean;
  snippet: string;
  arrival: number;
}

export interface Items {
  items: Item[];
}

export interface PQRatchet {
  epoch: number;
  phase: string;
  completed: number;
  sending: number;
  sent: number;
  held: number;
  needed: number;
}

export interface PasswordRequest {
  current: string;
  next: string;
}

export interface Protocol {
  events: ProtocolEvent[];
}

export interface ProtocolCounters {
  root_steps: number;
  sent: number;
  received: number;
  previous: number;
  skipped: number;
  skipped_limit: number;
  archived: number;
  our_key: string;
  their_key: string;
  unanswered: boolean;
  pq: PQRatchet | null;
}

export interface ProtocolEvent {
  id: number;
  at: string;
  contact: string;
  device: number;
  kind: string;
  title: string;
  suite: string;
  session: string;
  item: string;
  steps: ProtocolStep[];
  setup: ProtocolSetup | null;
  pq: ProtocolPQ | null;
  counters: ProtocolCounters | null;
  size: number;
  plain: number;
}

export interface ProtocolPQ {
  epoch: number;
  payload: string;
  chunk: number;
  new: boolean;
  key_epoch: number;
  key: number;
  late: boolean;
  skipped: number;
  phase: string;
  completed: number;
}

export interface ProtocolRequest {
  who?: string;
  limit: number;
}

export interface ProtocolSetup {
  initiator: boolean;
  agreements: number;
  our_identity: string;
  their_identity: string;
  base_key: string;
  signed_prekey: string;
  signed_prekey_id: number;
  signed_prekey_expires: string | null;
  one_time_prekey: string;
  one_time_prekey_id: number;
  kem: string;
  kem_prekey: string;
  kem_prekey_id: number;
  kem_last_resort: boolean;
}

export interface ProtocolStep {
  kind: string;
  text: string;
  label: string;
  our: string;
  their: string;
  n: number;
  count: number;
  reason: string;
}

export interface ReadRequest {
  who: string;
  upto: string;
}

export interface Safety {
  number: string;
  code: string;
  verified: boolean;
  key_changed: boolean;
}

export interface SearchRequest {
  query: string;
  limit: number;
}

export interface Self {
  user_id: string;
  username: string;
  display_name: string;
  server: string;
  device: number;
  address: string;
  link: string;
}

export interface SendRequest {
  who: string;
  text: string;
  client_id?: string;
  wait_ms?: number;
}

export interface Sending {
  id: string;
  to: string;
  state: 'queued' | 'sent' | 'delivered' | 'read' | 'failed' | 'held';
  sent_at: string;
  reason: string;
}

export interface SettingRequest {
  key: string;
  value: string;
}

export interface Settings {
  settings: Record<string, string>;
}

export interface Status {
  connected: boolean;
  outbox: number;
  prekeys_left: number;
  error?: string;
  conflict: string | null;
  offline?: 'network' | 'silent' | 'certificate' | 'foreign' | 'unavailable' | 'refused';
  next_try: string | null;
  clock_ahead_s: number;
  storage_full: boolean;
}

export interface TakeRequest {
  limit: number;
}

export interface VerifyRequest {
  who: string;
  number: string;
}

export interface Who {
  who: string;
}
