{{/* A value as the environment writes it. */}}
{{- define "consilium.written" -}}
{{- if kindIs "slice" . }}{{ join "," . }}{{ else if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* The settings of a service that the chart decides, as YAML: (list $ "ledger"). Whatever else there is, people set under
     `<service>.settings`; tests/helm compares the two with the services' own declarations. */}}
{{- define "consilium.settings" -}}
{{- $root := first . -}}{{- $service := last . -}}
{{- $v := $root.Values -}}
alliance: {{ $v.alliance.name | quote }}
member_id: {{ $v.member.id | quote }}
host: {{ $v.listenOn | quote }}
port: 8443
health_port: 8080
metrics_port: 9090
{{- /* A pod that was removed by force has so long to end; until then it holds the volume. */}}
lock_s: {{ (include "consilium.of" . | fromYaml).terminationGracePeriodSeconds }}
genesis: /etc/consilium/genesis/genesis
{{- if ne $service "identity" }}
tls_directory: /etc/consilium/tls
{{- end }}
{{- if ne $service "ledger" }}
ledger_address: {{ include "consilium.own" (list $root "ledger") }}
{{- end }}
{{- if has $service (list "identity" "reencryption") }}
consensus_address: {{ include "consilium.own" (list $root "consensus") }}
{{- end }}
{{- if has $service (list "consensus" "ledger" "storage") }}
peers: {{ include "consilium.peers" . | quote }}
{{- end }}
{{- if has $service (list "identity" "storage" "reencryption") }}
member_key: /etc/consilium/keys/member
state_directory: /var/lib/consilium/{{ $service }}
{{- end }}
{{- if eq $service "identity" }}
tls_directory: /var/lib/consilium/tls/identity
services_directory: /var/lib/consilium/tls
kubernetes_secrets: {{ include "consilium.fullname" $root }}
{{- if eq $v.tls.mode "certManager" }}
kubernetes_issuer: true
{{- end }}
authorities_directory: /var/lib/consilium/authorities
{{- else if eq $service "consensus" }}
keys_directory: /etc/consilium/keys
votes: /var/lib/consilium/consensus/votes
{{- else if eq $service "ledger" }}
blocks: /var/lib/consilium/ledger/blocks
{{- else if eq $service "reencryption" }}
sealing_key: /etc/consilium/keys/sealing
{{- else if eq $v.storage.objects "cassandra" }}
{{- include "consilium.cassandra" $root | nindent 0 }}
{{- end }}
{{- end }}

{{/* How storage reaches its database. */}}
{{- define "consilium.cassandra" -}}
{{- $c := .Values.storage.cassandra -}}
objects: cassandra
cassandra_hosts: {{ include "consilium.hosts" . | quote }}
cassandra_port: {{ int $c.port }}
cassandra_datacenter: {{ $c.datacenter | quote }}
cassandra_keyspace: {{ $c.keyspace | quote }}
cassandra_replication: {{ int $c.replication }}
cassandra_consistency: {{ $c.consistency }}
cassandra_user: {{ $c.auth.user | quote }}
cassandra_password_file: /etc/consilium/cassandra/password
cassandra_tls_directory: /etc/consilium/cassandra
cassandra_check_names: {{ $c.checkNames }}
{{- end }}

{{- define "consilium.hosts" -}}
{{- $c := .Values.storage.cassandra -}}
{{- if $c.hosts }}{{ join "," $c.hosts }}
{{- else }}{{ printf "%s-%s-service.%s.svc" .Values.storage.k8ssandra.name $c.datacenter .Release.Namespace }}{{ end -}}
{{- end }}

{{/* The environment of a service, with settings that go before the others: (list $ "ledger" (dict)). */}}
{{- define "consilium.environment" -}}
{{- $root := index . 0 -}}{{- $service := index . 1 -}}
{{- $decided := include "consilium.settings" (list $root $service) | fromYaml -}}
{{- $all := merge (dict) (index . 2) $decided (index $root.Values $service).settings -}}
{{- range $name := keys $all | sortAlpha }}
- name: {{ printf "CONSILIUM_%s_%s" $service $name | upper }}
  value: {{ include "consilium.written" (index $all $name) | quote }}
{{- end }}
{{- end }}

{{/* What `consilium drain` is told in a service's own pod, where it works under the service's certificate: (list $ "ledger"). */}}
{{- define "consilium.leaving" -}}
{{- $root := first . -}}
- name: CONSILIUM_CLIENT_GENESIS
  value: /etc/consilium/genesis/genesis
- name: CONSILIUM_CLIENT_ALLIANCE
  value: {{ $root.Values.alliance.name | quote }}
- name: CONSILIUM_CLIENT_MEMBER_ID
  value: {{ $root.Values.member.id | quote }}
- name: CONSILIUM_CLIENT_CREDENTIAL
  value: /etc/consilium/tls
- name: CONSILIUM_CLIENT_SERVICES
  value: {{ printf "%s/consensus=%s" $root.Values.member.id (ternary "127.0.0.1:8443" (include "consilium.own" (list $root "consensus")) (eq (last .) "consensus")) | quote }}
{{- end }}

{{/* The environment of the command line, for pods that are clients. */}}
{{- define "consilium.client" -}}
{{- $root := . -}}{{- $all := list -}}
{{- range $service := include "consilium.services" . | splitList " " -}}
{{- $all = append $all (printf "%s/%s=%s" $root.Values.member.id $service (include "consilium.own" (list $root $service))) -}}
{{- range $root.Values.alliance.peers -}}
{{- $all = append $all (printf "%s/%s=%s" .member $service (include "consilium.address" (list $root . $service))) -}}
{{- end -}}
{{- end }}
- name: CONSILIUM_CLIENT_GENESIS
  value: /etc/consilium/genesis/genesis
- name: CONSILIUM_CLIENT_ALLIANCE
  value: {{ .Values.alliance.name | quote }}
- name: CONSILIUM_CLIENT_MEMBER_ID
  value: {{ .Values.member.id | quote }}
- name: CONSILIUM_CLIENT_CREDENTIAL
  value: /etc/consilium/credential
- name: CONSILIUM_CLIENT_KEYSTORE
  value: /tmp/keystore
- name: CONSILIUM_CLIENT_SERVICES
  value: {{ join "," $all | quote }}
- name: HOME
  value: /tmp
{{- end }}
