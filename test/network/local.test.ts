import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Helper, startRealServer } from '../../src/lab/processes.ts';
import { requires } from '../requirements.ts';
import { at, linkKinds, plans, type Site, services, standUp } from './site.ts';
import { askTcp, askUdp, streamOn } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

const megabytes5 = 5 * 1000 * 1000;
const digest = { bytes: megabytes5, sha256: patternDigest(megabytes5) };

requires(
  'root',
  'netns',
  'bpf',
)('the director as client and as destination', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    let local: Helper;
    beforeAll(async () => {
      site = await standUp('local', kind, { started: [1] });
      local = await startRealServer(site.lab, 'director', { name: 'director', ...services });
      site.rules(...rulesOf(plans[4]), ...rulesOf(plans[6]));
    });
    afterAll(async () => {
      await local?.stop();
      await site?.down();
    });

    describe.each([4, 6] as const)('IPv%i', (family) => {
      const plan = plans[family];
      const clients = [
        { who: 'a remote client', node: 'client', from: undefined },
        { who: 'a client on the director', node: 'director', from: undefined },
        { who: 'a client on the director from another address', node: 'director', from: plan.front },
      ] as const;
      // The virtual address itself is the source where a client on the director names none; a real server that holds
      // the address too would answer itself, so direct routing to it needs another one, as with the kernel's IPVS.
      const destinations = destinationsOf(plan).map((destination) => ({
        ...destination,
        clients: destination.to === 'remote, direct-routing' ? [clients[0], clients[2]] : clients,
      }));

      describe.each(destinations)('to $to', ({ vip, name, ports, clients }) => {
        it.each(clients)('$who', async ({ node, from }) => {
          const options = from === undefined ? {} : { from: { address: from } };
          const before = site.connectionsMade();
          expect(askTcp(site.lab, node, { address: vip, port: ports.tcp }, options)).toBe(name);
          const datagram = askUdp(site.lab, node, { address: vip, port: ports.udp }, undefined, options);
          expect(datagram.name).toBe(name);
          const open = () => streamOn(site.lab, node, { address: vip, port: ports.http }, options);
          expect(await download(open(), megabytes5)).toEqual(digest);
          expect(await upload(open(), megabytes5)).toEqual(digest);
          // Without the data plane the director's own servers would answer just so: each must be a connection of ours.
          expect(site.connectionsMade() - before).toBe(4);
        });
      });
    });
  });
});

type Addresses = (typeof plans)[4];

/** Where requests go; each has services of its own, so one table serves the whole file. */
function destinationsOf({ vip, sharedVip, front, backOf, frontOf }: Addresses) {
  const own = { tcp: 7, http: 80, udp: 5300 };
  const other = { tcp: 7007, http: 8080, udp: 5353 };
  const at1000 = { tcp: 1007, http: 1080, udp: 1530 };
  const at2000 = { tcp: 2007, http: 2080, udp: 2530 };
  return [
    {
      to: 'local, masquerade',
      vip,
      ports: at1000,
      real: front,
      realPorts: other,
      flag: '-m',
      name: 'director',
    },
    { to: 'local, direct-routing', vip, ports: own, real: vip, realPorts: own, flag: '-g', name: 'director' },
    {
      to: 'remote, masquerade',
      vip,
      ports: at2000,
      real: backOf(1),
      realPorts: other,
      flag: '-m',
      name: 'real1',
    },
    {
      to: 'remote, direct-routing',
      vip: sharedVip,
      ports: own,
      real: frontOf(1),
      realPorts: own,
      flag: '-g',
      name: 'real1',
    },
  ] as const;
}

function rulesOf(plan: Addresses): string[] {
  return destinationsOf(plan).flatMap(({ vip, ports, real, realPorts, flag }) =>
    (['tcp', 'http', 'udp'] as const).flatMap((kind) => {
      const service = `${kind === 'udp' ? '-u' : '-t'} ${at(vip, ports[kind])}`;
      return [`-A ${service} -s rr`, `-a ${service} -r ${at(real, realPorts[kind])} ${flag}`];
    }),
  );
}
