import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BpfObjectError, VerifierError } from '../../src/sys/bpf/errors.ts';
import { type LoadedObject, loadObject, loadObjectAside } from '../../src/sys/bpf/load.ts';
import type { ObjectSpec } from '../../src/sys/bpf/object.ts';
import { openRingBuffer } from '../../src/sys/bpf/ringbuf.ts';
import { syscallProgram, testRunSkb, testRunXdp } from '../../src/sys/bpf/test-run.ts';
import { programType } from '../../src/sys/bpf/uapi.ts';
import { requires } from '../requirements.ts';
import { compile, parseFile, workFolderOfBlock } from './bpf-support.ts';

const frame = Buffer.alloc(64);

requires(
  'root',
  'bpf',
  'clang-16',
)('loading an object', () => {
  const folder = workFolderOfBlock();
  let spec: ObjectSpec;
  let object: LoadedObject;
  const seen = (slot: number) => Number(object.maps.seen!.lookup(slot)!.readBigUInt64LE());

  beforeAll(() => {
    spec = parseFile(compile('everything', folder.path));
    object = loadObject(spec, {
      variables: { limit: 10, enabled: true, key_bytes: Buffer.from([9, 8, 7, 6]), counter: 5n },
    });
    const four = Buffer.alloc(4);
    four.writeUInt32LE(55);
    object.maps.slot_a!.update(1, four);
    const run = testRunSkb(object.programs.main_program!.fd, frame, { mark: 21, cb: [0, 5] });
    // The tail call to the other program decides.
    expect(run.returnValue).toBe(42);
    expect(run.context).toMatchObject({ mark: 4711, cb: [0, 5, 6, 0, 0], wireLength: 64 });
  });
  afterAll(() => {
    object.close();
  });

  it('calls static and global functions', () => expect(seen(0)).toBe(21 * 2 + 11 + 10));

  it('runs a callback for every step of bpf_loop', () => {
    const steps = Array.from({ length: 10 }, (_, index) => index - 3);
    expect(seen(1)).toBe(steps.reduce((sum, step) => sum + step));
    expect(object.variable('callbacks').getUint32(0, true)).toBe(10);
  });

  it('sets constants before they are frozen', () => {
    expect([seen(2), seen(3), seen(4)]).toEqual([1, 6, 7]);
    expect(object.variable('limit').getUint32(0, true)).toBe(10);
    expect(() => object.maps['.rodata']!.update(0, Buffer.alloc(28))).toThrow(/EPERM/);
  });

  it('shares the memory of global variables', () => {
    expect(object.variable('counter').getBigUint64(0, true)).toBe(6n);
    expect(object.variable('zeroed').getBigUint64(0, true)).toBe(2n);
    object.variable('counter').setBigUint64(0, 1000n, true);
    testRunSkb(object.programs.main_program!.fd, frame, { mark: 21 });
    expect(object.variable('counter').getBigUint64(0, true)).toBe(1001n);
    expect(object.maps['.data']!.lookup(0)!.readBigUInt64LE()).toBe(1001n);
  });

  it('fills maps of maps and program arrays', () => {
    expect(seen(5)).toBe(55);
    expect(seen(6)).toBe(66);
    const idOf = (slot: number) => object.maps.nested!.lookup(slot)?.readUInt32LE();
    expect([idOf(0), idOf(1), idOf(2)]).toEqual([
      object.maps.slot_a!.info().id,
      undefined,
      object.maps.slot_b!.info().id,
    ]);
  });

  it('runs an XDP program on a packet', () => {
    const run = testRunXdp(object.programs.xdp_program!.fd, Buffer.alloc(20, 1));
    expect(run.returnValue).toBe(3 /* XDP_TX */);
    expect(run.data).toEqual(Buffer.concat([Buffer.alloc(4), Buffer.from([0xfe]), Buffer.alloc(19, 1)]));
  });

  it('calls a syscall program with a structure', () => {
    const record = Buffer.alloc(object.maps.records!.valueSize);
    record.writeBigUInt64LE(100n);
    for (const key of [1, 2, 3]) object.maps.records!.update(key, record);
    const request = syscallProgram(object.programs.add_call!.fd, 16);
    request.context.writeUInt32LE(3, 0);
    request.context.writeUInt32LE(4, 4);
    expect(request.call()).toBe(-7);
    expect(request.context.readBigUInt64LE(8)).toBe(307n);
  });

  it('arms a timer', async () => {
    expect(syscallProgram(object.programs.start_timer!.fd, 0).call()).toBe(0);
    await expect.poll(() => object.maps.timers!.lookup(0)!.readBigUInt64LE(), { timeout: 5000 }).toBe(1n);
    await sleep(10);
    expect(object.maps.timers!.lookup(0)!.readBigUInt64LE()).toBe(1n);
  });

  it('reads events from the ring buffer, round and round', () => {
    const ring = openRingBuffer(object.maps.events!);
    ring.drain(() => {});
    // 4,096 bytes hold 256 events of 16 bytes (header and all): this goes round eight times.
    const expected: number[] = [];
    const read: number[] = [];
    for (let mark = 1; mark <= 2048; mark++) {
      testRunSkb(object.programs.main_program!.fd, frame, { mark });
      expected.push(mark);
      if (mark % 200 === 0) ring.drain((event) => read.push(Number(event.readBigUInt64LE())));
    }
    expect(ring.drain((event) => read.push(Number(event.readBigUInt64LE())), 3)).toBe(3);
    ring.drain((event) => read.push(Number(event.readBigUInt64LE())));
    expect(read).toEqual(expected);
    ring.close();
  });

  it('knows program types by their sections', () => {
    expect(object.programs.lookup_program!.type).toBe(programType.SK_LOOKUP);
    expect(object.programs.add_call!.type).toBe(programType.SYSCALL);
    expect(object.programs.xdp_program!.info().type).toBe(programType.XDP);
  });

  it('loads some of the programs and leaves their slots empty', () => {
    const part = loadObject(spec, { programs: ['main_program'], maps: { records: { maxEntries: 7 } } });
    expect(Object.keys(part.programs)).toEqual(['main_program']);
    expect(part.maps.records!.info().maxEntries).toBe(7);
    expect(testRunSkb(part.programs.main_program!.fd, frame).returnValue).toBe(2 /* TC_ACT_SHOT */);
    part.close();
  });

  it('uses maps that are already there', () => {
    const again = loadObject(spec, { maps: { seen: { fd: object.maps.seen!.fd } } });
    testRunSkb(again.programs.main_program!.fd, frame, { mark: 500 });
    again.close();
    expect(seen(0)).toBe(1000 + 11 + 5);
    expect(() => loadObject(spec, { maps: { seen: { fd: object.maps.recent!.fd } } })).toThrow(
      'reuse map "seen": wanted type 2, found 9',
    );
  });

  it('refuses names and values that do not fit', () => {
    expect(() => loadObject(spec, { maps: { nothing: {} } })).toThrow('it has no map "nothing"');
    expect(() => loadObject(spec, { programs: ['nothing'] })).toThrow('it has no program "nothing"');
    expect(() => loadObject(spec, { variables: { nothing: 1 } })).toThrow('it has no variable "nothing"');
    expect(() => loadObject(spec, { variables: { limit: 2 ** 32 } })).toThrow(
      '4294967296 does not fit 32 bits',
    );
    expect(() => loadObject(spec, { variables: { key_bytes: Buffer.alloc(3) } })).toThrow(
      'wanted 4 bytes, found 3',
    );
    expect(() => loadObject(spec, { variables: { key_bytes: 3 } })).toThrow(BpfObjectError);
  });

  it('leaves nothing open when it fails', () => {
    const openDescriptors = () => readdirSync('/proc/self/fd').length;
    const before = openDescriptors();
    expect(() => loadObject(spec, { maps: { timers: { flags: 0x4000_0000 } } })).toThrow(
      'bpf(MAP_CREATE) create map "timers": EINVAL',
    );
    expect(openDescriptors()).toBe(before);
    loadObject(spec).close();
    expect(openDescriptors()).toBe(before);
  });

  it('loads the same programs in other threads', async () => {
    const loading = loadObjectAside(spec, { variables: { limit: 10, enabled: true } });
    const aside = await loading;
    const tags = ({ programs }: LoadedObject) =>
      Object.values(programs).map((program) => [program.name, program.type, program.info().tag]);
    expect(tags(aside).sort()).toEqual(tags(object).sort());
    testRunSkb(aside.programs.main_program!.fd, frame, { mark: 21, cb: [0, 5] });
    expect(Number(aside.maps.seen!.lookup(0)!.readBigUInt64LE())).toBe(21 * 2 + 11 + 10);
    aside.close();
  });

  it('says why one was refused in another thread, and leaves nothing open', async () => {
    const openDescriptors = () => readdirSync('/proc/self/fd').length;
    const refused = parseFile(compile('refused', folder.path));
    const before = openDescriptors();
    const error: unknown = await loadObjectAside(refused).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(VerifierError);
    expect((error as VerifierError).message).toMatch(/invalid access to packet, off=40 size=1/);
    expect(openDescriptors()).toBe(before);
  });

  it('shows the end of the verifier log and keeps the whole', () => {
    const refused = parseFile(compile('refused', folder.path));
    let error: unknown;
    try {
      loadObject(refused);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(VerifierError);
    const { message, log, code } = error as VerifierError;
    expect(code).toBe('EACCES');
    expect(message).toMatch(/^load program "reads_too_far": the verifier refuses it \(EACCES\):\n/);
    expect(message).toMatch(/invalid access to packet, off=40 size=1/);
    expect(message).toMatch(/refused\.bpf\.c:10/);
    expect(message).toMatch(/\(\d+ lines omitted\)$/);
    expect(log).toMatch(/processed \d+ insns/);
    expect(message).not.toMatch(/processed/);
  });
});
