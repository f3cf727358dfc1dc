import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressFromBytes } from '../../src/model/address.ts';
import { readOffloads } from '../../src/sys/ethtool.ts';
import { linkIndex, setLink } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { requires } from '../requirements.ts';
import { arrived, type IpPacket, isTransportChecksumRight, watch } from './frames.ts';
import { at, finishedByDirector, linkKinds, plans, type Site, standUp, verifiedByDirector } from './site.ts';
import { askTcp, askUdp, freshPort, streamOn, tally } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

const megabytes20 = 20 * 1000 * 1000;
const asked = (times: number, ask: () => string) => tally(Array.from({ length: times }, ask));

requires(
  'root',
  'netns',
  'bpf',
)('forwarding', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('forward', kind);
    });
    afterAll(() => site?.down());

    it('stands on links with these offloads', () => {
      const wanted = kind.offloads === undefined;
      for (const [node, device] of [
        ['client', 'front'],
        ['director', 'front'],
        ['director', 'back'],
        ['real1', 'back'],
        ['front', 'port0'],
      ] as const) {
        const found = site.lab.inside(node, () => readOffloads(device));
        expect({ node, ...found }).toMatchObject({ node, tso: wanted, gso: wanted, txChecksum: wanted });
        if (!wanted) expect({ node, ...found }).toMatchObject({ node, ...kind.offloads });
      }
    });

    it.each([4, 6] as const)('goes on when forwarding is switched off later, IPv%i', async (family) => {
      const { vip, backOf } = plans[family];
      site.rules(`-A -t ${at(vip, 7)} -s rr`, `-a -t ${at(vip, 7)} -r ${at(backOf(1), 7007)} -m`);
      forward(site, 1);
      expect(askTcp(site.lab, 'client', { address: vip, port: 7 })).toBe('real1');
      forward(site, 0);
      // The data plane asks the kernel for its routes once a second.
      await setTimeout(1500);
      expect(askTcp(site.lab, 'client', { address: vip, port: 7 })).toBe('real1');
    });

    const methods = [
      { method: 'masquerade', flag: '-m', legs: 'two legs', vip: 'vip', real: 'backOf' },
      { method: 'direct-routing', flag: '-g', legs: 'two legs', vip: 'sharedVip', real: 'backOf' },
      { method: 'direct-routing', flag: '-g', legs: 'one leg', vip: 'sharedVip', real: 'frontOf' },
      // The real servers' answers to the client would go past the director: they see none of it.
      { method: 'full-nat', flag: '--full-nat', legs: 'one leg', vip: 'vip', real: 'frontOf' },
    ] as const;

    describe.each(methods)('$method, $legs', ({ method, flag, legs, vip, real }) => {
      describe.each([4, 6] as const)('IPv%i', (family) => {
        const plan = plans[family];
        const address = plan[vip];
        // Where the port is translated every service listens on another one.
        const ports =
          method === 'masquerade' || method === 'full-nat'
            ? { http: 8080, tcp: 7007, udp: 5353 }
            : { http: 80, tcp: 7, udp: 5300 };

        /** Sets the table up, and with it what the data plane needs of the host. */
        const table = () => {
          backLink(site, legs === 'two legs');
          const service = (kindOf: '-t' | '-u', port: number, realPort: number, weights: number[]) => [
            `-A ${kindOf} ${at(address, port)} -s ${weights.some((weight) => weight > 1) ? 'wrr' : 'rr'}`,
            ...weights.map(
              (weight, i) =>
                `-a ${kindOf} ${at(address, port)} -r ${at(plan[real](i + 1), realPort)} ${flag} -w ${weight}`,
            ),
          ];
          site.rules(
            ...service('-t', 80, ports.http, [1, 1, 1]),
            ...service('-t', 7, ports.tcp, [1, 1, 1]),
            ...service('-u', 5300, ports.udp, [3, 2, 1]),
          );
        };

        it.each([0, 1])('splits requests as the scheduler says, with ip_forward %i', (forwarding) => {
          forward(site, forwarding);
          table();
          const tcp = asked(30, () => askTcp(site.lab, 'client', { address, port: 7 }));
          expect(tcp).toEqual({ real1: 10, real2: 10, real3: 10 });
          const udp = asked(30, () => askUdp(site.lab, 'client', { address, port: 5300 }).name);
          expect(udp).toEqual({ real1: 15, real2: 10, real3: 5 });
        });

        it('keeps a UDP client at its real server', () => {
          const from = { address: plan.client, port: freshPort() };
          const names = asked(
            6,
            () => askUdp(site.lab, 'client', { address, port: 5300 }, undefined, { from }).name,
          );
          expect(Object.values(names)).toEqual([6]);
        });

        it('carries 20 MB down and up byte by byte', async () => {
          const open = () => streamOn(site.lab, 'client', { address, port: 80 });
          const expected = { bytes: megabytes20, sha256: patternDigest(megabytes20) };
          expect(await download(open(), megabytes20)).toEqual(expected);
          expect(await upload(open(), megabytes20)).toEqual(expected);
        });
      });
    });
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('checksums of masquerading', () => {
  const rulesOf = ({ vip, backOf }: (typeof plans)[4]) => [
    `-A -t ${at(vip, 80)} -s rr`,
    `-a -t ${at(vip, 80)} -r ${at(backOf(1), 8080)} -m`,
    `-A -t ${at(vip, 7)} -s rr`,
    `-a -t ${at(vip, 7)} -r ${at(backOf(1), 7007)} -m`,
    `-A -u ${at(vip, 5300)} -s rr`,
    `-a -u ${at(vip, 5300)} -r ${at(backOf(1), 5353)} -m`,
  ];

  describe.each([finishedByDirector, verifiedByDirector])('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('checksum', kind, { started: [1] });
      site.rules(...rulesOf(plans[4]), ...rulesOf(plans[6]));
    });
    afterAll(() => site?.down());

    it.each([4, 6] as const)('are right on the wire, IPv%i', async (family) => {
      const { vip } = plans[family];
      const wires = [watch(site, 'real1', 'back'), watch(site, 'client', 'front')];
      try {
        expect(askTcp(site.lab, 'client', { address: vip, port: 7 })).toBe('real1');
        expect(askUdp(site.lab, 'client', { address: vip, port: 5300 }).name).toBe('real1');
        // The last segments of both ends.
        await setTimeout(100);
        for (const wire of wires) {
          const packets = arrived(wire, (packet) =>
            packet.family === family && [6, 17].includes(packet.protocol) ? packet : undefined,
          );
          // SYN, ACK, FIN and the datagram at least.
          expect(packets.length).toBeGreaterThanOrEqual(4);
          expect(packets.filter((packet) => !isTransportChecksumRight(packet))).toEqual([]);
        }
      } finally {
        for (const wire of wires) wire.close();
      }
      const expected = { bytes: megabytes20, sha256: patternDigest(megabytes20) };
      const open = () => streamOn(site.lab, 'client', { address: vip, port: 80 });
      expect(await download(open(), megabytes20)).toEqual(expected);
      expect(await upload(open(), megabytes20)).toEqual(expected);
    });
  });
});

requires(
  'root',
  'netns',
  'bpf',
)('full NAT with the client’s address in a TCP option', () => {
  const optionOf = ({ payload }: IpPacket): Buffer | undefined => {
    const options = payload.subarray(20, (payload[12]! >> 4) * 4);
    return options[0] === 254 ? options.subarray(0, options[1]) : undefined;
  };

  describe.each([...linkKinds, finishedByDirector, verifiedByDirector])('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('option', kind, { started: [1] });
      site.rules(
        ...[plans[4], plans[6]].flatMap(({ vip, frontOf }) => [
          `-A -t ${at(vip, 80)} -s rr`,
          `-a -t ${at(vip, 80)} -r ${at(frontOf(1), 8080)} --full-nat --client-address tcp-option`,
        ]),
      );
    });
    afterAll(() => site?.down());

    it('is listed, saved and restored', () => {
      expect(site.ipvsadm('-L', '-n')).toContain(
        `${at(plans[4].frontOf(1), 8080)}`.padEnd(29).concat('FullNat'),
      );
      const saved = site.ipvsadm('-S', '-n');
      expect(saved).toContain('--full-nat -w 1 --client-address tcp-option');
      site.rules(...saved.trim().split('\n'));
      expect(site.ipvsadm('-S', '-n')).toBe(saved);
    });

    it.each([4, 6] as const)('says who the client is, and carries 20 MB, IPv%i', async (family) => {
      const { vip, front } = plans[family];
      const wire = watch(site, 'real1', 'front');
      try {
        const open = () => streamOn(site.lab, 'client', { address: vip, port: 80 });
        const socket = open();
        const [first] = arrived(wire, (packet) =>
          packet.family === family && packet.protocol === 6 && optionOf(packet) ? packet : undefined,
        );
        expect(first!.source).toBe(front);
        const option = optionOf(first!)!;
        expect(option[1]).toBe(family === 4 ? 8 : 20);
        expect(option.readUInt16BE(2)).toBe(socket.localPort);
        expect(addressFromBytes(option.subarray(4))).toBe(socket.localAddress);
        if (kind !== linkKinds[0]) expect(isTransportChecksumRight(first!)).toBe(true);
        const expected = { bytes: megabytes20, sha256: patternDigest(megabytes20) };
        expect(await download(socket, megabytes20)).toEqual(expected);
        expect(await upload(open(), megabytes20)).toEqual(expected);
      } finally {
        wire.close();
      }
    });
  });
});

function forward({ lab }: Site, forwarding: number): void {
  lab.inside('director', () => {
    writeSysctl('net.ipv4.ip_forward', forwarding);
    writeSysctl('net.ipv6.conf.all.forwarding', forwarding);
  });
}

/** Switches the director's second leg. */
function backLink({ lab }: Site, on: boolean): void {
  withNetlink({ netns: netnsPath(lab.netns('director')) }, (netlink) => {
    setLink(netlink, linkIndex(netlink, 'back'), { up: on });
  });
}
