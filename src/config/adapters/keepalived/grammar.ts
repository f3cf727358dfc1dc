/** What may stand in a block: `word` is a keyword with words behind it, `values` a block of lines, others are blocks of keywords. */
export type Entry = 'word' | 'values' | { readonly block: BlockName };

export type BlockName =
  | 'root'
  | 'global_defs'
  | 'SSL'
  | 'virtual_server'
  | 'real_server'
  | 'TCP_CHECK'
  | 'PING_CHECK'
  | 'HTTP_GET'
  | 'url'
  | 'SMTP_CHECK'
  | 'host'
  | 'DNS_CHECK'
  | 'UDP_CHECK'
  | 'MISC_CHECK'
  | 'FILE_CHECK'
  | 'BFD_CHECK'
  | 'vrrp_instance'
  | 'authentication'
  | 'auth_hmac'
  | 'vrrp_sync_group'
  | 'vrrp_script'
  | 'track_file'
  | 'vrrp_track_process'
  | 'bfd_instance'
  | 'garp_group'
  | 'track_group';

const words = (list: string): Record<string, Entry> =>
  Object.fromEntries(
    list
      .trim()
      .split(/\s+/)
      .map((word) => [word, 'word']),
  );
const values = (list: string): Record<string, Entry> =>
  Object.fromEntries(list.split(' ').map((word) => [word, 'values']));
const block = (name: BlockName): Entry => ({ block: name });

const timing = 'alpha connect_timeout retry delay_before_retry warmup delay_loop';
const launch = 'alpha retry delay_before_retry warmup delay_loop log_all_failures';
const connection = `connect_ip connect_port bindto bind_if bind_port fwmark connect_timeout ${launch}`;
const trackers = values('track_interface track_script track_file track_process track_bfd');
const notify =
  'notify_master notify_backup notify_fault notify_stop notify_deleted notify notify_priority_changes smtp_alert';
const garp =
  'garp_master_delay garp_master_repeat garp_lower_prio_delay garp_lower_prio_repeat garp_master_refresh garp_master_refresh_repeat garp_extra_if garp_intvl';
const buffers = 'vrrp_netlink_cmd vrrp_netlink_monitor lvs_netlink_cmd lvs_netlink_monitor process_monitor'
  .split(' ')
  .map((name) => `${name}_rcv_bufs ${name}_rcv_bufs_force`)
  .join(' ');
const processes = ['vrrp', 'checker', 'bfd', 'lvs']
  .map(
    (name) =>
      `${name}_priority ${name}_no_swap ${name}_cpu_affinity ${name}_rt_priority ${name}_rlimit_rttime ${name}_rlimit_rtime ${name}_process_name`,
  )
  .join(' ');

/** Every keyword keepalived 2.2 and 2.4 know, by the block it stands in (keepalived.conf(5)). */
export const grammar: Readonly<Record<BlockName, Readonly<Record<string, Entry>>>> = {
  root: {
    ...words(
      'net_namespace net_namespace_ipvs namespace_with_ipsets instance use_pid_dir linkbeat_use_polling child_wait_time include_check',
    ),
    ...values(
      'linkbeat_interfaces interface_up_down_delays static_ipaddress static_routes static_rules virtual_server_group',
    ),
    global_defs: block('global_defs'),
    track_group: block('track_group'),
    track_file: block('track_file'),
    vrrp_track_file: block('track_file'),
    vrrp_track_process: block('vrrp_track_process'),
    vrrp_script: block('vrrp_script'),
    bfd_instance: block('bfd_instance'),
    vrrp_sync_group: block('vrrp_sync_group'),
    garp_group: block('garp_group'),
    vrrp_instance: block('vrrp_instance'),
    virtual_server: block('virtual_server'),
    SSL: block('SSL'),
  },
  global_defs: {
    ...words(`
      tmp_config_directory config_save_dir process_names process_name use_symlink_paths set_supplementary_groups
      startup_script shutdown_script startup_script_timeout shutdown_script_timeout notification_email_from smtp_server
      smtp_helo_name smtp_connect_timeout smtp_alert smtp_alert_vrrp smtp_alert_checker checker_log_all_failures
      no_email_faults no_checker_emails router_id vrrp_mcast_group4 vrrp_mcast_group6 default_interface lvs_sync_daemon
      lvs_sync_daemon_interface lvs_timeouts lvs_flush lvs_flush_on_stop lvs_flush_onstop vrrp_garp_master_repeat
      vrrp_garp_master_delay vrrp_garp_lower_prio_repeat vrrp_garp_lower_prio_delay vrrp_garp_master_refresh
      vrrp_garp_master_refresh_repeat vrrp_garp_interval vrrp_gna_interval vrrp_min_garp vrrp_garp_extra_if
      vrrp_vmac_garp_intvl vmac_garp_intvl vrrp_down_timer_adverts vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert
      vrrp_version v3_checksum_as_v2 vrrp_owner_ignore_adverts nftables nftables_priority nftables_counters
      nftables_ifindex nftables_ipvs nftables_ipvs_priority nftables_ipvs_start_fwmark vrrp_iptables vrrp_ipsets
      iptables disable_local_igmp vrrp_check_unicast_src vrrp_skip_check_adv_addr vrrp_strict vrrp_notify_priority_changes
      notify_priority_changes max_auto_priority min_auto_priority_delay snmp_socket enable_snmp_keepalived
      enable_snmp_vrrp enable_snmp_checker enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 enable_traps
      snmp_vs_stats_update_interval snmp_rs_stats_update_interval enable_dbus dbus_service_name dbus_no_interface_name
      script_user enable_script_security notify_fifo notify_fifo_script vrrp_notify_fifo vrrp_notify_fifo_script
      lvs_notify_fifo lvs_notify_fifo_script fifo_write_vrrp_states_on_reload dynamic_interfaces vrrp_rx_bufs_policy
      vrrp_rx_bufs_multiplier rs_init_notifies umask vrrp_startup_delay vrrp_delay_after_boot log_unknown_vrids
      vmac_prefix vmac_addr_prefix random_seed reload_check_config include_check reload_time_file reload_repeat
      reload_file data_use_instance state_file_location stats_file_location json_file_location state_dump_file
      stats_dump_file json_dump_file json_version iproute_usr_dir iproute_etc_dir child_wait_time instance
      net_namespace net_namespace_ipvs use_pid_dir linkbeat_use_polling ${buffers} ${processes}`),
    ...values('notification_email'),
  },
  SSL: words('password ca certificate key'),
  virtual_server: {
    ...words(`
      ip_family ${timing} inhibit_on_failure lb_algo lvs_sched hashed ops flag-1 flag-2 flag-3 sh-port sh-fallback mh-port
      mh-fallback lb_kind lvs_method persistence_engine persistence_timeout persistence_granularity protocol ha_suspend
      smtp_alert virtualhost snmp_name omega quorum_up quorum_down quorum hysteresis weight sorry_server
      sorry_server_inhibit sorry_server_lvs_method nb_get_retry`),
    real_server: block('real_server'),
  },
  real_server: {
    ...words(
      `weight lvs_method uthreshold lthreshold inhibit_on_failure notify_up notify_down ${timing} smtp_alert virtualhost snmp_name`,
    ),
    TCP_CHECK: block('TCP_CHECK'),
    PING_CHECK: block('PING_CHECK'),
    HTTP_GET: block('HTTP_GET'),
    SSL_GET: block('HTTP_GET'),
    SMTP_CHECK: block('SMTP_CHECK'),
    DNS_CHECK: block('DNS_CHECK'),
    UDP_CHECK: block('UDP_CHECK'),
    MISC_CHECK: block('MISC_CHECK'),
    FILE_CHECK: block('FILE_CHECK'),
    BFD_CHECK: block('BFD_CHECK'),
  },
  TCP_CHECK: words(`${connection} nb_get_retry`),
  PING_CHECK: words(connection),
  HTTP_GET: {
    ...words(
      `${connection} nb_get_retry virtualhost http_protocol enable_sni sni_name fast_recovery tls_compliant`,
    ),
    url: block('url'),
  },
  url: words(
    'path digest status_code virtualhost regex regex_no_match regex_options regex_stack regex_min_offset regex_max_offset tls_compliant',
  ),
  SMTP_CHECK: { ...words(`${connection} helo_name`), host: block('host') },
  host: words(connection),
  DNS_CHECK: words(`${connection} type name`),
  UDP_CHECK: words(`${connection} payload require_reply min_reply_length max_reply_length`),
  MISC_CHECK: words(`${launch} misc_path misc_timeout misc_dynamic user`),
  FILE_CHECK: words('track_file dynamic weight'),
  BFD_CHECK: words('name alpha'),
  vrrp_instance: {
    ...words(`
      state interface vrf use_vmac use_vmac_addr vmac_xmit_base use_ipvlan native_ipv6 dont_track_primary mcast_src_ip
      unicast_src_ip mcast_dst_ip track_src_ip version check_unicast_src unicast_fault_no_peer unicast_ttl
      old_unicast_checksum v3_checksum_as_v2 ${garp} down_timer_adverts timer_expired_backup thread_timer_expired
      lower_prio_no_advert higher_prio_send_advert owner_ignore_adverts virtual_router_id priority advert_int
      no_virtual_ipaddress promote_secondaries accept no_accept nopreempt preempt preempt_delay skip_check_adv_addr
      strict_mode debug ${notify} notify_master_rx_lower_pri kernel_rx_buf_size linkbeat_use_polling
      lvs_sync_daemon_interface vmac_garp_intvl`),
    ...values('unicast_peer virtual_ipaddress virtual_ipaddress_excluded virtual_routes virtual_rules'),
    ...trackers,
    authentication: block('authentication'),
    auth_hmac: block('auth_hmac'),
  },
  authentication: words('auth_type auth_pass'),
  auth_hmac: words('key active_key anti_replay time_window mode'),
  vrrp_sync_group: {
    ...words(`${notify} sync_group_tracking_weight global_tracking`),
    ...values('group'),
    ...trackers,
  },
  vrrp_script: words('script interval timeout weight rise fall user init_fail'),
  track_file: words('file weight init_file'),
  vrrp_track_process: words(
    'process param_match weight quorum quorum_max fork_delay terminate_delay delay full_command',
  ),
  bfd_instance: words(
    'neighbor_ip neighbour_ip source_ip min_rx min_tx idle_tx multiplier passive ttl hoplimit max_hops multihop weight vrrp checker',
  ),
  garp_group: { ...words('garp_interval gna_interval interface'), ...values('interfaces') },
  track_group: values('group'),
};
