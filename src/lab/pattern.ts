/**
 * The byte stream the lab's servers send: byte i is the top byte of the 32-bit product of i and an odd constant, so any
 * part can be checked without the rest, and no shift of it by less than 4 GiB looks the same.
 */
export function patternBytes(offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.imul(offset + i, 0x9e3779b1) >>> 24;
  return bytes;
}
