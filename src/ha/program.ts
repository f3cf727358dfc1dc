import { moduleProgram } from '../sys/program.ts';

/**
 * What runs the failover process, listening at a socket: the words after the name of Node. V8 leaves no work to threads of its own:
 * they are not real-time, and where others take all processors the thread that advertises waited seconds for them.
 */
export const keeperProgram = (socket: string): readonly string[] => [
  '--single-threaded',
  ...moduleProgram('ha/keeper-process'),
  socket,
];
