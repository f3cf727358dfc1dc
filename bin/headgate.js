#!/usr/bin/env node
// Launcher only: everything it runs is compiled from src/ into dist/.
import { existsSync } from 'node:fs';

if (existsSync(new URL('../dist/bundle/main.js', import.meta.url))) {
  // A reader that has seen enough (`| head`) ends the command, as it ends any other.
  process.stdout.on('error', (error) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const { main } = await import('../dist/bundle/main.js');
  process.exitCode = await main(process.argv.slice(2));
} else {
  process.stderr.write('headgate: Cannot start: this checkout is not built\n  next: npm run build\n');
  process.exitCode = 70;
}
