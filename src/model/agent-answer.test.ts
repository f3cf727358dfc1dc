import { expect, test } from 'vitest';
import { agentAnswerText, readAgentAnswer, readLoadReport } from './agent-answer.ts';

// Words and their meaning: HAProxy's configuration manual, "agent-check".
test('words come in any order, separated by blanks, tabs or commas', () => {
  expect(readAgentAnswer('75%')).toEqual({ percent: 75, unknown: [] });
  expect(readAgentAnswer('up,75%\tmaxconn:30 ready')).toEqual({
    ...{ percent: 75, serves: 'up', admission: 'ready', maxConnections: 30 },
    unknown: [],
  });
  for (const word of ['down', 'fail', 'stopped'])
    expect(readAgentAnswer(`${word} #disk is full, #2`)).toEqual({
      ...{ serves: word, description: 'disk is full, #2' },
      unknown: [],
    });
  expect(readAgentAnswer('DRAIN').admission).toBe('drain');
  expect(readAgentAnswer('maint ready').admission).toBe('ready');
});

test('what is not said is absent, what is not known is listed', () => {
  expect(readAgentAnswer('')).toEqual({ unknown: [] });
  expect(readAgentAnswer('% 5 -5% up% maxconn: busy')).toEqual({
    unknown: ['%', '5', '-5%', 'up%', 'maxconn:', 'busy'],
  });
  expect(readAgentAnswer('0%').percent).toBe(0);
  expect(readAgentAnswer('99999999%').percent).toBe(25_600);
});

test('a description cannot do anything to a terminal, nor fill one', () => {
  expect(readAgentAnswer('down #\u001b[31mred\u0007\u202e').description).toBe('[31mred');
  expect(readAgentAnswer(`down #${'x'.repeat(1000)}`).description).toHaveLength(200);
});

test('an answer is written as it is read, on one line', () => {
  const answer = {
    percent: 40,
    serves: 'up',
    admission: 'drain',
    maxConnections: 9,
    description: 'a\r\nb',
  } as const;
  expect(agentAnswerText(answer)).toBe('drain up 40% maxconn:9 #a b');
  expect(readAgentAnswer(agentAnswerText(answer))).toEqual({ ...answer, description: 'a b', unknown: [] });
});

test('a report is a load with figures; anything else is none', () => {
  const report = { load: 0.5, shares: { cpu: 0.5 }, figures: { load1: 3 } };
  expect(readLoadReport(JSON.stringify(report))).toEqual(report);
  expect(readLoadReport('{"load":7,"shares":{"a b":1,"cpu":"x"},"figures":[1]}')).toEqual({
    ...{ load: 2, shares: {}, figures: {} },
  });
  for (const text of ['', '75%', 'null', '{}', '{"load":"1"}', '{"load":-1}', '[1]'])
    expect(readLoadReport(text)).toBeUndefined();
});
