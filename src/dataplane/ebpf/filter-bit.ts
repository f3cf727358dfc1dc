/** The bit of an address in a filter: in_filter() of bpf/headgate.bpf.c. */
export function filterBit(address: Uint8Array): number {
  const view = new DataView(address.buffer, address.byteOffset, 16);
  const folded = view.getUint32(0) ^ view.getUint32(4) ^ view.getUint32(8) ^ view.getUint32(12);
  return Math.imul(folded, 0x61c88647) >>> 20;
}
