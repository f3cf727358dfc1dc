import { productVersion, type Streams } from './context.ts';
import { inLightOfBuilds } from './other-build.ts';
import { type Output, outputs } from './output.ts';
import { reportError } from './report-error.ts';
import { findVerb } from './verbs.ts';

/**
 * Runs one command line (without node and script) and returns its exit code; never rejects. Words of ipvsadm's
 * grammar go straight to it, so that a rule change costs Node's start and little more.
 */
export async function main(args: readonly string[], streams: Streams = process): Promise<number> {
  // `help COMMAND` is `COMMAND --help`; of a word that is no command, the error of that word.
  if (args[0] === 'help') return main([...args.slice(1), ...(findVerb(args[1]) ? ['--help'] : [])], streams);
  try {
    if (findVerb(args[0])?.grammar === 'ipvsadm') {
      const ipvsadm = await import('./ipvsadm/main.ts');
      const words = args[0] === 'service' ? ['ipvsadm', ...args] : args;
      const { stdout, stderr } = streams;
      // Standard input is opened by being looked at, which most commands have no use for.
      return await ipvsadm.runProgram(words, {
        stdout,
        stderr,
        env: process.env,
        get stdin() {
          return process.stdin;
        },
      });
    }
    // Completions ask for names by this word, which is nobody's to type.
    if (args[0] === '__complete') {
      const { printNames } = await import('./completion/names.ts');
      await printNames(args.slice(1), streams);
      return 0;
    }
    const { runProgram } = await import('./program.ts');
    return await runProgram(args, streams);
  } catch (error) {
    return await reportError(inLightOfBuilds(error), {
      write: (text) => streams.stderr.write(text),
      format: outputFormat(args),
      version: productVersion(),
    });
  }
}

/**
 * The form asked for with `-o`, read without the parser because the parser may be what failed. What `import` has in YAML
 * is a configuration, so an error about it is told as in text.
 */
function outputFormat(args: readonly string[]): Output {
  // What stands behind it may be an option of the command that is run.
  if (args[0] === 'lab' && args[1] === 'exec') return 'text';
  const line = args.join(' ');
  const wanted = /(?:^| )(?:-o[ =]?|--output[ =])(\S+)/.exec(line)?.[1];
  const found = outputs.find((output) => output === wanted) ?? 'text';
  return found === 'yaml' && args[0] === 'import' ? 'text' : found;
}
