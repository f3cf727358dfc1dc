import { expect, test } from 'vitest';
import { readAgentAnswer, readLoadReport } from '../../model/agent-answer.ts';
import { answerFor, type Sources } from './answer.ts';

const lines = (sources: Partial<Sources>) =>
  answerFor({ load: 0.25, shares: { cpu: 0.25 }, figures: { load1: 0.5 }, ...sources }).split('\n');
const said = (text: string) => readAgentAnswer(text);

test('an answer is a line of words and a report, each ended', () => {
  const [words, report, end] = lines({});
  expect(words).toBe('up 75% #cpu 25%');
  expect(readLoadReport(report!)).toEqual({ load: 0.25, shares: { cpu: 0.25 }, figures: { load1: 0.5 } });
  expect(end).toBe('');
});

test('load alone never says 0%, which takes a server out', () => {
  expect(readAgentAnswer(lines({ load: 1 })[0]!).percent).toBe(1);
  expect(readAgentAnswer(lines({ load: 2, shares: { cpu: 1.6 } })[0]!)).toMatchObject({
    ...{ percent: 1, description: 'cpu 100% and waiting 60%' },
  });
  expect(readAgentAnswer(lines({ script: said('0%') })[0]!).percent).toBe(0);
});

test('what a script says goes before what is measured, and what an operator wrote before both', () => {
  expect(lines({ script: said('drain maxconn:9 #backup runs') })[0]).toBe(
    'drain up 75% maxconn:9 #backup runs',
  );
  expect(lines({ script: said('down #dead'), words: said('up maint #disk') })[0]).toBe('maint up 75% #disk');
  expect(lines({ script: said('down #dead') })[0]).toBe('down 75% #dead');
});

test('where operators may write, nothing written is "ready"; where they may not, nothing is said of it', () => {
  expect(lines({ words: said('') })[0]).toBe('ready up 75% #cpu 25%');
  expect(readAgentAnswer(lines({})[0]!).admission).toBeUndefined();
});
