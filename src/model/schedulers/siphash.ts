const u64 = (value: bigint) => BigInt.asUintN(64, value);
const rotate = (value: bigint, bits: bigint) => u64((value << bits) | (value >> (64n - bits)));

/**
 * The kernel's hsiphash on 64-bit machines (lib/siphash.c): SipHash-1-3 (Aumasson and Bernstein, 2012) with a
 * 128-bit key of two words, cut to its low 32 bits.
 */
export function hsiphash(data: Uint8Array, key: readonly [bigint, bigint]): number {
  let v0 = 0x736f6d6570736575n ^ key[0];
  let v1 = 0x646f72616e646f6dn ^ key[1];
  let v2 = 0x6c7967656e657261n ^ key[0];
  let v3 = 0x7465646279746573n ^ key[1];

  const round = () => {
    v0 = u64(v0 + v1);
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = u64(v2 + v3);
    v3 = rotate(v3, 16n) ^ v2;
    v0 = u64(v0 + v3);
    v3 = rotate(v3, 21n) ^ v0;
    v2 = u64(v2 + v1);
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const compress = (word: bigint) => {
    v3 ^= word;
    round();
    v0 ^= word;
  };

  const whole = data.length - (data.length % 8);
  for (let offset = 0; offset < whole; offset += 8) compress(littleEndian(data.subarray(offset, offset + 8)));
  compress((BigInt(data.length & 0xff) << 56n) | littleEndian(data.subarray(whole)));
  v2 ^= 0xffn;
  round();
  round();
  round();
  return Number(BigInt.asUintN(32, v0 ^ v1 ^ v2 ^ v3));
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n);
}
