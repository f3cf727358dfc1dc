import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { pin } from '../../sys/bpf/pin.ts';
import { swapPrograms } from './attach.ts';
import { loadPrograms, startSweeper } from './create.ts';
import { ethernetPrograms, type Instance, optionalPrograms, programFile } from './instance.ts';
import { buildId } from './layout.generated.ts';

/**
 * Brings an instance that another build with the same layout set up to this one: its programs take over the maps under
 * live traffic, every link swapped in one step, and the sweeper's timer gets the new callback.
 */
export function upgradeInstance(instance: Instance): void {
  const { settings, directory } = instance;
  const more = optionalPrograms.filter((name) => existsSync(join(directory, programFile(name))));
  const loaded = loadPrograms(instance.map, [...ethernetPrograms, ...more, 'headgate_start']);
  try {
    for (const name of [...ethernetPrograms, ...more]) {
      const path = join(directory, programFile(name));
      const aside = `${path}_next`;
      pin(loaded.programs[name]!.fd, aside);
      renameSync(aside, path);
    }
    swapPrograms(directory, (program) => loaded.programs[program]!);
    startSweeper(loaded.programs.headgate_start!);
    buildId.forEach((word, index) => {
      settings.set(0, 'build', word, index);
    });
  } finally {
    loaded.close();
  }
}
