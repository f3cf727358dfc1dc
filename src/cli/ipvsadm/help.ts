import { type OptionHelp, type OptionSpec, optionTable } from '../../config/ipvsadm/options.ts';
import { versionLine } from './messages.ts';

const textColumn = 36;

/** What `ipvsadm -h` prints; `program` is the name the command was called by. */
export function helpText(program: string): string {
  const usage = usages.map((line) => `  ${program} ${line}\n`).join('');
  return [
    `${versionLine}Usage:\n${usage}\n`,
    `Commands:\nEither long or short options are allowed.\n${section('commands')}\n`,
    `virtual-service:\n${section('service')}\n`,
    `Options:\n${section('options')}`,
    `Daemon Options:\n${section('daemon')}`,
  ].join('');
}

const usages = [
  '-A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe persistence_engine] [-b sched-flags]',
  '-D virtual-service',
  '-C',
  '-R',
  '-S [-n]',
  '-a|e virtual-service -r server-address [options]',
  '-d virtual-service -r server-address',
  '-L|l [virtual-service] [options]',
  '-Z [virtual-service]',
  '--set tcp tcpfin udp',
  '--start-daemon {master|backup} [daemon-options]',
  '--stop-daemon {master|backup}',
  '-h',
];

function section(name: OptionHelp['section']): string {
  return optionTable
    .map((option) => (option.help?.section === name ? entry(option, option.help) : ''))
    .join('');
}

function entry(option: OptionSpec, help: OptionHelp): string {
  const column = help.section === 'commands' ? 28 : textColumn;
  const [first, ...more] = help.text;
  const left = names(option, help).padEnd(column);
  return `  ${left}${first}\n${more.map((line) => `  ${' '.repeat(column)}${line}\n`).join('')}`;
}

function names(option: OptionSpec, help: OptionHelp): string {
  const long = `--${option.long}`;
  const short = help.shortAs ?? (option.short === undefined ? '' : `-${option.short}`);
  const argument = help.argument ?? '';
  switch (help.section) {
    case 'commands':
      return short === '' ? `${long} ${argument}` : `${long.padEnd(18)}${short}`;
    case 'service':
      return `${`${long}${short && `|${short}`} `.padEnd(18)}${argument}`;
    case 'options':
      return short === '' ? `${long.padEnd(16)}${argument}` : `${long.padEnd(15)}${short} ${argument}`;
    case 'daemon':
      return `${long} ${argument}`;
  }
}
