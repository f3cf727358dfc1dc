/** A BPF object file (or BTF) that cannot be used: malformed, or with something this loader does not know. */
export class BpfObjectError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BpfObjectError';
  }
}

/** The kernel's verifier refused a program. `message` ends with the lines that say why; `log` is all it wrote. */
export class VerifierError extends Error {
  readonly program: string;
  /** The name of the error number, e.g. 'EACCES'. */
  readonly code: string;
  readonly log: string;

  constructor(program: string, code: string, log: string) {
    super(`load program "${program}": the verifier refuses it (${code})${verifierSummary(log)}`);
    this.name = 'VerifierError';
    this.program = program;
    this.code = code;
    this.log = log;
  }
}

/** Lines of statistics the verifier writes after its verdict. */
const statistics = /^(processed \d+ insns|verification time|stack depth|mark_precise|peak_states)/;

/** The last lines that carry the verdict and the instruction and source line it is about. */
function verifierSummary(log: string, wanted = 5): string {
  const lines = log.split('\n').filter((line) => line.trim() !== '');
  let end = lines.length;
  while (end > 0 && statistics.test(lines[end - 1]!)) end--;
  if (end === 0) return '';
  const start = Math.max(0, end - wanted);
  const omitted = lines.length - (end - start);
  const tail = lines.slice(start, end).map((line) => `\n  ${line}`);
  return `:${tail.join('')}${omitted > 0 ? `\n  (${omitted} ${omitted === 1 ? 'line' : 'lines'} omitted)` : ''}`;
}
