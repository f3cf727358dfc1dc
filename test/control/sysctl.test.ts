import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../requirements.ts';
import { type Director, standUp } from './director.ts';

/* Names, order of writing and defaults: sysctl(8), and ip_vs_control_net_init_sysctl of Linux 6.12. */

requires(
  'root',
  'netns',
  'bpf',
)('headgate sysctl', () => {
  let director: Director;
  beforeAll(() => {
    director = standUp();
    director.shell('headgate ipvsadm -A -t 10.74.0.100:80');
  });
  afterAll(() => director?.down());

  const all = (nodest: number, pmtu: number) =>
    [
      'net.ipv4.vs.amemthresh = 1024',
      'net.ipv4.vs.am_droprate = 10',
      'net.ipv4.vs.drop_entry = 0',
      'net.ipv4.vs.drop_packet = 0',
      'net.ipv4.vs.secure_tcp = 0',
      `net.ipv4.vs.expire_nodest_conn = ${nodest}`,
      'net.ipv4.vs.expire_quiescent_template = 0',
      'net.ipv4.vs.sloppy_tcp = 0',
      'net.ipv4.vs.sloppy_sctp = 0',
      `net.ipv4.vs.pmtu_disc = ${pmtu}`,
      'net.ipv4.vs.conn_reuse_mode = 1',
      'net.ipv4.vs.lblc_expiration = 86400',
      'net.ipv4.vs.lblcr_expiration = 86400',
      'net.ipv4.vs.nat_icmp_send = 0',
      'net.ipv4.vs.schedule_icmp = 0',
      'net.ipv4.vs.cache_bypass = 0',
      'net.ipv4.vs.ignore_tunneled = 0',
      'net.ipv4.vs.sync_threshold = 0\t0',
      'net.ipv4.vs.sync_refresh_period = 0',
      'net.ipv4.vs.sync_retries = 0',
      'net.ipv4.vs.sync_ports = 1',
      'net.ipv4.vs.sync_persist_mode = 0',
      'net.ipv4.vs.sync_qlen_max = 4096',
      'net.ipv4.vs.sync_sock_size = 0',
      'net.ipv4.vs.sync_version = 1',
      'headgate.half_open_share = 25',
      'headgate.mh_tab_index = 12',
      'headgate.ftp_ports = 21',
      '',
    ].join('\n');

  it('shows, sets and keeps parameters', () => {
    expect(director.shell('headgate sysctl')).toBe(all(0, 1));
    expect(director.shell('headgate sysctl net.ipv4.vs.pmtu_disc')).toBe('net.ipv4.vs.pmtu_disc = 1\n');
    expect(director.shell('headgate sysctl expire_nodest_conn=1 net/ipv4/vs/pmtu_disc=0')).toBe(
      'net.ipv4.vs.expire_nodest_conn = 1\nnet.ipv4.vs.pmtu_disc = 0\n',
    );
    expect(director.shell('headgate sysctl -a pmtu_disc')).toBe(all(1, 0));
    expect(JSON.parse(director.shell('headgate sysctl pmtu_disc -o json'))).toEqual({
      'net.ipv4.vs.pmtu_disc': 0,
    });
    expect(director.shell('headgate sysctl ftp_ports=21,2121')).toBe('headgate.ftp_ports = 21,2121\n');
    expect(director.shell('headgate sysctl headgate.ftp_ports=0')).toBe('headgate.ftp_ports = 0\n');
    director.shell('headgate sysctl expire_nodest_conn=0 pmtu_disc=1 ftp_ports=21');
    expect(director.shell('headgate sysctl')).toBe(all(0, 1));
  });

  it('has what connection sync goes by, a threshold and its period as one', () => {
    expect(
      director.shell('headgate sysctl -w sync_threshold="3 50" sync_refresh_period=80 sync_retries=2'),
    ).toBe(
      'net.ipv4.vs.sync_threshold = 3\t50\nnet.ipv4.vs.sync_refresh_period = 80\nnet.ipv4.vs.sync_retries = 2\n',
    );
    director.shell(
      'printf "net.ipv4.vs.sync_threshold = 0\\t10\\nnet.ipv4.vs.sync_qlen_max = 9\\nnet.ipv4.vs.backup_only = 1\\n" >sync.conf',
    );
    expect(director.shell('headgate sysctl -p sync.conf 2>&1')).toBe(
      'headgate: sync.conf:3: net.ipv4.vs.backup_only stays as it is: with failover, a director that does not have an address schedules nothing for it anyway\n' +
        'net.ipv4.vs.sync_threshold = 0\t10\nnet.ipv4.vs.sync_qlen_max = 9\n',
    );
    director.shell(
      'headgate sysctl sync_threshold="0 0" sync_refresh_period=0 sync_retries=0 sync_qlen_max=4096',
    );
    expect(director.shell('headgate sysctl')).toBe(all(0, 1));
  });

  it('says what cannot be otherwise, and takes it', () => {
    expect(director.shell('headgate sysctl -w net.ipv4.vs.conntrack=0 snat_reroute')).toBe(
      'net.ipv4.vs.conntrack = 0\nnet.ipv4.vs.snat_reroute = 1\n',
    );
  });

  it('takes the files of sysctl(8), and says why it passes lines over', () => {
    director.shell(
      'printf "# ours\\nnet.ipv4.ip_forward = 1\\nnet/ipv4/vs/conn_reuse_mode = 0\\n-net.ipv4.vs.conntrack=0\\nnet.ipv4.vs.snat_reroute=0\\nheadgate.half_open_share=10\\n" >vs.conf',
    );
    expect(director.shell('headgate sysctl -p vs.conf 2>&1')).toBe(
      'headgate: vs.conf:5: net.ipv4.vs.snat_reroute stays as it is: replies always go by the route that the virtual address has\n' +
        'net.ipv4.vs.conn_reuse_mode = 0\nheadgate.half_open_share = 10\n',
    );
    director.shell('printf "net.ipv4.vs.conn_reuse_mode=7\\n" >wrong.conf');
    expect(() => director.shell('headgate sysctl --load vs.conf wrong.conf')).toThrow(
      /wrong\.conf:1: Cannot set net\.ipv4\.vs\.conn_reuse_mode: wanted a whole number from 0 to 3, found "7"/,
    );
    director.shell('headgate sysctl conn_reuse_mode=1 half_open_share=25');
  });

  it('reads patterns as sysctl(8) does, and numbers as the kernel', () => {
    director.shell(
      'printf "net.ipv4.vs.sloppy_* = 1 # both\\nnet.ipv4.vs.am_droprate = 010\\n-net.ipv4.vs.sync_ports = 3x\\nnet.ipv4.vs.conntrack = 0 # never\\n" >odd.conf',
    );
    expect(director.shell('headgate sysctl -p odd.conf 2>&1')).toBe(
      'headgate: odd.conf:3: Cannot set net.ipv4.vs.sync_ports: wanted a whole number from 1 to 64, found "3x"\n' +
        'net.ipv4.vs.am_droprate = 8\nnet.ipv4.vs.sloppy_tcp = 1\nnet.ipv4.vs.sloppy_sctp = 1\n',
    );
    expect(director.shell('headgate sysctl am_droprate=0xa sloppy_tcp=0 sloppy_sctp="0 1"')).toBe(
      'net.ipv4.vs.am_droprate = 10\nnet.ipv4.vs.sloppy_tcp = 0\nnet.ipv4.vs.sloppy_sctp = 0\n',
    );
  });

  it.each([
    ['expire_nodest_con=1', /did you mean "expire_nodest_conn"\?/],
    ['sync_threshold=3', /sync_threshold: wanted two whole numbers, as "3 50", found "3"/],
    ['sync_threshold="50 50"', /sync_threshold 50 is not below its period, 50/],
    ['sync_ports=3', /sync_ports 3 is no power of two/],
    ['sync_qlen_max=-1', /sync_qlen_max: wanted a whole number from 0 to 2147483647, found "-1"/],
    ['est_nice', /Cannot show net.ipv4.vs.est_nice: rates are estimated by a timer in the kernel/],
    [
      'conntrack=1',
      /Cannot set net.ipv4.vs.conntrack to "1": packets of virtual services never come to connection tracking/,
    ],
    ['drop_packet=4', /net\.ipv4\.vs\.drop_packet: wanted a whole number from 0 to 3, found "4"/],
    [
      'headgate.half_open_share=51',
      /headgate\.half_open_share: wanted a whole number from 0 to 50, found "51"/,
    ],
    ['mh_tab_index=18', /headgate\.mh_tab_index: wanted a whole number from 8 to 17, found "18"/],
    ['mh_tab_index=15', /mh_tab_index is 12 here until the data plane is removed: HEADGATE_MH_TAB_INDEX=15/],
    [
      'ftp_ports=21,0',
      /headgate\.ftp_ports: wanted up to 8 ports, as "21,2121", or 0 for none, found "21,0"/,
    ],
    ['ftp_ports=1,2,3,4,5,6,7,8,9', /wanted up to 8 ports/],
    ['ftp_ports=', /found ""/],
    ['sync_treshold', /did you mean "sync_threshold"\?/],
    ['pmtu_disc=2', /net\.ipv4\.vs\.pmtu_disc: wanted a whole number from 0 to 1, found "2"/],
    ['pmtu_disc=', /found ""/],
    ['am_droprate=1e1', /found "1e1"/],
    ['am_droprate=08', /found "08"/],
  ])('refuses %s', (word, said) => {
    const before = director.shell('headgate sysctl');
    expect(() => director.shell(`headgate sysctl expire_quiescent_template=1 ${word}`)).toThrow(said);
    expect(director.shell('headgate sysctl')).toBe(before);
  });

  it('has tables of mh as large as the command said that set the plane up', () => {
    director.shell('headgate clean-up');
    expect(() => director.shell('HEADGATE_MH_TAB_INDEX=7 headgate ipvsadm -L')).toThrow(
      /Cannot read HEADGATE_MH_TAB_INDEX "7": wanted a number from 8 to 17/,
    );
    director.shell('HEADGATE_MH_TAB_INDEX=15 headgate ipvsadm -A -t 10.74.0.100:80 -s mh');
    expect(director.shell('headgate sysctl mh_tab_index=15')).toBe('headgate.mh_tab_index = 15\n');
  });
});
