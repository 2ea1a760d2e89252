// Real programs for the tests of the window: a relay, people with profiles, and a
// browser. Everything lives in one temporary folder and ends with close().
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const run = promisify(execFile);

export const password = 'correct horse battery staple';

/** The browser of the tests, or undefined if there is none. */
export const browserPath =
  process.env['CHATE2E_CHROMIUM'] ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));

/** Starts a browser, with more arguments if need be. */
export function launch(...more) {
  return chromium.launch({
    executablePath: browserPath,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb', '--font-render-hinting=none', ...more],
  });
}

const listing = new Set(['recv', 'log', 'search', 'inspect']);

export class World {
  /** Builds the programs and starts a browser. */
  static async open() {
    const world = new World();
    world.dir = mkdtempSync(join(tmpdir(), 'chate2e-ui-'));
    await run('go', ['build', '-buildvcs=false', '-o', world.dir + '/', './cmd/chate2e', './cmd/chate2e-server'], {
      cwd: root,
      env: { ...process.env, CGO_ENABLED: '0' },
    });
    world.children = [];
    world.people = [];
    world.passwordFile = join(world.dir, 'password');
    writeFileSync(world.passwordFile, password + '\n', { mode: 0o600 });
    world.browser = await launch();
    return world;
  }

  async close() {
    await this.browser.close();
    await Promise.all(this.children.map((child) => end(child)));
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** Starts a program and waits for a line of its output that matches. */
  start(name, args, line, options = {}) {
    const child = spawn(join(this.dir, name), args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.children.push(child);
    let text = '';
    return new Promise((resolve, reject) => {
      const read = (data) => {
        text += data;
        const match = line.exec(text);
        if (match) resolve({ child, match });
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.on('exit', (code) => reject(new Error(`${name} ${args.join(' ')} ended with ${code}:\n${text}`)));
      child.on('error', reject);
    });
  }

  /** Starts a relay; a second call starts it again on the same port and folder. */
  /** Starts the relay, or one with other data at its address. */
  async startRelay(data = 'relay') {
    const at = this.relayURL ? new URL(this.relayURL).host : '127.0.0.1:0';
    const args = ['serve', '--listen', at, '--data', join(this.dir, data)];
    const { child, match } = await this.start('chate2e-server', args, /(http:\/\/127\.0\.0\.1:\d+)/);
    this.relay = child;
    this.relayURL = match[1];
    return this.relayURL;
  }

  async stopRelay() {
    await end(this.relay);
  }

  /** A person with a folder of her own. */
  person(name) {
    const person = new Person(this, name);
    this.people.push(person);
    return person;
  }

  /** Makes an account, by command. */
  async register(name, displayName) {
    const person = this.person(name);
    person.self = await person.command('register', name, '--display-name', displayName);
    return person;
  }
}

export class Person {
  constructor(world, name) {
    this.world = world;
    this.name = name;
    this.home = join(world.dir, 'home-' + name);
  }

  flags() {
    return ['--home', this.home, '--server', this.world.relayURL, '--password-file', this.world.passwordFile];
  }

  /** Runs a command and returns what it prints: an object, or a list of them. */
  async command(...args) {
    const { stdout } = await run(join(this.world.dir, 'chate2e'), ['--json', ...this.flags(), ...args]);
    const lines = stdout.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
    return listing.has(args[0]) || args[1] === 'list' ? lines : lines[0];
  }

  /** Uses the local API on the profile's socket. */
  post(path, body) {
    const socketPath = join(this.home, 'profiles', 'default', 'socket');
    return new Promise((resolve, reject) => {
      const headers = { 'Content-Type': 'application/json' };
      const ask = request({ socketPath, path: '/api/v1/' + path, method: 'POST', headers }, (answer) => {
        let text = '';
        answer.on('data', (data) => (text += data));
        answer.on('end', () => (answer.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text))));
      });
      ask.on('error', reject);
      ask.end(JSON.stringify(body));
    });
  }

  /** Keeps the profile unlocked, and online; commands are quick then. */
  async startDaemon() {
    const { child } = await this.world.start('chate2e', ['daemon', ...this.flags()], /Listening on/);
    this.daemon = child;
  }

  async stopDaemon() {
    await end(this.daemon);
  }

  /** Runs a command until its answer is as wanted. */
  async until(wanted, ...args) {
    for (let n = 0; n < 200; n++) {
      const answer = await this.command(...args);
      if (wanted(answer)) return answer;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${this.name} ${args.join(' ')}: not as wanted`);
  }

  /** Starts the app without a window; `locked` leaves the profile locked. */
  async startApp({ locked = false } = {}) {
    const args = ['app', '--no-window', '--home', this.home, '--server', this.world.relayURL];
    if (!locked) args.push('--password-file', this.world.passwordFile);
    const { child, match } = await this.world.start('chate2e', args, /(http:\/\/127\.0\.0\.1:\d+\/#t=\S+)/);
    this.app = child;
    this.link = match[1];
    return this.link;
  }

  async stopApp() {
    await end(this.app);
  }

  /** A fresh link of the app that runs. */
  async newLink() {
    const { url } = await this.command('app', '--no-window');
    return url;
  }

  /** Opens the page in a browser profile of its own. */
  async page({ width = 1440, height = 900, dark = false, locale = 'en-GB', link, browser = this.world.browser, ...rest } = {}) {
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme: dark ? 'dark' : 'light',
      locale,
      reducedMotion: 'reduce',
      ...rest,
    });
    context.setDefaultTimeout(15_000);
    const page = await context.newPage();
    page.faults = [];
    page.on('console', (message) => {
      // A refusal is an answer too; the console reports it as a failure.
      if (['error', 'warning'].includes(message.type()) && !message.text().startsWith('Failed to load resource')) page.faults.push(message.text());
    });
    page.on('pageerror', (error) => page.faults.push(String(error)));
    await page.goto(link ?? this.link);
    return page;
  }
}

async function end(child) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGINT');
  await gone;
}
