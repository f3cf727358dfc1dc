/**
 * A datagram every millisecond, run as a program in real time, for nothing else of the clients' must delay it: the address as its
 * argument. Prints for how long nobody answered when its standard input ends.
 */
import { createSocket } from 'node:dgram';
import { runInRealTime } from '../../src/sys/realtime.ts';
import { ports, probedOf } from './silence.ts';

const priority = 5;
const sleep = (ms: number) => new Promise<void>((done) => void setTimeout(done, ms));
const sent: number[] = [];
const answered = new Set<number>();
const socket = createSocket('udp4');
socket.on('message', (reply) => answered.add(Number(reply.toString().split(' ').at(-1))));
// A director that refuses is silent as well.
socket.on('error', () => undefined);
await new Promise<void>((done) => socket.connect(ports.probe, process.argv[2]!, done));
let ending = false;
process.stdin.resume().on('end', () => {
  ending = true;
});
runInRealTime(priority);
while (!ending) {
  const number = sent.push(performance.now()) - 1;
  socket.send(String(number), () => undefined);
  await sleep(1);
}
// A busy server answers late.
await sleep(1000);
process.stdout.write(`${JSON.stringify(probedOf(sent, answered, performance.timeOrigin))}\n`);
process.exit(0);
