import { bindLibc } from './ffi.ts';

const cSigmask = bindLibc('pthread_sigmask', 'int', ['int', 'void *', 'void *']);
const blockSignals = 0; // SIG_BLOCK
const setSignals = 2; // SIG_SETMASK
/** Room for a sigset_t of glibc and musl. */
const setBytes = 128;

/** Runs `call` with every signal of this thread held back until it has returned; SIGKILL and SIGSTOP cannot be. */
export function withoutSignals<T>(call: () => T): T {
  const before = Buffer.alloc(setBytes);
  cSigmask(blockSignals, Buffer.alloc(setBytes, 0xff), before);
  try {
    return call();
  } finally {
    cSigmask(setSignals, before, null);
  }
}
