// A test peer over the official Signal library: JSON lines on standard input and output, as described in
// ../README.md. State is in memory; one process holds several parties.
//
//   node peer.mjs --version 0.72.1 [--spqr off|negotiable|required]
//
// The library is AGPL-3.0-only. This file only runs it, as a separate process in tests.

import { parseArgs } from 'node:util';
import { fields, PeerError } from './wire.mjs';
import { partyClass } from './party.mjs';

// What differs between the versions, beyond names: which of them take the local address, and what they
// do about the post-quantum ratchet.
const VERSIONS = {
  '0.44.0': { localAddress: false, classical: true, spqr: ['off'] },
  '0.72.1': { localAddress: false, classical: true, spqr: ['off'] },
  '0.76.0': { localAddress: false, classical: false, spqr: ['negotiable', 'off'] },
  '0.103.0': { localAddress: true, classical: false, spqr: ['required'] },
};
const MAX_LINE = 32 << 20; // characters; the largest real request is a session record of a few MB

const { values: flags } = parseArgs({ options: { version: { type: 'string' }, spqr: { type: 'string' } } });
const version = VERSIONS[flags.version];
if (version === undefined) fatal(`--version must be one of ${Object.keys(VERSIONS).join(', ')}`);
const spqr = flags.spqr ?? version.spqr[0];
if (!version.spqr.includes(spqr)) fatal(`--spqr with ${flags.version} must be one of ${version.spqr.join(', ')}`);

const lib = await load(`libsignal-${flags.version}`);
const { default: MultiRecipientMessage } = await load(
  `libsignal-${flags.version}/dist/SealedSenderMultiRecipientMessage.js`,
);
const Party = partyClass(lib);
const parties = new Map();

function fatal(message) {
  process.stderr.write(`peer: ${message}\n`);
  process.exit(2);
}

// Older versions are CommonJS, whose exports all hang on the default one.
async function load(name) {
  const module = await import(name);
  return module.default?.__esModule ? module.default : module;
}

// ---- request fields ----------------------------------------------------------------------------------

const bad = (message) => new PeerError('BadRequest', message);

function string(req, field, fallback) {
  const value = req[field] ?? fallback;
  if (typeof value !== 'string') throw bad(`${field}: a string is required`);
  return value;
}

function uint(req, field, fallback, max = 0xffffffff) {
  const value = req[field] ?? fallback;
  if (!Number.isSafeInteger(value) || value < 0 || value > max) {
    throw bad(`${field}: a whole number from 0 to ${max} is required`);
  }
  return value;
}

function boolean(req, field, fallback) {
  const value = req[field] ?? fallback;
  if (typeof value !== 'boolean') throw bad(`${field}: true or false is required`);
  return value;
}

function object(req, field) {
  const value = req[field];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(`${field}: an object is required`);
  return value;
}

function bin(req, field, fallback) {
  const text = string(req, field, fallback);
  const value = Buffer.from(text, 'base64');
  if (value.toString('base64') !== text) throw bad(`${field}: standard base64 is required`);
  return value;
}

const has = (req, field) => req[field] !== undefined && req[field] !== null;
const time = (req) => (has(req, 'now') ? new Date(uint(req, 'now', 0, Number.MAX_SAFE_INTEGER)) : new Date());
const publicKey = (req, field) => lib.PublicKey.deserialize(bin(req, field));
const privateKey = (req, field) => lib.PrivateKey.deserialize(bin(req, field));
const certificate = (req, field) => lib.SenderCertificate.deserialize(bin(req, field));
const b64 = (value) => (value === null || value === undefined ? null : Buffer.from(value).toString('base64'));

function party(req) {
  const found = parties.get(string(req, 'party'));
  if (found === undefined) throw new PeerError('NoSuchParty', 'no such party');
  return found;
}

function protocolAddress(value, field) {
  const device = uint(value, 'device', 1, 127);
  if (device === 0) throw bad(`${field}.device: 1 to 127 is required`);
  return lib.ProtocolAddress.new(string(value, 'name'), device);
}

const address = (req, field) => protocolAddress(object(req, field), field);

// ---- the library's calls whose arguments differ between versions --------------------------------------

const local = (p) => (version.localAddress ? [p.address] : []);
const usePq = () => (lib.UsePQRatchet ? [spqr === 'off' ? lib.UsePQRatchet.No : lib.UsePQRatchet.Yes] : []);

function processBundle(p, remote, bundle, now) {
  return lib.processPreKeyBundle(bundle, remote, ...local(p), p.sessions, p.identities, ...usePq(), now);
}

function encrypt(p, remote, plaintext, now) {
  return lib.signalEncrypt(plaintext, remote, ...local(p), p.sessions, p.identities, now);
}

function decryptWhisper(p, remote, message) {
  return lib.signalDecrypt(lib.SignalMessage.deserialize(message), remote, ...local(p), p.sessions, p.identities);
}

async function openingFirst(p, message, open) {
  p.kyberPreKeys.opening = fields(3, message);
  try {
    return await open();
  } finally {
    p.kyberPreKeys.opening = null;
  }
}

function decryptPreKey(p, remote, message) {
  const parsed = lib.PreKeySignalMessage.deserialize(message);
  return openingFirst(p, message, () =>
    lib.signalDecryptPreKey(
      parsed, remote, ...local(p),
      p.sessions, p.identities, p.preKeys, p.signedPreKeys, p.kyberPreKeys, ...usePq(),
    ),
  );
}

// ---- operations ---------------------------------------------------------------------------------------

const ops = {
  hello: () => ({
    library: '@signalapp/libsignal-client',
    version: flags.version,
    node: process.version,
    spqr,
    localAddress: version.localAddress,
    ops: Object.keys(ops),
  }),

  // A party that already has this label is forgotten.
  party(req) {
    const label = string(req, 'party');
    const device = uint(req, 'device', 1, 127);
    if (device === 0) throw bad('device: 1 to 127 is required');
    const p = new Party(
      string(req, 'name'),
      device,
      uint(req, 'registrationId', 1 + Math.floor(Math.random() * 0x3ffe), 0x3fff),
      has(req, 'identityPrivate') ? privateKey(req, 'identityPrivate') : lib.PrivateKey.generate(),
    );
    parties.set(label, p);
    return {
      name: p.name,
      device: p.device,
      registrationId: p.registrationId,
      identityKey: b64(p.publicKey.serialize()),
      identityPrivate: b64(p.privateKey.serialize()),
    };
  },

  forgetParty: (req) => ({ existed: parties.delete(string(req, 'party')) }),

  // An id names one key: a bundle asked for with the id of a key that is still there offers that key again.
  async bundle(req) {
    const p = party(req);
    const now = Date.now();
    const sign = (key) => p.privateKey.sign(key.serialize());
    const withPrivate = boolean(req, 'withPrivate', false);
    const bundle = {
      registrationId: p.registrationId,
      device: p.device,
      identityKey: b64(p.publicKey.serialize()),
      preKeyId: null,
      preKey: null,
    };

    const signedPreKeyId = uint(req, 'signedPreKeyId', 1);
    if (!p.signedPreKeys.records.has(signedPreKeyId)) {
      const key = lib.PrivateKey.generate();
      const record = lib.SignedPreKeyRecord.new(signedPreKeyId, now, key.getPublicKey(), key, sign(key.getPublicKey()));
      await p.signedPreKeys.saveSignedPreKey(signedPreKeyId, record);
    }
    const signed = await p.signedPreKeys.getSignedPreKey(signedPreKeyId);
    bundle.signedPreKeyId = signedPreKeyId;
    bundle.signedPreKey = b64(signed.publicKey().serialize());
    bundle.signedPreKeySignature = b64(signed.signature());
    if (withPrivate) {
      bundle.identityPrivate = b64(p.privateKey.serialize());
      bundle.signedPreKeyPrivate = b64(signed.privateKey().serialize());
    }

    if (boolean(req, 'oneTime', true)) {
      const id = uint(req, 'preKeyId', 1);
      if (!p.preKeys.records.has(id)) {
        const key = lib.PrivateKey.generate();
        await p.preKeys.savePreKey(id, lib.PreKeyRecord.new(id, key.getPublicKey(), key));
      }
      const record = await p.preKeys.getPreKey(id);
      bundle.preKeyId = id;
      bundle.preKey = b64(record.publicKey().serialize());
      if (withPrivate) bundle.preKeyPrivate = b64(record.privateKey().serialize());
    }

    bundle.kyberPreKeyId = bundle.kyberPreKey = bundle.kyberPreKeySignature = null;
    if (boolean(req, 'kyber', true)) {
      const id = uint(req, 'kyberPreKeyId', 1);
      if (!p.kyberPreKeys.records.has(id)) {
        const pair = lib.KEMKeyPair.generate();
        const record = lib.KyberPreKeyRecord.new(id, now, pair, sign(pair.getPublicKey()));
        await p.kyberPreKeys.saveKyberPreKey(id, record);
      }
      if (boolean(req, 'lastResort', false)) p.kyberPreKeys.lastResort.add(id);
      const record = await p.kyberPreKeys.getKyberPreKey(id);
      bundle.kyberPreKeyId = id;
      bundle.kyberPreKey = b64(record.publicKey().serialize());
      bundle.kyberPreKeySignature = b64(record.signature());
      if (withPrivate) bundle.kyberPreKeySecret = b64(record.secretKey().serialize());
    }
    return { bundle };
  },

  async processBundle(req) {
    const p = party(req);
    const remote = address(req, 'remote');
    const b = object(req, 'bundle');
    const args = [
      uint(b, 'registrationId'),
      uint(b, 'device', 1, 127),
      has(b, 'preKeyId') ? uint(b, 'preKeyId') : null,
      has(b, 'preKey') ? publicKey(b, 'preKey') : null,
      uint(b, 'signedPreKeyId'),
      publicKey(b, 'signedPreKey'),
      bin(b, 'signedPreKeySignature'),
      publicKey(b, 'identityKey'),
    ];
    if (has(b, 'kyberPreKey')) {
      args.push(
        uint(b, 'kyberPreKeyId'),
        lib.KEMPublicKey.deserialize(bin(b, 'kyberPreKey')),
        bin(b, 'kyberPreKeySignature'),
      );
    } else if (!version.classical) {
      throw new PeerError('Unsupported', `libsignal ${flags.version} takes no bundle without a KEM prekey`);
    }
    await p.atomically(() => processBundle(p, remote, lib.PreKeyBundle.new(...args), time(req)));
    return {};
  },

  async encrypt(req) {
    const p = party(req);
    const remote = address(req, 'remote');
    const plaintext = bin(req, 'plaintext');
    const message = await p.atomically(() => encrypt(p, remote, plaintext, time(req)));
    const bytes = Buffer.from(message.serialize());
    return { type: message.type(), message: b64(bytes), bytes: bytes.length, fields: fields(message.type(), bytes) };
  },

  async decrypt(req) {
    const p = party(req);
    const remote = address(req, 'remote');
    const message = bin(req, 'message');
    const open = { 2: decryptWhisper, 3: decryptPreKey }[uint(req, 'type')];
    if (open === undefined) throw bad('type: 2 or 3 is required');
    return { plaintext: b64(await p.atomically(() => open(p, remote, message))) };
  },

  inspect: (req) => ({ fields: fields(uint(req, 'type'), bin(req, 'message')) }),

  // What is asked for is done in this order: del, set, archive; the reply describes what is there then.
  async session(req) {
    const p = party(req);
    const remote = address(req, 'remote');
    const set = has(req, 'set') ? lib.SessionRecord.deserialize(bin(req, 'set')) : null;
    if (boolean(req, 'del', false)) p.sessions.records.delete(`${remote.name()}.${remote.deviceId()}`);
    if (set !== null) await p.sessions.saveSession(remote, set);
    let record = await p.sessions.getSession(remote);
    if (record !== null && boolean(req, 'archive', false)) {
      record.archiveCurrentState();
      await p.sessions.saveSession(remote, record);
      record = await p.sessions.getSession(remote);
    }
    const bytes = record === null ? null : record.serialize();
    return {
      exists: record !== null,
      hasCurrent: record?.hasCurrentState() ?? false,
      bytes: bytes?.length ?? 0,
      record: b64(bytes),
    };
  },

  // strict (at first true): a changed identity key is refused until it is trusted here.
  async identity(req) {
    const p = party(req);
    const remote = address(req, 'remote');
    const id = `${remote.name()}.${remote.deviceId()}`;
    if (has(req, 'trust')) await p.identities.saveIdentity(remote, publicKey(req, 'trust'));
    if (has(req, 'strict')) p.identities.lenient[boolean(req, 'strict') ? 'delete' : 'add'](id);
    return { identityKey: b64(p.identities.known.get(id)) };
  },

  prekeys(req) {
    const p = party(req);
    return {
      oneTime: [...p.preKeys.records.keys()],
      signed: [...p.signedPreKeys.records.keys()],
      kyber: [...p.kyberPreKeys.records.keys()],
      kyberUsed: [...p.kyberPreKeys.used],
    };
  },

  keygen() {
    const key = lib.PrivateKey.generate();
    return { private: b64(key.serialize()), public: b64(key.getPublicKey().serialize()) };
  },

  publicKey: (req) => ({ public: b64(privateKey(req, 'private').getPublicKey().serialize()) }),

  agree: (req) => ({ shared: b64(privateKey(req, 'private').agree(publicKey(req, 'public'))) }),

  sign(req) {
    const key = has(req, 'private') ? privateKey(req, 'private') : party(req).privateKey;
    return { signature: b64(key.sign(bin(req, 'message'))) };
  },

  verify: (req) => ({ valid: publicKey(req, 'public').verify(bin(req, 'message'), bin(req, 'signature')) }),

  signAlternateIdentity: (req) => ({
    signature: b64(party(req).identityKeyPair.signAlternateIdentity(publicKey(req, 'other'))),
  }),

  verifyAlternateIdentity: (req) => ({
    valid: publicKey(req, 'public').verifyAlternateIdentity(publicKey(req, 'other'), bin(req, 'signature')),
  }),

  fingerprint(req) {
    const fingerprint = lib.Fingerprint.new(
      uint(req, 'iterations', 5200), uint(req, 'version', 2),
      bin(req, 'localId'), publicKey(req, 'localKey'), bin(req, 'remoteId'), publicKey(req, 'remoteKey'),
    );
    return {
      display: fingerprint.displayableFingerprint().toString(),
      scannable: b64(fingerprint.scannableFingerprint().toBuffer()),
    };
  },

  fingerprintCompare(req) {
    const [a, b] = ['a', 'b'].map((field) => lib.ScannableFingerprint._fromBuffer(bin(req, field)));
    return { same: a.compare(b) };
  },

  async senderKeyDistribution(req) {
    const p = party(req);
    const message = await p.atomically(() =>
      lib.SenderKeyDistributionMessage.create(p.address, string(req, 'distributionId'), p.senderKeys),
    );
    return { message: b64(message.serialize()), chainId: message.chainId(), iteration: message.iteration() };
  },

  async senderKeyProcess(req) {
    const p = party(req);
    const sender = address(req, 'sender');
    const message = lib.SenderKeyDistributionMessage.deserialize(bin(req, 'message'));
    await p.atomically(() => lib.processSenderKeyDistributionMessage(sender, message, p.senderKeys));
    return {};
  },

  async groupEncrypt(req) {
    const p = party(req);
    const plaintext = bin(req, 'plaintext');
    const message = await p.atomically(() =>
      lib.groupEncrypt(p.address, string(req, 'distributionId'), p.senderKeys, plaintext),
    );
    return { type: message.type(), message: b64(message.serialize()) };
  },

  async groupDecrypt(req) {
    const p = party(req);
    const sender = address(req, 'sender');
    const message = bin(req, 'message');
    return { plaintext: b64(await p.atomically(() => lib.groupDecrypt(sender, p.senderKeys, message))) };
  },

  serverCertificate(req) {
    const made = lib.ServerCertificate.new(
      uint(req, 'keyId'), publicKey(req, 'serverKey'), privateKey(req, 'trustRootPrivate'),
    );
    return { certificate: b64(made.serialize()) };
  },

  senderCertificate(req) {
    const made = lib.SenderCertificate.new(
      string(req, 'uuid'), null, uint(req, 'device', 1, 127), publicKey(req, 'identityKey'),
      uint(req, 'expiration', undefined, Number.MAX_SAFE_INTEGER),
      lib.ServerCertificate.deserialize(bin(req, 'serverCertificate')), privateKey(req, 'serverPrivate'),
    );
    return { certificate: b64(made.serialize()) };
  },

  validateCertificate: (req) => ({
    valid: certificate(req, 'certificate').validate(
      publicKey(req, 'trustRoot'), uint(req, 'time', undefined, Number.MAX_SAFE_INTEGER),
    ),
  }),

  async sealedEncrypt(req) {
    const p = party(req);
    const remote = address(req, 'remote');
    const sender = certificate(req, 'senderCertificate');
    const plaintext = bin(req, 'plaintext');
    const sealed = await p.atomically(() =>
      lib.sealedSenderEncryptMessage(plaintext, remote, sender, p.sessions, p.identities),
    );
    return { message: b64(sealed) };
  },

  async sealedDecrypt(req) {
    const p = party(req);
    const message = bin(req, 'message');
    const trustRoot = publicKey(req, 'trustRoot');
    const now = uint(req, 'time', undefined, Number.MAX_SAFE_INTEGER);
    const inside = await lib.sealedSenderDecryptToUsmc(message, p.identities);
    const open = () =>
      lib.sealedSenderDecryptMessage(
        message, trustRoot, now, null, p.name, p.device,
        p.sessions, p.identities, p.preKeys, p.signedPreKeys, p.kyberPreKeys, ...usePq(),
      );
    const first = inside.msgType() === lib.CiphertextMessageType.PreKey;
    const opened = await p.atomically(() => (first ? openingFirst(p, Buffer.from(inside.contents()), open) : open()));
    return { plaintext: b64(opened.message()), senderUuid: opened.senderUuid(), senderDevice: opened.deviceId() };
  },

  async sealedContent(req) {
    const p = party(req);
    const sender = certificate(req, 'senderCertificate');
    const plaintext = bin(req, 'plaintext');
    const hint = uint(req, 'contentHint', 0);
    const groupId = has(req, 'groupId') ? bin(req, 'groupId') : null;
    const remote = has(req, 'remote') ? address(req, 'remote') : null;
    const message = await p.atomically(() =>
      remote === null
        ? lib.groupEncrypt(p.address, string(req, 'distributionId'), p.senderKeys, plaintext)
        : encrypt(p, remote, plaintext, time(req)),
    );
    const content = lib.UnidentifiedSenderMessageContent.new(message, sender, hint, groupId);
    return { content: b64(content.serialize()), type: message.type() };
  },

  async sealedMulti(req) {
    const p = party(req);
    if (!Array.isArray(req.recipients)) throw bad('recipients: a list of addresses is required');
    const recipients = req.recipients.map((value, i) => {
      if (typeof value !== 'object' || value === null) throw bad(`recipients[${i}]: an address is required`);
      return protocolAddress(value, `recipients[${i}]`);
    });
    const content = lib.UnidentifiedSenderMessageContent.deserialize(bin(req, 'content'));
    const sent = await lib.sealedSenderMultiRecipientEncrypt(content, recipients, p.identities, p.sessions);
    const multi = new MultiRecipientMessage(Buffer.from(sent));
    const perRecipient = {};
    for (const [serviceId, recipient] of Object.entries(multi.recipientsByServiceIdString())) {
      perRecipient[serviceId] = b64(multi.messageForRecipient(recipient));
    }
    return { message: b64(sent), bytes: sent.length, perRecipient };
  },

  async sealedToContent(req) {
    const content = await lib.sealedSenderDecryptToUsmc(bin(req, 'message'), party(req).identities);
    const sender = content.senderCertificate();
    return {
      type: content.msgType(),
      contents: b64(content.contents()),
      contentHint: content.contentHint(),
      groupId: b64(content.groupId()),
      senderUuid: sender.senderUuid(),
      senderDevice: sender.senderDeviceId(),
      senderKey: b64(sender.key().serialize()),
    };
  },

  decryptionError: (req) => ({
    message: b64(
      lib.DecryptionErrorMessage.forOriginal(
        bin(req, 'original'), uint(req, 'type'), uint(req, 'timestamp', undefined, Number.MAX_SAFE_INTEGER),
        uint(req, 'device', 1, 127),
      ).serialize(),
    ),
  }),
};

// ---- lines --------------------------------------------------------------------------------------------

// The library has one general error for many things; callers of this protocol tell these apart. An error
// of our own stores comes back inside the text of one of the library's.
const GENERAL = [
  [/\bReusedBaseKey\b/, 'ReusedBaseKey'],
  [/\bInvalidPreKeyId\b/, 'InvalidPreKeyId'],
  [/^session with .* not found/, 'SessionNotFound'],
  [/fingerprint/, 'InvalidFingerprint'],
  [/signature/, 'InvalidSignature'],
  [/\bkey\b/, 'InvalidKey'],
  [/message|ciphertext|protobuf|decryption/i, 'InvalidMessage'],
];

function refusal(error) {
  let name = error.name ?? 'Error';
  const message = String(error.message ?? error);
  if (error.code === lib.ErrorCode.Generic) {
    name = GENERAL.find(([pattern]) => pattern.test(message))?.[1] ?? name;
  }
  return { name, code: error.code ?? null, message };
}

async function answer(line) {
  let id = null;
  try {
    let req;
    try {
      req = JSON.parse(line);
    } catch {
      throw bad('not a JSON object');
    }
    if (typeof req !== 'object' || req === null || Array.isArray(req)) throw bad('not a JSON object');
    id = req.id ?? null;
    const op = string(req, 'op');
    if (!Object.hasOwn(ops, op)) throw new PeerError('Unsupported', 'no such operation');
    return { id, ok: true, ...(await ops[op](req)) };
  } catch (error) {
    return { id, ok: false, error: refusal(error) };
  }
}

const reply = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
process.stdout.on('error', () => process.exit(0)); // nobody listens any more

process.stdin.setEncoding('utf8');
let rest = '';
let tooLong = false; // the line that `rest` begins is being thrown away
for await (const chunk of process.stdin) {
  const lines = chunk.split('\n');
  lines[0] = rest + lines[0];
  rest = lines.pop();
  for (const line of lines) {
    if (tooLong || line.length > MAX_LINE) {
      tooLong = false;
      reply({ id: null, ok: false, error: refusal(bad('line too long')) });
    } else if (line.trim() !== '') {
      reply(await answer(line));
    }
  }
  if (rest.length > MAX_LINE) {
    tooLong = true;
    rest = '';
  }
}
