import { expect, it } from 'vitest';
import { hsiphash } from './siphash.ts';

// lib/test_siphash.c of Linux, 64-bit: key bytes 0..15, input of length n is the bytes 0..n-1.
// biome-ignore format: as a table
const vectors = [
  0x050fc4dc, 0x7d57ca93, 0x4dc7d44d, 0xe7ddf7fb, 0x88d38328, 0x49533b67, 0xc59f22a7, 0x9bb11140,
  0x8d299a8e, 0x6c063de4, 0x92ff097f, 0xf94dc352, 0x57b4d9a2, 0x1229ffa7, 0xc0f95d34, 0x2a519956,
  0x7d908b66, 0x63dbd80c, 0xb473e63e, 0x8d297d1c, 0xa6cce040, 0x2b45f844, 0xa320872e, 0xdae6c123,
];

it.each(vectors.map((hash, length) => ({ length, hash })))(
  'hashes $length bytes as the kernel does',
  ({ length, hash }) => {
    const data = Uint8Array.from({ length }, (_, i) => i);
    expect(hsiphash(data, [0x0706050403020100n, 0x0f0e0d0c0b0a0908n])).toBe(hash);
  },
);
