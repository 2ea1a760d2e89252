// The public fields of libsignal's wire messages, read from the bytes themselves. The library's own
// getters do not show all of them in every version, and a test wants to see what went over the wire.

/** An error that is answered to the caller with a name of its own. */
export class PeerError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

function malformed(message) {
  return new PeerError('InvalidMessage', message);
}

function varint(buf, at) {
  let value = 0n;
  for (let shift = 0n; shift < 64n; shift += 7n) {
    if (at >= buf.length) throw malformed('truncated varint');
    const byte = buf[at++];
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [Number(value), at];
  }
  throw malformed('overlong varint');
}

/** The fields of one protobuf message: field number → number or bytes; the last of repeated fields wins. */
function protobuf(buf) {
  const fields = new Map();
  let at = 0;
  while (at < buf.length) {
    let tag, value, length;
    [tag, at] = varint(buf, at);
    switch (tag & 7) {
      case 0:
        [value, at] = varint(buf, at);
        break;
      case 2:
        [length, at] = varint(buf, at);
        if (length > buf.length - at) throw malformed('truncated field');
        value = buf.subarray(at, at + length);
        at += length;
        break;
      default:
        throw malformed('unexpected wire type');
    }
    fields.set(Math.floor(tag / 8), value);
  }
  return fields;
}

function bytes(value) {
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : null;
}

function uint(value) {
  return typeof value === 'number' ? value : null;
}

function uuid(value) {
  const hex = Buffer.from(value ?? []).toString('hex');
  return hex.length === 32 ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5') : null;
}

function signalMessage(buf) {
  if (buf.length < 1 + 8) throw malformed('message too short');
  const f = protobuf(buf.subarray(1, -8)); // version byte in front, MAC behind
  return {
    version: buf[0] >> 4,
    ratchetKey: bytes(f.get(1)),
    counter: uint(f.get(2)) ?? 0,
    previousCounter: uint(f.get(3)) ?? 0,
    ciphertextBytes: f.get(4)?.length ?? 0,
    pqRatchet: bytes(f.get(5)) ?? '',
    addresses: bytes(f.get(6)),
  };
}

function preKeySignalMessage(buf) {
  if (buf.length < 1) throw malformed('message too short');
  const f = protobuf(buf.subarray(1));
  if (!(f.get(4) instanceof Uint8Array)) throw malformed('no message inside');
  return {
    ...signalMessage(f.get(4)),
    version: buf[0] >> 4,
    preKeyId: uint(f.get(1)),
    baseKey: bytes(f.get(2)),
    identityKey: bytes(f.get(3)),
    registrationId: uint(f.get(5)) ?? 0,
    signedPreKeyId: uint(f.get(6)),
    kyberPreKeyId: uint(f.get(7)),
    kyberCiphertextBytes: f.get(8)?.length ?? 0,
  };
}

function senderKeyMessage(buf) {
  if (buf.length < 1 + 64) throw malformed('message too short');
  const f = protobuf(buf.subarray(1, -64)); // version byte in front, signature behind
  return {
    version: buf[0] >> 4,
    distributionId: uuid(f.get(1)),
    chainId: uint(f.get(2)) ?? 0,
    iteration: uint(f.get(3)) ?? 0,
    ciphertextBytes: f.get(4)?.length ?? 0,
  };
}

/** What a message says about itself; type as in CiphertextMessageType. */
export function fields(type, buf) {
  switch (type) {
    case 2:
      return signalMessage(buf);
    case 3:
      return preKeySignalMessage(buf);
    case 7:
      return senderKeyMessage(buf);
    default:
      throw new PeerError('BadRequest', `no such message type: ${type}`);
  }
}
