import { setTimeout as sleep } from 'node:timers/promises';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { openFrameSocket } from '../../src/sys/raw.ts';
import { encode, ethernet, tcp } from '../packets/frame.ts';

/*
 * A process that sends SYNs nobody means: `flood-process.ts DEVICE MAC ADDRESS:PORT SOURCES COUNT RATE`, from so many
 * addresses of 100.64.0.0/10 (RFC 6598) one after the other, each time from another port; at most RATE a second, 0: as fast
 * as it can. Prints how many it sent, in how many milliseconds.
 */

const [device = '', mac = '', target = '', ...numbers] = process.argv.slice(2);
const [sources, count, rate] = numbers.map(Number) as [number, number, number];
const socket = openFrameSocket(withNetlink({}, (netlink) => linkIndex(netlink, device)));
const frame = ethernet(encode(tcp('100.64.0.0:0', target, 'S')), { to: mac, from: '02:00:00:00:00:01' });
const [ipSum, sourceAt, portAt, tcpSum] = [14 + 10, 14 + 12, 34, 34 + 16];
const bare = [frame.readUInt16BE(ipSum), frame.readUInt16BE(tcpSum)] as const;

/** A checksum with words added to those it is of (RFC 1624). */
function withWords(sum: number, ...words: number[]): number {
  let all = words.reduce((one, word) => one + word, ~sum & 0xffff);
  while (all > 0xffff) all = (all & 0xffff) + (all >>> 16);
  return ~all & 0xffff;
}

const started = performance.now();
for (let sent = 0; sent < count; sent++) {
  const source = sent % sources;
  const [high, low, port] = [source >>> 16, source & 0xffff, 1024 + ((sent * 7) % 60_000)];
  frame.writeUInt16BE(0x6440 + high, sourceAt);
  frame.writeUInt16BE(low, sourceAt + 2);
  frame.writeUInt16BE(port, portAt);
  frame.writeUInt16BE(withWords(bare[0], high, low), ipSum);
  frame.writeUInt16BE(withWords(bare[1], high, low, port), tcpSum);
  socket.send(frame);
  if (rate === 0 || sent % 64 !== 0) continue;
  const aheadMs = (sent / rate) * 1000 - (performance.now() - started);
  if (aheadMs > 2) await sleep(aheadMs);
}
console.log(count, Math.round(performance.now() - started));
socket.close();
