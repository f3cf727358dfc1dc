import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { removeAbandoned } from '../../src/agent/decapsulation.ts';
import { requires } from '../requirements.ts';

requires('root', 'bpf')('clearing away what dead namespaces have left', () => {
  it('goes on where another agent was sooner', () => {
    const bpffs = mkdtempSync(join(tmpdir(), 'headgate-pins-'));
    try {
      mkdirSync(join(bpffs, 'agent_4711'));
      // Answers as a pin does that goes between the look at its folder and the look at it.
      symlinkSync('/nowhere', join(bpffs, 'agent_4711', 'link_3'));
      expect(() => removeAbandoned(bpffs)).not.toThrow();
    } finally {
      rmSync(bpffs, { recursive: true });
    }
  });
});
