/** Numbers of include/uapi/linux/bpf.h; the kernel's own names without their BPF_ prefix. */

export const bpfCommand = {
  MAP_CREATE: 0,
  MAP_LOOKUP_ELEM: 1,
  MAP_UPDATE_ELEM: 2,
  MAP_DELETE_ELEM: 3,
  MAP_GET_NEXT_KEY: 4,
  PROG_LOAD: 5,
  OBJ_PIN: 6,
  OBJ_GET: 7,
  PROG_TEST_RUN: 10,
  PROG_GET_NEXT_ID: 11,
  MAP_GET_NEXT_ID: 12,
  PROG_GET_FD_BY_ID: 13,
  MAP_GET_FD_BY_ID: 14,
  OBJ_GET_INFO_BY_FD: 15,
  PROG_QUERY: 16,
  BTF_LOAD: 18,
  BTF_GET_FD_BY_ID: 19,
  MAP_LOOKUP_AND_DELETE_ELEM: 21,
  MAP_FREEZE: 22,
  MAP_LOOKUP_BATCH: 24,
  MAP_UPDATE_BATCH: 26,
  MAP_DELETE_BATCH: 27,
  LINK_CREATE: 28,
  LINK_UPDATE: 29,
  LINK_GET_FD_BY_ID: 30,
  LINK_GET_NEXT_ID: 31,
  LINK_DETACH: 34,
} as const;

export const mapType = {
  HASH: 1,
  ARRAY: 2,
  PROG_ARRAY: 3,
  PERF_EVENT_ARRAY: 4,
  PERCPU_HASH: 5,
  PERCPU_ARRAY: 6,
  STACK_TRACE: 7,
  CGROUP_ARRAY: 8,
  LRU_HASH: 9,
  LRU_PERCPU_HASH: 10,
  LPM_TRIE: 11,
  ARRAY_OF_MAPS: 12,
  HASH_OF_MAPS: 13,
  DEVMAP: 14,
  SOCKMAP: 15,
  CPUMAP: 16,
  XSKMAP: 17,
  SOCKHASH: 18,
  PERCPU_CGROUP_STORAGE: 21,
  QUEUE: 22,
  STACK: 23,
  DEVMAP_HASH: 25,
  RINGBUF: 27,
  BLOOM_FILTER: 30,
} as const;

export const programType = {
  SOCKET_FILTER: 1,
  SCHED_CLS: 3,
  XDP: 6,
  SOCK_OPS: 13,
  SK_SKB: 14,
  SK_MSG: 16,
  SK_LOOKUP: 30,
  SYSCALL: 31,
} as const;

export const attachType = {
  SK_SKB_STREAM_PARSER: 4,
  SK_SKB_STREAM_VERDICT: 5,
  SK_MSG_VERDICT: 7,
  CGROUP_SOCK_OPS: 3,
  SK_LOOKUP: 36,
  XDP: 37,
  SK_SKB_VERDICT: 38,
  TCX_INGRESS: 46,
  TCX_EGRESS: 47,
} as const;

/** Flags of BPF_MAP_CREATE. */
export const mapFlag = {
  NO_PREALLOC: 1 << 0,
  NO_COMMON_LRU: 1 << 1,
  NUMA_NODE: 1 << 2,
  RDONLY: 1 << 3,
  WRONLY: 1 << 4,
  RDONLY_PROG: 1 << 7,
  WRONLY_PROG: 1 << 8,
  MMAPABLE: 1 << 10,
  INNER_MAP: 1 << 12,
} as const;

/** Flags of BPF_MAP_UPDATE_ELEM; `ANY` creates or replaces, `EXIST` fails with ENOENT, `NOEXIST` with EEXIST. */
export const updateFlag = { ANY: 0, NOEXIST: 1, EXIST: 2, LOCK: 4 } as const;

/** Flag of BPF_PROG_LOAD. */
export const PROG_F_SLEEPABLE = 1 << 4;

const perCpuMapTypes: ReadonlySet<number> = new Set([
  mapType.PERCPU_HASH,
  mapType.PERCPU_ARRAY,
  mapType.LRU_PERCPU_HASH,
  mapType.PERCPU_CGROUP_STORAGE,
]);

/** Whether a map of this type has one value per possible CPU. */
export function isPerCpuMap(type: number): boolean {
  return perCpuMapTypes.has(type);
}
