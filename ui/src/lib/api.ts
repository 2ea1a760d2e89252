import type { ErrorBody, Event } from './api.gen';

// The local API: JSON over HTTP to the program that serves this page. The session
// key lives in this module alone, so it ends with the page.

export type Code = ErrorBody['code'] | 'no_key_here' | 'gone' | 'locked';

/** An error that the program tells, or that it does not answer any more. */
export class ApiError extends Error {
  readonly code: Code;
  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
  }
}

let key = '';

async function request(method: string, path: string, body?: unknown, bearer = key, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  const headers: Record<string, string> = { Authorization: `Bearer ${bearer}` };
  if (body !== undefined) headers['Content-Type'] = body instanceof Blob ? body.type : 'application/json';
  try {
    response = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: body === undefined ? null : body instanceof Blob ? body : JSON.stringify(body),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      signal: signal ?? null,
    });
  } catch {
    throw new ApiError('gone', 'the program does not answer');
  }
  if (response.ok) return response;
  if (response.status === 401) throw new ApiError('no_key_here', 'this window has no key');
  const failure = (await response.json().catch(() => null)) as { error?: ErrorBody } | null;
  if (failure?.error) throw new ApiError(failure.error.code, failure.error.message);
  throw new ApiError('internal', `the program answered ${response.status}`);
}

/** Exchanges the launch token in the address for a session key, once. */
export async function begin(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get('t') ?? '';
  history.replaceState(null, '', '/');
  if (token === '') throw new ApiError('no_key_here', 'this window has no key');
  const response = await request('POST', 'token', undefined, token);
  key = ((await response.json()) as { key: string }).key;
}

/** Reads something. */
export async function get<Out>(path: string): Promise<Out> {
  return (await (await request('GET', path)).json()) as Out;
}

/** Asks for something, or tells the program to do it; a Blob is sent as it is. */
export async function post<Out>(path: string, body: unknown): Promise<Out> {
  return (await (await request('POST', path, body)).json()) as Out;
}

async function* lines(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) if (part !== '') yield part;
  }
}

/** Posts and yields the answer's lines as they come. */
export async function* postLines<Line>(path: string, body: unknown): AsyncGenerator<Line> {
  for await (const line of lines(await request('POST', path, body))) yield JSON.parse(line) as Line;
}

/**
 * Opens the stream of events. It is open when the promise is kept, so what is read
 * afterwards misses nothing; the generator ends when the engine stops.
 */
export async function events(): Promise<AsyncGenerator<Event>> {
  const response = await request('GET', 'events');
  return (async function* () {
    try {
      for await (const line of lines(response)) yield JSON.parse(line) as Event;
    } catch {
      return; // the connection broke: whoever reads asks what has become of the program
    }
  })();
}

/**
 * Keeps an answer open for as long as the program runs, which so knows of this
 * page; `ended` is kept when the program has ended.
 */
export async function stay(): Promise<{ ended: Promise<void>; stop: () => void }> {
  const control = new AbortController();
  const response = await request('GET', 'app/page', undefined, key, control.signal);
  const ended = (async () => {
    try {
      for await (const line of lines(response)) void line;
    } catch {
      return; // the connection broke
    }
  })();
  return { ended, stop: () => control.abort() };
}
