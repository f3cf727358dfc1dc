#!/usr/bin/env node
// Launcher only: everything it runs is compiled from src/ into dist/. CommonJS, because it starts 10 ms sooner.
'use strict';
const { existsSync } = require('node:fs');
const { bundlePath, expectShortLife, loadBundle } = require('./bundle.js');

const path = bundlePath('headgate');
if (existsSync(path)) {
  // A reader that has seen enough (`| head`) ends the command, as it ends any other.
  process.stdout.on('error', (error) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const { program } = loadBundle(path);
  // The daemon stays.
  if (process.argv[2] !== 'run') expectShortLife();
  program.main(process.argv.slice(2)).then((status) => {
    process.exitCode = status;
  });
} else {
  process.stderr.write('headgate: Cannot start: this checkout is not built\n  next: npm run build\n');
  process.exitCode = 70;
}
