import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';
import { bpfAccess, bpfFeatures, hasHelper } from '../../src/sys/bpf/probe.ts';
import { programType } from '../../src/sys/bpf/uapi.ts';
import { requires } from '../requirements.ts';
import { bpftool } from './bpf-support.ts';

const probe = path.join(import.meta.dirname, '../../src/sys/bpf/probe.ts');

requires(
  'root',
  'bpf',
  'bpftool',
)('probes', () => {
  it('finds what libbpf finds by probing, too', () => {
    expect(bpfAccess()).toEqual({ state: 'allowed' });
    const found = bpftool<{
      helpers: Record<string, string[]>;
      map_types: Record<string, boolean>;
      program_types: Record<string, boolean>;
    }>('feature', 'probe');
    expect(bpfFeatures()).toMatchObject({
      loops: found.helpers.sched_cls_available_helpers!.includes('bpf_loop'),
      timers: found.helpers.sched_cls_available_helpers!.includes('bpf_timer_init'),
      ringBuffers: found.map_types.have_ringbuf_map_type,
      syscallPrograms: found.program_types.have_syscall_prog_type,
    });
  });

  it('says no to a helper of other program types and to one that does not exist', () => {
    // enum bpf_func_id: bpf_xdp_adjust_head is 44, bpf_skb_store_bytes is 9.
    expect(hasHelper(programType.XDP, 44)).toBe(true);
    expect(hasHelper(programType.SCHED_CLS, 44)).toBe(false);
    expect(hasHelper(programType.XDP, 9)).toBe(false);
    expect(hasHelper(programType.SCHED_CLS, 9)).toBe(true);
    expect(hasHelper(programType.SCHED_CLS, 60_000)).toBe(false);
  });

  it('tells that it is forbidden', () => {
    // Loaded while still root, tried as nobody: setuid drops every capability.
    const script = `import('${probe}').then(({ bpfAccess, bpfFeatures }) => {
      process.setgroups([]); process.setgid(65534); process.setuid(65534);
      console.log(JSON.stringify([bpfAccess(), bpfFeatures().tcx]));
    })`;
    const run = spawnSync(process.execPath, ['--import', 'tsx', '-e', script], { encoding: 'utf8' });
    expect(JSON.parse(run.stdout)).toEqual([{ state: 'forbidden', code: 'EPERM' }, false]);
  });
});
