package curve

// SignWith is Sign with the 64 random bytes given, for vectors.
func (k *PrivateKey) SignWith(message []byte, z *[64]byte) []byte { return k.sign(message, z) }
