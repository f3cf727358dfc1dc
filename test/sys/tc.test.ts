import { execFileSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bpf, newAttributes, putAddress } from '../../src/sys/bpf/call.ts';
import { createVeth, linkIndex } from '../../src/sys/netlink/link.ts';
import { type Netlink, openNetlink } from '../../src/sys/netlink/socket.ts';
import {
  addClsact,
  attachBpfFilter,
  deleteBpfFilter,
  deleteClsact,
  hasClsact,
  listBpfFilters,
} from '../../src/sys/netlink/tc.ts';
import { createNamedNetns, deleteNamedNetns, netnsPath } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';

const netns = 'hgnet-tc';
const tc = (...args: string[]) =>
  JSON.parse(execFileSync('tc', ['-n', netns, '-d', '-j', ...args], { encoding: 'utf8' }) || '[]');

/** `r0 = verdict; exit` as a tc program. */
function classifier(verdict: number): number {
  const instructions = Buffer.from('b7000000000000009500000000000000', 'hex');
  instructions.writeInt32LE(verdict, 4);
  const license = Buffer.from('GPL\0');
  const attributes = newAttributes();
  attributes.writeUInt32LE(3, 0);
  attributes.writeUInt32LE(2, 4);
  putAddress(attributes, 8, instructions);
  putAddress(attributes, 16, license);
  return bpf('PROG_LOAD', attributes, 'a test classifier', [instructions, license]);
}

requires(
  'root',
  'netns',
  'bpf',
  'tc',
)('tc filters', () => {
  let netlink: Netlink;
  let index: number;
  let programs: number[];
  beforeAll(() => {
    createNamedNetns(netns);
    netlink = openNetlink({ netns: netnsPath(netns) });
    createVeth(netlink, { name: 't0', peer: { name: 't1' } });
    index = linkIndex(netlink, 't0');
    programs = [classifier(0), classifier(2)];
  });
  afterAll(() => {
    for (const fd of programs) closeSync(fd);
    netlink.close();
    deleteNamedNetns(netns);
  });
  const filters = (direction: string) =>
    tc('filter', 'show', 'dev', 't0', direction).filter(
      (filter: { options?: { handle?: string } }) => filter.options?.handle,
    );

  it('adds clsact once', () => {
    expect(hasClsact(netlink, index)).toBe(false);
    addClsact(netlink, index);
    addClsact(netlink, index);
    expect(
      tc('qdisc', 'show', 'dev', 't0').filter(({ kind }: { kind: string }) => kind === 'clsact'),
    ).toHaveLength(1);
    expect(hasClsact(netlink, linkIndex(netlink, 't1'))).toBe(false);
  });

  it.each(['ingress', 'egress'] as const)('attaches to %s, replaces in place and deletes', (direction) => {
    const place = { index, direction, priority: 7, handle: 0x42 };
    attachBpfFilter(netlink, { ...place, programFd: programs[0]!, name: 'first' });
    expect(filters(direction)).toEqual([
      expect.objectContaining({
        protocol: 'all',
        pref: 7,
        kind: 'bpf',
        options: expect.objectContaining({ handle: '0x42', bpf_name: 'first', 'direct-action': true }),
      }),
    ]);
    const [before] = listBpfFilters(netlink, index, direction);
    expect(before).toMatchObject({ ...place, name: 'first', directAction: true });

    attachBpfFilter(netlink, { ...place, programFd: programs[1]!, name: 'second' });
    const [after, ...others] = listBpfFilters(netlink, index, direction);
    expect(others).toEqual([]);
    expect(after).toMatchObject({ ...place, name: 'second' });
    expect(after?.programId).not.toBe(before?.programId);
    expect(filters(direction)[0].options.prog.id).toBe(after?.programId);

    deleteBpfFilter(netlink, place);
    expect(filters(direction)).toEqual([]);
    expect(listBpfFilters(netlink, index, direction)).toEqual([]);
  });

  it('keeps the two directions and the priorities apart', () => {
    const [programFd] = programs as [number];
    attachBpfFilter(netlink, {
      index,
      direction: 'ingress',
      priority: 20,
      handle: 1,
      programFd,
      name: 'late',
    });
    attachBpfFilter(netlink, {
      index,
      direction: 'ingress',
      priority: 10,
      handle: 1,
      programFd,
      name: 'early',
    });
    attachBpfFilter(netlink, { index, direction: 'egress', priority: 10, handle: 1, programFd, name: 'out' });
    expect(listBpfFilters(netlink, index, 'ingress').map(({ name }) => name)).toEqual(['early', 'late']);
    expect(listBpfFilters(netlink, index, 'egress').map(({ name }) => name)).toEqual(['out']);
  });

  it('deletes clsact with all of its filters', () => {
    deleteClsact(netlink, index);
    expect(hasClsact(netlink, index)).toBe(false);
    expect(filters('ingress')).toEqual([]);
  });
});
