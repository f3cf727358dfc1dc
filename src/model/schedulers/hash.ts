/** The kernel's hash_32 (include/linux/hash.h): multiply by the golden ratio, keep the upper `bits` bits. */
export function hash32(value: number, bits: number): number {
  return Math.imul(value, 0x61c88647) >>> (32 - bits);
}

/** Buckets of the `sh` and `dh` tables: 2^8 (CONFIG_IP_VS_SH_TAB_BITS, CONFIG_IP_VS_DH_TAB_BITS). */
export const hashTableBits = 8;
export const hashTableSize = 1 << hashTableBits;
