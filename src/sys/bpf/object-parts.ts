/** What an object file consists of, as read from it; nothing here is in the kernel yet. */

/** A map as the object declares it. Everything that depends on the running kernel is decided when it is loaded. */
export type MapSpec = {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly mapExtra: number;
  readonly pinning: 'none' | 'by-name';
  /** BTF type ids, 0 where there is none. */
  readonly keyTypeId: number;
  readonly valueTypeId: number;
  /** Shape of the maps a map of maps holds. */
  readonly inner?: MapSpec;
  /** Initial slots of a map of maps or a program array. */
  readonly values: readonly {
    readonly slot: number;
    readonly kind: 'map' | 'program';
    readonly name: string;
  }[];
  /** First value of a map that is a section of global variables. */
  readonly contents?: Buffer;
  /** Whether the contents are constants: frozen before any program is loaded. */
  readonly constant: boolean;
};

/** An instruction that needs a map's descriptor: the first of a 64-bit load. */
export type MapReference = {
  readonly instruction: number;
  readonly map: string;
  /** Address of the value at this offset, rather than the map itself. */
  readonly valueOffset?: number;
};

export type ProgramSpec = {
  readonly name: string;
  readonly section: string;
  readonly type: number;
  readonly expectedAttachType: number;
  readonly flags: number;
  /** The program with every function it needs behind it, calls resolved; 8 bytes an instruction. */
  readonly instructions: Buffer;
  readonly references: readonly MapReference[];
  /** Arrays of struct bpf_func_info (8 bytes) and struct bpf_line_info (16 bytes) for exactly these instructions. */
  readonly functionInfo: Buffer;
  readonly lineInfo: Buffer;
};

/** A global variable: the map that holds its section, and where it lies in it. */
export type VariableSpec = {
  readonly map: string;
  readonly offset: number;
  readonly size: number;
  readonly typeId: number;
};
