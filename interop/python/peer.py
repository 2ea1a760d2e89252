#!/usr/bin/env python3
"""A test peer over python3-doubleratchet: JSON lines on standard input and output, as described in
../README.md. State is in memory; one process holds several parties.

The ratchet is the library's; what it leaves open (KDFs, AEAD, layout of the header) is configured here as the
Double Ratchet specification recommends, with AES-256-GCM, and labels and layout as the caller says.
"""

import base64
import binascii
import functools
import json
import os
import sys
import typing

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
import doubleratchet
from doubleratchet.recommended import HashFunction, diffie_hellman_ratchet_curve25519, kdf_hkdf, kdf_separate_hmacs

MAX_LINE = 32 << 20  # bytes
KEY = 32
SALT = 16  # random bytes in every message
MAX_EXTRA = 255  # its length is one byte
TAG = 16


class Refusal(Exception):
    """An error that is answered to the caller with a name of its own."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name = name


def bad(message):
    return Refusal("BadRequest", message)


def run(coroutine):
    """The library's methods are coroutines that never wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a coroutine waits")


# ---- request fields ----------------------------------------------------------------------------------


def text(req, field, default=None):
    value = req.get(field, default)
    if not isinstance(value, str):
        raise bad(f"{field}: a string is required")
    return value


def uint(req, field, default=None, low=0, high=0xFFFFFFFF):
    value = req.get(field, default)
    if type(value) is not int or not low <= value <= high:  # a bool is an int, too
        raise bad(f"{field}: a whole number from {low} to {high} is required")
    return value


def boolean(req, field, default):
    value = req.get(field, default)
    if not isinstance(value, bool):
        raise bad(f"{field}: true or false is required")
    return value


def mapping(req, field, default=None):
    value = req.get(field, default)
    if not isinstance(value, dict):
        raise bad(f"{field}: an object is required")
    return value


def binary(req, field, default=None, size=None):
    try:
        value = base64.b64decode(text(req, field, default).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise bad(f"{field}: standard base64 is required") from error
    if size is not None and len(value) != size:
        raise bad(f"{field}: {size} bytes are required")
    return value


def b64(value):
    return base64.b64encode(value).decode("ascii")


def address(req, field):
    value = mapping(req, field)
    return f"{text(value, 'name')}.{uint(value, 'device', 1, 1, 127)}"


# ---- the suite ----------------------------------------------------------------------------------------


class DiffieHellmanRatchet(diffie_hellman_ratchet_curve25519.DiffieHellmanRatchet):
    """The library derives the public key anew for every message, which takes longer than all the rest."""

    _derive_pub = staticmethod(
        functools.lru_cache(maxsize=1024)(diffie_hellman_ratchet_curve25519.DiffieHellmanRatchet._derive_pub)
    )


class Extras(typing.NamedTuple):
    """What a message has beside what the library knows of: the salt of its key derivation, which stands for a
    second ratchet's key and is not sent; the random salt and the extra bytes, which are. The library passes
    nothing but the associated data to the AEAD, so they come in front of it."""

    key: bytes
    salt: bytes
    extra: bytes

    def before(self, associated_data):
        return self.key + self.salt + bytes([len(self.extra)]) + self.extra + associated_data

    @classmethod
    def split(cls, data):
        end = KEY + SALT + 1 + data[KEY + SALT]
        return cls(data[:KEY], data[KEY : KEY + SALT], data[KEY + SALT + 1 : end]), data[end:]


class Suite:
    """Labels, constants, limits and the layout of the header, as the caller gives them."""

    FIELDS = {"ratchetKey": 32, "counter": 4, "previousCounter": 4, "salt": SALT}
    EXTRA = "extra"  # at most 255 bytes behind their length; may be left out

    def __init__(self, req):
        root_info = text(req, "rootInfo", "DoubleRatchet root").encode()
        message_info = text(req, "messageInfo", "DoubleRatchet message").encode()
        # An absent salt of HKDF is 32 zero bytes (RFC 5869, Section 2.2).
        self.message_salt = binary(req, "messageSalt", b64(bytes(KEY)), size=KEY)
        seed = uint(req, "seedConstant", 1, 0, 255)
        chain = uint(req, "chainConstant", 2, 0, 255)
        self.layout = self.parse_layout(req.get("layout", ["ratchetKey", "counter", "previousCounter", "salt"]))
        max_skipped = uint(req, "maxSkipped", 2000)

        class RootKDF(kdf_hkdf.KDF):
            """HKDF-SHA256: salt = root key, input = DH output → next root key, chain key."""

            @staticmethod
            def _get_hash_function():
                return HashFunction.SHA_256

            @staticmethod
            def _get_info():
                return root_info

        class ChainKDF(kdf_separate_hmacs.KDF):
            """HMAC-SHA256 with the chain key over each constant."""

            @staticmethod
            def _get_hash_function():
                return HashFunction.SHA_256

        class AEAD(doubleratchet.AEAD):
            """AES-256-GCM; key and nonce by HKDF-SHA256 from the message's seed and its extras."""

            @staticmethod
            def cipher(seed, extras):
                keys = HKDF(SHA256(), 32 + 12, extras.key, message_info).derive(seed + extras.salt)
                return AESGCM(keys[:32]), keys[32:]

            @classmethod
            async def encrypt(cls, plaintext, key, associated_data):
                extras, associated_data = Extras.split(associated_data)
                aead, nonce = cls.cipher(key, extras)
                return aead.encrypt(nonce, plaintext, associated_data)

            @classmethod
            async def decrypt(cls, ciphertext, key, associated_data):
                extras, associated_data = Extras.split(associated_data)
                aead, nonce = cls.cipher(key, extras)
                try:
                    return aead.decrypt(nonce, ciphertext, associated_data)
                except InvalidTag as error:
                    raise doubleratchet.AuthenticationFailedException() from error

        encode = self.encode

        class Ratchet(doubleratchet.DoubleRatchet):
            """Authenticates associated data ‖ header."""

            @staticmethod
            def _build_associated_data(associated_data, header):
                return associated_data + encode(header, Extras.split(associated_data)[0])

        self.ratchet = Ratchet
        self.config = {
            "diffie_hellman_ratchet_class": DiffieHellmanRatchet,
            "root_chain_kdf": RootKDF,
            "message_chain_kdf": ChainKDF,
            # The library takes the next chain key first and the message's seed second.
            "message_chain_constant": bytes([chain, seed]),
            "dos_protection_threshold": max_skipped,
            "max_num_skipped_message_keys": max_skipped,
            "aead": AEAD,
        }

    @classmethod
    def parse_layout(cls, items):
        if not isinstance(items, list):
            raise bad("layout: a list is required")
        layout = []
        for item in items:
            if isinstance(item, str) and item.startswith("hex:"):
                try:
                    layout.append(bytes.fromhex(item[4:]))
                except ValueError as error:
                    raise bad("layout: hexadecimal digits are required") from error
            elif isinstance(item, str) and item in (*cls.FIELDS, cls.EXTRA) and item not in layout:
                layout.append(item)
            else:
                raise bad("layout: a field once, or hex:…, is required")
        if not all(field in layout for field in cls.FIELDS):
            raise bad(f"layout: all of {', '.join(cls.FIELDS)} are required")
        return layout

    def encode(self, header, extras):
        values = {
            "ratchetKey": header.ratchet_pub,
            "counter": header.sending_chain_length.to_bytes(4, "big"),
            "previousCounter": header.previous_sending_chain_length.to_bytes(4, "big"),
            "salt": extras.salt,
            self.EXTRA: bytes([len(extras.extra)]) + extras.extra,
        }
        return b"".join(item if isinstance(item, bytes) else values[item] for item in self.layout)

    def decode(self, message):
        """The header, the salt, the extra bytes and the ciphertext of a message."""
        values, at = {self.EXTRA: b""}, 0
        for item in self.layout:
            if item == self.EXTRA:
                size = int.from_bytes(message[at : at + 1], "big")
                at += 1
            else:
                size = len(item) if isinstance(item, bytes) else self.FIELDS[item]
            part = message[at : at + size]
            at += size
            if at + TAG > len(message):
                raise Refusal("InvalidMessage", "message too short")
            if not isinstance(item, bytes):
                values[item] = part
            elif part != item:
                raise Refusal("InvalidMessage", "not this layout")
        header = doubleratchet.Header(
            values["ratchetKey"],
            int.from_bytes(values["previousCounter"], "big"),
            int.from_bytes(values["counter"], "big"),
        )
        return header, values["salt"], values[self.EXTRA], message[at:]


# ---- parties ------------------------------------------------------------------------------------------


class Session:
    """One ratchet: agreed on, and running once a first message has been sent or opened."""

    def __init__(self, suite, agreed, ratchet=None, answered=False):
        self.suite = suite
        self.agreed = agreed  # plain values, as in the request that set it up
        self.ratchet = ratchet
        self.answered = answered  # they have opened something of ours, so our prefix is no longer needed

    @classmethod
    def parse(cls, suite, record):
        try:
            state = json.loads(record)
            ratchet = state["ratchet"]
            if ratchet is not None:
                ratchet = suite.ratchet.from_json(ratchet, **suite.config)
            return cls(suite, state["agreed"], ratchet, state["answered"])
        except Exception as error:  # whatever the library's parser makes of nonsense
            raise Refusal("InvalidRecord", f"not a record: {type(error).__name__}") from error

    def record(self):
        ratchet = None if self.ratchet is None else self.ratchet.json
        state = {"agreed": self.agreed, "ratchet": ratchet, "answered": self.answered}
        return json.dumps(state, sort_keys=True).encode()

    @property
    def can_send(self):
        return self.ratchet is not None or self.agreed["role"] == "initiator"

    def encrypt(self, plaintext, key, extra):
        if not self.can_send:
            raise Refusal("SessionNotFound", "nothing received yet to answer")
        prefix = b"" if self.answered else binary(self.agreed, "ourPrefix")
        extras = Extras(key, os.urandom(SALT), extra)
        associated = extras.before(binary(self.agreed, "associatedData") + prefix)
        if self.ratchet is None:
            self.ratchet, sealed = run(
                self.suite.ratchet.encrypt_initial_message(
                    shared_secret=binary(self.agreed, "sharedSecret"),
                    recipient_ratchet_pub=binary(self.agreed, "theirRatchetKey"),
                    message=plaintext,
                    associated_data=associated,
                    **self.suite.config,
                )
            )
        else:
            sealed = run(self.ratchet.encrypt_message(plaintext, associated))
        return prefix + self.suite.encode(sealed.header, extras) + sealed.ciphertext

    def decrypt(self, message, key):
        prefix = binary(self.agreed, "theirPrefix")
        if not message.startswith(prefix):
            prefix = b""
        header, salt, extra, ciphertext = self.suite.decode(message[len(prefix) :])
        sealed = doubleratchet.EncryptedMessage(header, ciphertext)
        associated = Extras(key, salt, extra).before(binary(self.agreed, "associatedData") + prefix)
        try:
            if self.ratchet is not None:
                plaintext = run(self.ratchet.decrypt_message(sealed, associated))
            elif self.agreed["role"] == "responder":
                self.ratchet, plaintext = run(
                    self.suite.ratchet.decrypt_initial_message(
                        shared_secret=binary(self.agreed, "sharedSecret"),
                        own_ratchet_priv=binary(self.agreed, "ourRatchetPrivate"),
                        message=sealed,
                        associated_data=associated,
                        **self.suite.config,
                    )
                )
            else:
                raise Refusal("SessionNotFound", "nothing sent yet that could be answered")
        except doubleratchet.DuplicateMessageException as error:
            raise Refusal("DuplicatedMessage", "the message was received before") from error
        except (doubleratchet.AuthenticationFailedException, doubleratchet.DoSProtectionException) as error:
            raise Refusal("InvalidMessage", type(error).__name__) from error
        except (AssertionError, ValueError) as error:  # a ratchet key that leads nowhere, or of low order
            raise Refusal("InvalidMessage", type(error).__name__) from error
        self.answered = True
        return plaintext


class Party:
    def __init__(self, name, device, suite):
        self.name = name
        self.device = device
        self.suite = suite
        self.invitation = None  # what bundle has offered, until somebody takes it up
        self.sessions = {}


parties = {}


def party(req):
    found = parties.get(text(req, "party"))
    if found is None:
        raise Refusal("NoSuchParty", "no such party")
    return found


def session_with(p, remote):
    """The session with an address. A stranger is taken to answer the party's last invitation."""
    found = p.sessions.get(remote)
    if found is None and p.invitation is not None:
        found = Session(p.suite, p.invitation)
    if found is None:
        raise Refusal("SessionNotFound", "no session")
    return found


def public_key(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def new_private_key():
    return X25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


# ---- operations ---------------------------------------------------------------------------------------


def op_hello(_req):
    return {
        "library": "python3-doubleratchet",
        "version": doubleratchet.__version__["short"],
        "python": sys.version.split()[0],
        "spqr": "off",
        "localAddress": False,
        "ops": sorted(OPS),
    }


def op_party(req):
    label = text(req, "party")
    p = Party(text(req, "name"), uint(req, "device", 1, 1, 127), Suite(mapping(req, "suite", {})))
    parties[label] = p
    return {"name": p.name, "device": p.device}


def op_forget_party(req):
    return {"existed": parties.pop(text(req, "party"), None) is not None}


def op_bundle(req):
    """Invents what a handshake would have agreed on, and offers it to whoever asks."""
    p = party(req)
    secret, private, associated = os.urandom(32), new_private_key(), os.urandom(32)
    p.invitation = {
        "role": "responder",
        "sharedSecret": b64(secret),
        "ourRatchetPrivate": b64(private),
        "associatedData": b64(associated),
        "ourPrefix": "",
        "theirPrefix": "",
    }
    return {
        "bundle": {
            "sharedSecret": b64(secret),
            "ratchetKey": b64(public_key(private)),
            "associatedData": b64(associated),
        }
    }


def op_process_bundle(req):
    p = party(req)
    remote = address(req, "remote")
    bundle = mapping(req, "bundle")
    p.sessions[remote] = Session(
        p.suite,
        {
            "role": "initiator",
            "sharedSecret": b64(binary(bundle, "sharedSecret", size=32)),
            "theirRatchetKey": b64(binary(bundle, "ratchetKey", size=32)),
            "associatedData": b64(binary(bundle, "associatedData")),
            "ourPrefix": "",
            "theirPrefix": "",
        },
    )
    return {}


def op_ratchet(req):
    p = party(req)
    remote = address(req, "remote")
    role = text(req, "role")
    agreed = {
        "role": role,
        "sharedSecret": b64(binary(req, "sharedSecret", size=32)),
        "associatedData": b64(binary(req, "associatedData", "")),
        "ourPrefix": b64(binary(req, "ourPrefix", "")),
        "theirPrefix": b64(binary(req, "theirPrefix", "")),
    }
    if role == "initiator":
        agreed["theirRatchetKey"] = b64(binary(req, "theirRatchetKey", size=32))
    elif role == "responder":
        agreed["ourRatchetPrivate"] = b64(binary(req, "ourRatchetPrivate", size=32))
    else:
        raise bad("role: initiator or responder is required")
    p.sessions[remote] = Session(p.suite, agreed)
    return {}


def message_salt(req, suite):
    return binary(req, "messageSalt", b64(suite.message_salt), size=KEY)


def op_encrypt(req):
    p = party(req)
    remote = address(req, "remote")
    plaintext = binary(req, "plaintext")
    key = message_salt(req, p.suite)
    extra = binary(req, "extra", "")
    if len(extra) > (MAX_EXTRA if Suite.EXTRA in p.suite.layout else 0):
        raise bad("extra: too long for the layout")
    message = session_with(p, remote).encrypt(plaintext, key, extra)
    return {"type": 2, "message": b64(message), "bytes": len(message)}


def op_decrypt(req):
    p = party(req)
    remote = address(req, "remote")
    uint(req, "type", low=2, high=3)  # it makes no difference here
    message = binary(req, "message")
    key = message_salt(req, p.suite)
    session = session_with(p, remote)
    plaintext = session.decrypt(message, key)
    if p.sessions.setdefault(remote, session) is session and session.agreed is p.invitation:
        p.invitation = None
    return {"plaintext": b64(plaintext)}


def op_session(req):
    p = party(req)
    remote = address(req, "remote")
    if boolean(req, "archive", False):
        raise Refusal("Unsupported", "there is one session and no archive")
    given = None if req.get("set") is None else Session.parse(p.suite, binary(req, "set"))
    if boolean(req, "del", False):
        p.sessions.pop(remote, None)
    if given is not None:
        p.sessions[remote] = given
    session = p.sessions.get(remote)
    record = None if session is None else session.record()
    return {
        "exists": session is not None,
        "hasCurrent": session is not None and session.can_send,
        "bytes": 0 if record is None else len(record),
        "record": None if record is None else b64(record),
    }


def op_inspect(req):
    uint(req, "type", low=2, high=3)
    header, salt, extra, ciphertext = Suite(mapping(req, "suite", {})).decode(binary(req, "message"))
    return {
        "fields": {
            "ratchetKey": b64(header.ratchet_pub),
            "counter": header.sending_chain_length,
            "previousCounter": header.previous_sending_chain_length,
            "salt": b64(salt),
            "extra": b64(extra),
            "ciphertextBytes": len(ciphertext),
        }
    }


OPS = {
    "hello": op_hello,
    "party": op_party,
    "forgetParty": op_forget_party,
    "bundle": op_bundle,
    "processBundle": op_process_bundle,
    "ratchet": op_ratchet,
    "encrypt": op_encrypt,
    "decrypt": op_decrypt,
    "session": op_session,
    "inspect": op_inspect,
}


# ---- lines --------------------------------------------------------------------------------------------


def answer(line):
    number = None
    try:
        try:
            req = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise bad("not a JSON object") from error
        if not isinstance(req, dict):
            raise bad("not a JSON object")
        number = req.get("id")
        op = OPS.get(text(req, "op"))
        if op is None:
            raise Refusal("Unsupported", "no such operation")
        return {"id": number, "ok": True, **op(req)}
    except Refusal as refusal:
        error = {"name": refusal.name, "code": None, "message": str(refusal)}
    except Exception as unexpected:  # no line ends the process
        error = {"name": type(unexpected).__name__, "code": None, "message": str(unexpected)}
    return {"id": number, "ok": False, "error": error}


def main():
    lines = sys.stdin.buffer
    while line := lines.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = lines.readline(MAX_LINE)
            line = b"too long"
        if line.strip():
            sys.stdout.write(json.dumps(answer(line)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # nobody listens any more
        sys.stderr.close()
