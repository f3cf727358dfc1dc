import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { BpfObjectError } from '../../src/sys/bpf/errors.ts';
import { parseObject } from '../../src/sys/bpf/object.ts';
import { requires } from '../requirements.ts';
import { compile, workFolderOfBlock } from './bpf-support.ts';

const runs = process.env.LONG === '1' ? 20_000 : 1000;

requires('clang-16')('damaged objects', () => {
  const folder = workFolderOfBlock();
  let sound: Buffer;
  beforeAll(() => {
    sound = readFileSync(compile('everything', folder.path));
  });

  /** Whether the bytes were refused; any other error, or more than a second, fails. */
  function refused(bytes: Uint8Array): boolean {
    const start = process.cpuUsage();
    try {
      parseObject(bytes);
      return false;
    } catch (error) {
      expect(error).toBeInstanceOf(BpfObjectError);
      expect((error as Error).message).toMatch(/^read /);
      return true;
    } finally {
      expect(process.cpuUsage(start).user).toBeLessThan(1_000_000);
    }
  }

  it('accepts the sound one', () => expect(refused(sound)).toBe(false));

  it('refuses what is cut off', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: sound.length - 1 }), (length) =>
        refused(sound.subarray(0, length)),
      ),
      { numRuns: 200 },
    );
  });

  it('refuses or reads changed bytes, and nothing else happens', () => {
    const change = fc.record({
      at: fc.nat(1_000_000),
      value: fc.oneof(fc.constantFrom(0, 0xffffffff, 0x7fffffff, 0x80000000, 1), fc.nat(0xffff)),
    });
    let refusals = 0;
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), fc.boolean(), (changes, inHeaders) => {
        const bytes = Buffer.from(sound);
        // Half of the runs aim at the section headers, where a change does most.
        const start = inHeaders ? bytes.readUInt32LE(40) : 0;
        for (const { at, value } of changes)
          bytes.writeUInt32LE(value, start + (at % (bytes.length - start - 4)));
        if (refused(bytes)) refusals++;
      }),
      { numRuns: runs },
    );
    expect(refusals).toBeGreaterThan(runs / 4);
  });

  it('refuses noise behind a header', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 4096 }), (noise) => {
        refused(Buffer.concat([sound.subarray(0, 64), noise]));
        refused(noise);
      }),
      { numRuns: 500 },
    );
  });
});
