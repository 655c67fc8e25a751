{{/* The name that all objects begin with. A StatefulSet's pods bear `<fullname>-reencryption-<ten letters>` in a label, of 63 at most. */}}
{{- define "consilium.fullname" -}}
{{- $made := ternary .Release.Name (printf "%s-consilium" .Release.Name) (contains "consilium" .Release.Name) -}}
{{- .Values.fullnameOverride | default $made | trunc 39 | trimSuffix "-" -}}
{{- end }}

{{/* The five services, in the order of the design. */}}
{{- define "consilium.services" -}}
identity consensus ledger storage reencryption
{{- end }}

{{/* What selects this release's pods, and never changes. */}}
{{- define "consilium.selector" -}}
app.kubernetes.io/name: consilium
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "consilium.labels" -}}
{{ include "consilium.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "consilium.whose" . }}
{{- end }}

{{/* Whose it is: labels of every pod and object, by which members tell one another's pods. */}}
{{- define "consilium.whose" -}}
consilium.io/member: {{ .Values.member.id | quote }}
consilium.io/alliance: {{ .Values.alliance.name | quote }}
{{- end }}

{{/* A service's own values over the defaults: (list $ "ledger"). */}}
{{- define "consilium.of" -}}
{{- $root := first . -}}
{{- mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy (index $root.Values (last .))) | toYaml -}}
{{- end }}

{{- define "consilium.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* The ConfigMap with genesis and authorities. */}}
{{- define "consilium.genesis" -}}
{{- .Values.genesis.existingConfigMap | default (printf "%s-genesis" (include "consilium.fullname" .)) -}}
{{- end }}

{{/* Where a service of a peer answers: (list $ $peer "ledger"). */}}
{{- define "consilium.address" -}}
{{- $root := index . 0 -}}{{- $peer := index . 1 -}}{{- $service := index . 2 -}}
{{- $made := printf "%s-{service}.%s.svc" (include "consilium.fullname" $root) ($peer.namespace | default "") -}}
{{- $host := replace "{service}" $service ($peer.host | default $made) -}}
{{- index ($peer.addresses | default dict) $service | default (printf "%s:%d" $host (int ($peer.port | default 8443))) -}}
{{- end }}

{{/* Where an own service answers: (list $ "ledger"). */}}
{{- define "consilium.own" -}}
{{- $root := first . -}}
{{- printf "%s-%s.%s.svc:8443" (include "consilium.fullname" $root) (last .) $root.Release.Namespace -}}
{{- end }}

{{/* One service of all peers, as settings write them: (list $ "ledger"). */}}
{{- define "consilium.peers" -}}
{{- $root := first . -}}{{- $service := last . -}}{{- $all := list -}}
{{- range $root.Values.alliance.peers -}}
{{- $all = append $all (printf "%s=%s" .member (include "consilium.address" (list $root . $service))) -}}
{{- end -}}
{{- join "," $all -}}
{{- end }}
