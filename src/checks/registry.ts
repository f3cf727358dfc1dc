import type { Check } from '../config/schema/check.ts';
import type { RunCheck } from './check.ts';

/** What runs each type; its code is loaded when the first check of the type runs. */
const registry: { readonly [Type in Check['type']]: () => Promise<RunCheck<Type>> } = {
  tcp: async () => (await import('./tcp.ts')).runTcp,
  tls: async () => (await import('./tls.ts')).runTls,
  http: async () => (await import('./http.ts')).runHttp,
  https: async () => (await import('./http.ts')).runHttps,
  udp: async () => (await import('./udp.ts')).runUdp,
  ping: async () => (await import('./ping.ts')).runPing,
  dns: async () => (await import('./dns.ts')).runDns,
  smtp: async () => (await import('./smtp.ts')).runSmtp,
  imap: async () => (await import('./imap.ts')).runImap,
  pop: async () => (await import('./pop.ts')).runPop,
  ftp: async () => (await import('./ftp.ts')).runFtp,
  nntp: async () => (await import('./nntp.ts')).runNntp,
  ldap: async () => (await import('./ldap.ts')).runLdap,
  redis: async () => (await import('./redis.ts')).runRedis,
  mysql: async () => (await import('./mysql.ts')).runMysql,
  postgresql: async () => (await import('./postgresql.ts')).runPostgresql,
  radius: async () => (await import('./radius.ts')).runRadius,
  sip: async () => (await import('./sip.ts')).runSip,
  file: async () => (await import('./file.ts')).runFile,
  passive: async () => (await import('./passive.ts')).runPassive,
  script: async () => (await import('./script.ts')).runScript,
};

type AnyRunner = RunCheck<Check['type']>;

const loaded = new Map<Check['type'], AnyRunner>();

/** What runs checks of this type. It is to be given checks of this type only. */
export async function runnerOf(type: Check['type']): Promise<AnyRunner> {
  const known = loaded.get(type);
  if (known) return known;
  const runner = (await registry[type]()) as AnyRunner;
  loaded.set(type, runner);
  return runner;
}
