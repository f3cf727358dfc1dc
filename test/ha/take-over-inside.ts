import { setImmediate as others } from 'node:timers/promises';
import { openKeeper } from '../../src/ha/keeper.ts';
import { bootTimeMs } from '../../src/sys/clock.ts';
import { listAddresses } from '../../src/sys/netlink/address.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { openEar, order, vips, wordsHeard } from './group.ts';

/*
 * Takes over as the group in this network namespace. Prints, for each instance when it has become master, which addresses are held
 * and what has been said: a socket of this process hears what leaves it in the moment it leaves.
 */

const frames = openEar();
const said: string[] = [];
const entered: { held: string[]; said: string[] }[] = [];
const keeper = openKeeper(bootTimeMs, {
  entered(_instance, state) {
    if (state !== 'master') return;
    said.push(...wordsHeard(frames, 'us'));
    const addresses = withNetlink({}, listAddresses).map(({ address }) => address);
    entered.push({ held: vips.filter((vip) => addresses.some((one) => one === vip)), said: [...said] });
  },
  failed(instance, what, error) {
    process.stderr.write(`${instance}: ${what}: ${error}\n`);
  },
});
keeper.order(order);
while (entered.length < vips.length) {
  keeper.turn(10);
  await others();
}
// What follows in the same turn.
said.push(...wordsHeard(frames, 'us'));
keeper.stop();
frames.close();
process.stdout.write(JSON.stringify({ entered, said }));
