/** CRC32c of some bytes, bit by bit (RFC 3720, appendix B.4): polynomial 0x1EDC6F41, reflected. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

const checksumAt = 8;

/** The checksum that an SCTP packet should have (RFC 9260, 6.8): it lies there with its lowest byte first. */
export function sctpChecksum(packet: Uint8Array): number {
  const zeroed = Uint8Array.from(packet);
  zeroed.fill(0, checksumAt, checksumAt + 4);
  return crc32c(zeroed);
}
