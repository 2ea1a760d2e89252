// One party: its keys and its in-memory stores, written against the abstract store classes that every
// version of the library asks for.

import { PeerError } from './wire.mjs';

const key = (address) => `${address.name()}.${address.deviceId()}`;

/** Makes the class of parties for one loaded version of the library. */
export function partyClass(lib) {
  class Sessions extends lib.SessionStore {
    records = new Map(); // serialised, so that a failed operation cannot leave a half-changed one behind

    async saveSession(address, record) {
      this.records.set(key(address), Buffer.from(record.serialize()));
    }

    async getSession(address) {
      const record = this.records.get(key(address));
      return record === undefined ? null : lib.SessionRecord.deserialize(record);
    }

    async getExistingSessions(addresses) {
      return addresses.map((address) => {
        const record = this.records.get(key(address));
        if (record === undefined) throw new PeerError('SessionNotFound', `no session with ${key(address)}`);
        return lib.SessionRecord.deserialize(record);
      });
    }
  }

  class Identities extends lib.IdentityKeyStore {
    known = new Map(); // address → serialised public key
    lenient = new Set(); // addresses whose identity key may change without a word

    constructor(privateKey, registrationId) {
      super();
      this.privateKey = privateKey;
      this.registrationId = registrationId;
    }

    async getIdentityKey() {
      return this.privateKey;
    }

    async getLocalRegistrationId() {
      return this.registrationId;
    }

    async saveIdentity(address, publicKey) {
      const before = this.known.get(key(address));
      const now = Buffer.from(publicKey.serialize());
      this.known.set(key(address), now);
      const replaced = before !== undefined && !before.equals(now);
      if (lib.IdentityChange === undefined) return replaced;
      return replaced ? lib.IdentityChange.ReplacedExisting : lib.IdentityChange.NewOrUnchanged;
    }

    async isTrustedIdentity(address, publicKey) {
      const known = this.known.get(key(address));
      return known === undefined || this.lenient.has(key(address)) || known.equals(publicKey.serialize());
    }

    async getIdentity(address) {
      const known = this.known.get(key(address));
      return known === undefined ? null : lib.PublicKey.deserialize(known);
    }
  }

  class PreKeys extends lib.PreKeyStore {
    records = new Map();

    async savePreKey(id, record) {
      this.records.set(id, record);
    }

    async getPreKey(id) {
      const record = this.records.get(id);
      if (record === undefined) throw new PeerError('InvalidPreKeyId', `no one-time prekey ${id}`);
      return record;
    }

    async removePreKey(id) {
      this.records.delete(id);
    }
  }

  class SignedPreKeys extends lib.SignedPreKeyStore {
    records = new Map();

    async saveSignedPreKey(id, record) {
      this.records.set(id, record);
    }

    async getSignedPreKey(id) {
      const record = this.records.get(id);
      if (record === undefined) throw new PeerError('InvalidPreKeyId', `no signed prekey ${id}`);
      return record;
    }
  }

  class KyberPreKeys extends lib.KyberPreKeyStore {
    records = new Map();
    lastResort = new Set(); // ids that are not deleted on use
    used = new Set(); // ids that have been used
    seen = new Set(); // "kyber id, signed prekey id, base key" of every use of a last-resort prekey
    opening = null; // fields of the first message being opened: older versions do not hand them over

    async saveKyberPreKey(id, record) {
      this.records.set(id, record);
    }

    async getKyberPreKey(id) {
      const record = this.records.get(id);
      if (record === undefined) throw new PeerError('InvalidPreKeyId', `no KEM prekey ${id}`);
      return record;
    }

    async markKyberPreKeyUsed(id, signedPreKeyId, baseKey) {
      this.used.add(id);
      if (!this.lastResort.has(id)) {
        this.records.delete(id);
        return;
      }
      signedPreKeyId ??= this.opening?.signedPreKeyId;
      const base = baseKey === undefined ? this.opening?.baseKey : Buffer.from(baseKey.serialize()).toString('base64');
      const use = `${id},${signedPreKeyId},${base}`;
      if (this.seen.has(use)) throw new PeerError('ReusedBaseKey', 'reused base key');
      this.seen.add(use);
    }
  }

  class SenderKeys extends lib.SenderKeyStore {
    records = new Map();

    async saveSenderKey(sender, distributionId, record) {
      this.records.set(`${key(sender)},${distributionId}`, record);
    }

    async getSenderKey(sender, distributionId) {
      return this.records.get(`${key(sender)},${distributionId}`) ?? null;
    }
  }

  return class Party {
    constructor(name, device, registrationId, privateKey) {
      this.address = lib.ProtocolAddress.new(name, device);
      this.name = name;
      this.device = device;
      this.registrationId = registrationId;
      this.privateKey = privateKey;
      this.publicKey = privateKey.getPublicKey();
      this.identityKeyPair = new lib.IdentityKeyPair(this.publicKey, privateKey);
      this.sessions = new Sessions();
      this.identities = new Identities(privateKey, registrationId);
      this.preKeys = new PreKeys();
      this.signedPreKeys = new SignedPreKeys();
      this.kyberPreKeys = new KyberPreKeys();
      this.senderKeys = new SenderKeys();
    }

    /**
     * Runs one operation that may touch several stores; if it fails, all of them are as before. The
     * library leaves atomicity to its stores: it may save an identity before a later step refuses.
     */
    async atomically(operation) {
      const stores = [
        [this.sessions, 'records'],
        [this.identities, 'known'],
        [this.preKeys, 'records'],
        [this.kyberPreKeys, 'records'],
        [this.kyberPreKeys, 'used'],
        [this.kyberPreKeys, 'seen'],
        [this.senderKeys, 'records'],
      ];
      const before = stores.map(([store, field]) => new store[field].constructor(store[field]));
      try {
        return await operation();
      } catch (error) {
        stores.forEach(([store, field], i) => (store[field] = before[i]));
        throw error;
      }
    }
  };
}
