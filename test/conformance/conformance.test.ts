import { describe } from 'vitest';
import { requires } from '../requirements.ts';
import { ebpf } from './ebpf-rig.ts';
import { memory } from './memory-rig.ts';
import { proxy } from './proxy-rig.ts';
import { conformance } from './suite.ts';

/*
 * One suite for all data planes. Choices are held against the reference algorithms, which have themselves been held
 * against the kernel's: destinations come, go, come back and change their weight, connections open, close and open
 * again, and each new one must go where the rules say. The kernel's own IPVS goes through it in a guest:
 * test/kernel/ipvs.test.ts.
 */

requires('root', 'netns', 'bpf', 'ip')('the ebpf plane', () => conformance(ebpf));
describe('the memory plane', () => conformance(memory));
requires('root', 'netns', 'ip')('the proxy plane', () => conformance(proxy));
