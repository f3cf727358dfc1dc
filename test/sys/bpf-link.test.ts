import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { compile, workFolderOfBlock } from './bpf-support.ts';

type Pings = { answered: number; arrived: number; left: number };

requires(
  'root',
  'bpf',
  'netns',
  'clang-16',
  'bpftool',
  'ip',
  'ping',
)('links, in a namespace', () => {
  const folder = workFolderOfBlock();
  const bpffs = workFolderOfBlock(true);
  const namespaces = ['hgbpf-near', 'hgbpf-far'];
  // biome-ignore lint/suspicious/noExplicitAny: a report of many shapes
  let report: any;

  const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });

  beforeAll(() => {
    const objects = [compile('directions', folder.path), compile('everything', folder.path)];
    for (const name of namespaces) ip('netns', 'add', name);
    ip(
      '-n',
      'hgbpf-near',
      'link',
      'add',
      'hgbpf0',
      'type',
      'veth',
      'peer',
      'name',
      'hgbpf1',
      'netns',
      'hgbpf-far',
    );
    ip('-n', 'hgbpf-near', 'addr', 'add', '10.199.0.1/24', 'dev', 'hgbpf0');
    ip('-n', 'hgbpf-far', 'addr', 'add', '10.199.0.2/24', 'dev', 'hgbpf1');
    ip('-n', 'hgbpf-near', 'link', 'set', 'hgbpf0', 'up');
    ip('-n', 'hgbpf-far', 'link', 'set', 'hgbpf1', 'up');
    const script = path.join(import.meta.dirname, 'fixtures', 'attach-in-namespace.ts');
    const command = [process.execPath, '--import', 'tsx', script, ...objects, bpffs.path];
    report = JSON.parse(ip('netns', 'exec', 'hgbpf-near', ...command));
  });
  afterAll(() => {
    for (const name of namespaces) ip('netns', 'del', name);
  });
  const pings = (name: string): Pings => report[name];

  it('runs programs in both directions', () => {
    expect(pings('unattached')).toEqual({ answered: 3, arrived: 0, left: 0 });
    // Other packets may pass too (ARP, IPv6 router solicitations).
    expect(pings('attached').answered).toBe(3);
    expect(pings('attached').arrived).toBeGreaterThanOrEqual(3);
    expect(pings('attached').left).toBeGreaterThanOrEqual(3);
  });

  it('says what it is attached to, as the kernel does', () => {
    expect(report.info).toMatchObject({
      kind: 'tcx',
      ifindex: report.ifindex,
      attachType: 46,
      programId: report.programId,
    });
    expect(report.egressAttachType).toBe(47);
    expect(report.shown).toMatchObject({ id: report.info.id, prog_id: report.programId });
  });

  it('refuses to attach twice or to no device', () => {
    expect([report.twice, report.noDevice]).toEqual(['EEXIST', 'ENODEV']);
  });

  it('swaps the program', () => {
    expect(pings('swapped')).toMatchObject({ answered: 0, arrived: 0 });
    expect(report.wrongExpected).toBe('EPERM');
    expect(pings('swappedBack').answered).toBe(3);
  });

  it('takes its place among other programs', () => {
    expect(pings('dropAfter').answered).toBe(0);
    expect(pings('dropAfter').arrived).toBeGreaterThanOrEqual(3);
    expect(pings('dropFirst')).toMatchObject({ answered: 0, arrived: 0 });
    expect(pings('dropBefore')).toMatchObject({ answered: 0, arrived: 0 });
  });

  it('lists what is attached, in the order it runs', () => {
    expect(report.listedUnattached).toEqual([]);
    expect(report.listedDropAfter).toEqual(['count_arrivals', 'drop_arrivals']);
    expect(report.listedDropFirst).toEqual(['drop_arrivals', 'count_arrivals']);
    expect(report.noDeviceToList).toBe('ENODEV');
  });

  it('detaches', () => {
    expect(report.detachedInfo).toBe(0);
    expect(pings('afterDetach').answered).toBe(3);
  });

  it('stays attached while it is pinned', () => {
    expect(pings('pinned').left).toBeGreaterThanOrEqual(3);
    expect(pings('unpinned').left).toBe(0);
  });

  it('attaches XDP programs', () => {
    expect(pings('xdp').answered).toBe(3);
    // Once by XDP and once by tc.
    expect(pings('xdp').arrived).toBeGreaterThanOrEqual(6);
    expect(report.xdpShown).toMatchObject({ mode: 2, prog: { id: report.xdpProgramId } });
    expect(report.xdpInfo).toMatchObject({
      kind: 'xdp',
      ifindex: report.ifindex,
      programId: report.xdpProgramId,
    });
    expect(report.xdpBusy).toBe('EBUSY');
  });

  it('attaches socket lookups to the namespace', () => {
    expect(report.netnsInfo).toMatchObject({ kind: 'netns', netnsInode: report.netnsInode, attachType: 36 });
  });

  it('notices that the device is gone', () => expect(report.gone).toEqual({ tcx: 0, xdp: 0 }));
});
