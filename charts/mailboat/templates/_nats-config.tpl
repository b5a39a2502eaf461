{{/* nats.conf; server_name is the pod's. */}}
{{- define "mailboat.natsConfig" -}}
{{- $name := include "mailboat.natsName" . -}}
{{- $replicas := int .Values.nats.replicas -}}
{{- /* One server has nobody else who would keep the mail when the power goes. */ -}}
{{- $sync := ternary (eq $replicas 1) .Values.nats.syncAlways (kindIs "invalid" .Values.nats.syncAlways) -}}
server_name: $POD_NAME
listen: 0.0.0.0:4222
http: 0.0.0.0:8222
max_payload: 8MB
max_pending: 256MB
{{- if .Values.nats.tokenSecret }}
authorization { token: $NATS_TOKEN }
{{- end }}
jetstream {
  store_dir: /data
  max_memory_store: 64MB
  max_file_store: {{ .Values.nats.storage.limit }}
  {{- if $sync }}
  sync_interval: always
  {{- end }}
}
{{- if gt $replicas 1 }}
cluster {
  name: {{ $name }}
  listen: 0.0.0.0:6222
  no_advertise: true
  routes: [
    {{- range $index := until $replicas }}
    nats://{{ $name }}-{{ $index }}.{{ $name }}-headless:6222
    {{- end }}
  ]
}
{{- end }}
{{- end -}}
