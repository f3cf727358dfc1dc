/** Who is measured, on which file, and what happens to a real server: the rows and the columns of the table. */

/** The director's address among the real servers; then theirs, as all files have them. The first one dies. */
export const director = '10.0.0.1';
export const realServers = ['10.0.0.11', '10.0.0.12'] as const;

/** Its process is killed, and its host refuses connections; or its cable is cut, and nobody answers. */
export const faults = ['killed', 'cut'] as const;
export type Fault = (typeof faults)[number];

/** A file, the program it was written for, and what that is to do with it. */
export const sheets = [
  { file: 'tcp.conf', peer: 'keepalived', check: 'TCP_CHECK' },
  { file: 'http.conf', peer: 'keepalived', check: 'HTTP_GET' },
  { file: 'connect.cf', peer: 'ldirectord', check: 'connect' },
  { file: 'negotiate.cf', peer: 'ldirectord', check: 'negotiate' },
] as const;
export type Sheet = (typeof sheets)[number];

/** The file's own program; Headgate over the kernel's IPVS, which that drives as well; Headgate's own data plane. */
export const contestants = ['peer', 'ipvs', 'ebpf'] as const;
export type Contestant = (typeof contestants)[number];

/** A line of what the guest prints: one fault from the death to the return, in milliseconds of its clock. */
export type Round = {
  readonly file: Sheet['file'];
  readonly contestant: Contestant;
  readonly fault: Fault;
  readonly outMs: number;
  readonly backMs: number;
};
