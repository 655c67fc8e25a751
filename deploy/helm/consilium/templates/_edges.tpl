{{/* Who talks to whom: section 8 of the design, and two edges that Kubernetes adds: identity's to its API, and the ledger pod's to
     its own consensus, which it asks before it stops (ADR 23). `own` are services of this member, `peers` the same of other
     members. tests/helm holds the policies made from it against that table. */}}
{{- define "consilium.edges" -}}
identity: {own: [consensus, ledger], apiServer: true}
consensus: {own: [ledger], peers: [consensus]}
ledger: {own: [{{ if .Values.drain.enabled }}consensus{{ end }}], peers: [ledger]}
storage: {own: [ledger], peers: [storage], database: true}
reencryption: {own: [ledger, consensus]}
{{- end }}

{{/* Pods of a component of this release, as a NetworkPolicy peer: (list $ "ledger"). */}}
{{- define "consilium.ownPeer" -}}
- podSelector:
    matchLabels:
      {{- include "consilium.selector" (first .) | nindent 6 }}
      app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* The other members' pods with these labels, as NetworkPolicy peers: (list $ (dict label value)). */}}
{{- define "consilium.otherPeers" -}}
{{- $root := first . -}}{{- $labels := last . -}}
{{- range $peer := $root.Values.alliance.peers }}
{{- if $peer.namespace }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ $peer.namespace }}
  podSelector:
    matchLabels:
      consilium.io/member: {{ $peer.member | quote }}
      {{- toYaml $labels | nindent 6 }}
{{- else }}
{{- range $peer.cidrs | default (list "0.0.0.0/0" "::/0") }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Names are resolved by everybody. */}}
{{- define "consilium.dnsEgress" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{/* The ports that peers answer on, besides our own. */}}
{{- define "consilium.peerPorts" -}}
{{- $root := first . -}}{{- $service := last . -}}{{- $ports := list 8443 -}}
{{- range $root.Values.alliance.peers -}}
{{- $ports = append $ports (include "consilium.address" (list $root . $service) | splitList ":" | last | atoi) -}}
{{- end -}}
{{- range $ports | uniq }}
- {port: {{ . }}}
{{- end }}
{{- end }}

{{/* Towards the Kubernetes API, whose address is no pod's. */}}
{{- define "consilium.apiEgress" -}}
- ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {port: {{ . }}}
    {{- end }}
  to:
    {{- range .Values.networkPolicy.apiServer.cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
{{- end }}

{{/* Towards the database. */}}
{{- define "consilium.databaseEgress" -}}
{{- $c := .Values.storage.cassandra -}}
- ports:
    - {port: {{ int $c.port }}}
  {{- with $c.networkPeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
