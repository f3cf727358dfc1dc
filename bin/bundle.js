'use strict';
const { existsSync, readFileSync } = require('node:fs');
const { createRequire, wrap } = require('node:module');
const { dirname, join } = require('node:path');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');

/** The file that a launcher runs. */
exports.bundlePath = (name) => join(__dirname, '../dist/bundle', `${name}.cjs`);

/** What V8 made of a bundle when it was built. Its name has the bundle's first line, which no other bundle has. */
exports.codePath = (path, source) =>
  `${path.slice(0, -'.cjs'.length)}-${/^\/\/ (\w+)$/m.exec(source)?.[1]}.code`;

/**
 * How much a function runs before V8 optimises it, in bytes of its code. A command is over before most of that pays: with
 * V8's own 132 kB a quarter of what an apply of 10,000 real servers takes was spent on it, in threads that the kernel's
 * verifier wants as well.
 */
const budgetOfCommands = 1_000_000;

/** For a program that will be over soon. V8 refuses code that was made under other flags, so this follows `loadBundle`. */
exports.expectShortLife = () => setFlagsFromString(`--interrupt-budget=${budgetOfCommands}`);

/**
 * Runs a bundle from what V8 made of it when it was built, which takes half the time. V8 refuses what another Node has made,
 * and begins anew from the text, as it does where there is only that.
 */
exports.loadBundle = (path) => {
  // ASCII, of which V8 keeps the bytes as they are.
  const source = readFileSync(path, 'latin1');
  const code = exports.codePath(path, source);
  const script = new Script(wrap(source), {
    filename: path,
    ...(existsSync(code) && { cachedData: readFileSync(code) }),
  });
  const module = { exports: {} };
  script.runInThisContext()(module.exports, createRequire(path), module, path, dirname(path));
  return { program: module.exports, script };
};
