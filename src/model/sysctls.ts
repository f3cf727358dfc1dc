/**
 * Parameters of a whole table, by the names and with the values they have under net.ipv4.vs
 * (Documentation/networking/ipvs-sysctl.rst); those that a data plane of ours looks at.
 */
export type Sysctls = {
  /**
   * 1: an IPv4 packet takes its "do not fragment" along into a tunnel, and its sender is told what fits. 0: tunnels
   * fragment whatever does not fit.
   */
  readonly pmtu_disc: number;
  /**
   * 1: where IPVS's rule holds, a connection whose destination was deleted ends, and what comes of it is scheduled anew; so
   * is a SYN of a connection whose destination has weight 0. 0: packets of the first are dropped, those of the second go on.
   */
  readonly expire_nodest_conn: number;
  /** 1: a persistence template whose destination has weight 0 brings nobody back to it. */
  readonly expire_quiescent_template: number;
};

/** The kernel's defaults (ip_vs_control_net_init_sysctl). */
export const sysctlDefaults: Sysctls = {
  pmtu_disc: 1,
  expire_nodest_conn: 0,
  expire_quiescent_template: 0,
};

/** Least and greatest value of each. */
export const sysctlRanges: Readonly<Record<keyof Sysctls, readonly [number, number]>> = {
  pmtu_disc: [0, 1],
  expire_nodest_conn: [0, 1],
  expire_quiescent_template: [0, 1],
};
