-- KumoMTA as a relay to one next hop; what differs from run to run comes from the environment. Logs stay on, as in any real use.
local kumo = require 'kumo'
local E = os.getenv
local DIR = E 'KB_DIR'

kumo.on('init', function()
  kumo.configure_accounting_db_path(DIR .. '/acct.db')
  local listener = {
    listen = '127.0.0.1:' .. E 'KB_PORT', hostname = 'bench.local', relay_hosts = { '127.0.0.1' },
    trace_headers = { received_header = true, supplemental_header = false },
  }
  if E 'KB_TLS_CERT' then
    listener.tls_certificate = E 'KB_TLS_CERT'
    listener.tls_private_key = E 'KB_TLS_KEY'
  end
  kumo.start_esmtp_listener(listener)
  kumo.start_http_listener { listen = '127.0.0.1:' .. E 'KB_HTTP', trusted_hosts = { '127.0.0.1' } }
  for _, n in ipairs { 'data', 'meta' } do
    kumo.define_spool { name = n, path = DIR .. '/' .. n, kind = 'RocksDB',
      rocks_params = { increase_parallelism = kumo.available_parallelism() } }
  end
  kumo.configure_local_logs { log_dir = DIR .. '/logs', max_segment_duration = '10s' }
end)

if E 'KB_DKIM' or E 'KB_FORCESYNC' then
  kumo.on('smtp_server_message_received', function(msg)
    if E 'KB_DKIM' then
      msg:dkim_sign(kumo.dkim.rsa_sha256_signer {
        domain = 'tenant1.example', selector = E 'KB_DKIM_SELECTOR', key = E 'KB_DKIM',
        headers = { 'From', 'Reply-To', 'To', 'Cc', 'Subject', 'Date', 'Message-ID', 'In-Reply-To', 'References',
          'MIME-Version', 'Content-Type', 'Content-Transfer-Encoding', 'List-Id', 'List-Unsubscribe', 'List-Unsubscribe-Post' },
      })
    end
    if E 'KB_FORCESYNC' then msg:set_force_sync(true) end
  end)
end

kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  return kumo.make_queue_config {
    protocol = { smtp = { mx_list = { { name = 'sink', addr = '127.0.0.1' } } } },
    refresh_strategy = 'Epoch',
  }
end)

kumo.on('get_egress_path_config', function(routing_domain, egress_source, site_name)
  return kumo.make_egress_path {
    smtp_port = tonumber(E 'KB_SINK'), prohibited_hosts = {}, enable_mta_sts = false,
    enable_tls = E 'KB_TLS_CERT' and 'RequiredInsecure' or 'Disabled',
    connection_limit = tonumber(E 'KB_CONNS'), max_deliveries_per_connection = 10000,
    max_ready = 20000, idle_timeout = '60s', refresh_strategy = 'Epoch',
  }
end)
