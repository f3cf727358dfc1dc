import { moduleProgram } from '../sys/program.ts';

/** What runs the failover process, listening at a socket: the words after the name of Node. */
export const keeperProgram = (socket: string): readonly string[] => [
  ...moduleProgram('ha/keeper-process'),
  socket,
];
