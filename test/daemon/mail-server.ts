import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { start } from '../checks/servers.ts';

export type MailServer = {
  /** What postfix said. */
  said(): string;
  /** Mails that were delivered, whole, in no order. */
  mails(): string[];
  stop(): Promise<void>;
};

/** A postfix that keeps mail for anybody at example.org in `folder`, on this port of the loopback interface. */
export async function startMailServer(
  folder: string,
  port: number,
  more: Readonly<Record<string, string>> = {},
): Promise<MailServer> {
  chmodSync(folder, 0o755);
  for (const name of ['pid', 'public', 'private', 'active', 'incoming', 'deferred', 'bounce', 'defer'])
    mkdirSync(join(folder, 'queue', name), { recursive: true });
  for (const name of ['data', 'mail']) mkdirSync(join(folder, name), { recursive: true });
  const queues = ['public', 'private', 'active', 'incoming', 'deferred', 'bounce', 'defer'];
  execFileSync('chown', [
    '-R',
    'postfix',
    join(folder, 'data'),
    ...queues.map((name) => join(folder, 'queue', name)),
  ]);
  execFileSync('chown', ['nobody', join(folder, 'mail')]);
  const nobody = execFileSync('id', ['-u', 'nobody'], { encoding: 'utf8' }).trim();
  const log = join(folder, 'log');
  const settings = {
    compatibility_level: '3.6',
    queue_directory: join(folder, 'queue'),
    data_directory: join(folder, 'data'),
    daemon_directory: '/usr/lib/postfix/sbin',
    command_directory: '/usr/sbin',
    inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4',
    mynetworks: '127.0.0.0/8',
    myhostname: 'mail.example.org',
    mydestination: '',
    maillog_file: log,
    maillog_file_prefixes: folder,
    virtual_mailbox_domains: 'example.org',
    virtual_mailbox_base: join(folder, 'mail'),
    virtual_mailbox_maps: 'static:box/',
    virtual_uid_maps: `static:${nobody}`,
    virtual_gid_maps: `static:${nobody}`,
    virtual_minimum_uid: '1',
    smtpd_peername_lookup: 'no',
    smtpd_reject_unlisted_recipient: 'no',
    smtpd_relay_restrictions: 'reject_unauth_destination',
    ...{ alias_maps: '', local_recipient_maps: '', virtual_alias_maps: '' },
    ...more,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  writeFileSync(join(folder, 'main.cf'), lines.join(''));
  writeFileSync(
    join(folder, 'master.cf'),
    `127.0.0.1:${port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
virtual unix - n n - - virtual
error unix - - n - - error
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`,
  );
  const postfix = await start('/usr/lib/postfix/sbin/master', ['-c', folder, '-d'], [port]);
  const box = join(folder, 'mail', 'box', 'new');
  return {
    said: () => `${postfix.said()}${readOr(log)}`,
    mails() {
      try {
        return readdirSync(box).map((name) => readFileSync(join(box, name), 'utf8'));
      } catch {
        return [];
      }
    },
    stop: postfix.stop,
  };
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
