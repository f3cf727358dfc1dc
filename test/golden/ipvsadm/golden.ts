import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A text as lines; the last element is what follows the last newline, so that joining gives the same bytes. */
export type Lines = readonly string[];

/** What the kernel held while an observed command ran: the parts the command shows. */
export type GoldenObservation = {
  /** /proc/net/ip_vs_conn */
  readonly connections?: Lines;
  /** Counters, rates and the connection counts of each destination: exact numbers, in the kernel's order. */
  readonly stats?: Lines;
  readonly rates?: Lines;
  readonly persistent?: Lines;
};

/** One command and what the real program answered. */
export type GoldenStep = {
  readonly run: string;
  readonly stdin?: Lines;
  readonly status: number;
  readonly stdout: Lines;
  readonly stderr: Lines;
  readonly observed?: GoldenObservation;
};

export type GoldenFile = {
  readonly scenario: string;
  readonly environment: { readonly command: string; readonly kernel: string; readonly ipvsadm: string };
  readonly steps: readonly GoldenStep[];
};

export const goldenFolder = fileURLToPath(new URL('.', import.meta.url));

export const toLines = (text: string): Lines => text.split('\n');

export const fromLines = (lines: Lines): string => lines.join('\n');

/** Splits a scenario's command line: words are separated by blanks, single quotes keep blanks and empty words. */
export function splitWords(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|([^ ']+)/g)].map((match) => match[1] ?? match[2] ?? '');
}

export function readGoldenFiles(): readonly GoldenFile[] {
  return readdirSync(goldenFolder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(goldenFolder, name), 'utf8')) as GoldenFile);
}
