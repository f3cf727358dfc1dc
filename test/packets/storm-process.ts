import { openInstance } from '../../src/dataplane/ebpf/instance.ts';
import { testRunSkb } from '../../src/sys/bpf/test-run.ts';
import { tcp, udp } from './frame.ts';
import { inbound } from './harness.ts';
import { randomNumbers } from './random.ts';

/*
 * A process that sends random packets of few clients through a plane's program, as fast as it can, for as long as it
 * is told: `storm-process.ts INSTANCE-FOLDER C0-INDEX R0-INDEX START MILLISECONDS`. Prints how many it sent.
 */

const [folder, c0, r0, start, lastsMs] = process.argv.slice(2);
const random = randomNumbers(Number(start));
const instance = openInstance(folder!);
const fd = instance?.program('headgate_ethernet')?.fd;
if (fd === undefined) throw new Error(`open the instance in "${folder}": there is none`);

const vip = '198.51.100.10';
const until = performance.now() + Number(lastsMs);
let sent = 0;
while (performance.now() < until) {
  for (let i = 0; i < 100; i++, sent++) {
    const client = `203.0.113.7:${1024 + random.below(60)}`;
    const flags = random.pick(['S', 'S', 'S', 'A', 'FA', 'R']);
    if (random.below(4) === 0) {
      const real = `10.1.0.${11 + random.below(2)}:80`;
      testRunSkb(fd, inbound('r0', tcp(real, client, flags)), { ifindex: Number(r0) });
    } else {
      const packet = random.below(3) ? tcp(client, `${vip}:80`, flags) : udp(client, `${vip}:53`);
      testRunSkb(fd, inbound('c0', packet), { ifindex: Number(c0) });
    }
  }
}
console.log(sent);
instance?.close();
